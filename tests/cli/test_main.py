from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import llamarium
from llamarium.cli import main
from llamarium.ground import errors, registry
from llamarium.ground.errors import BadFileError, Interrupted, LlamariumError, MissingExtraError, NotFoundError

VERBS = [name.replace("_", "-") for name in registry.names("llamarium.cli") if name not in main.INFRASTRUCTURE]
# Packages that take from a tenth of a second to several seconds to import.
HEAVY = {
    "torch",
    "numpy",
    "pyarrow",
    "transformers",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "gguf",
    "matplotlib",
    "pandas",
    "scipy",
}


def imported(script: str) -> set[str]:
    """Top-level packages that a fresh interpreter has imported after `script`."""
    script += "\nimport sys, json; print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(child.stdout.splitlines()[-1]))


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llamarium", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | environment,
        check=False,
        timeout=60,
    )


def test_import_is_light() -> None:
    assert imported("import llamarium") & (HEAVY | {"typer", "pydantic", "yaml", "rich"}) == set()


def test_what_is_light_is_measured_by_something_that_sees_heavy_imports() -> None:
    assert "numpy" in imported("import llamarium, numpy")


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    """Half a second is promised; what takes longer is known by name, and a clock in a test would only be restless."""
    assert imported("from llamarium.cli.main import run\nassert run(['--help']) == 0") & HEAVY == set()


def test_help_lists_every_verb() -> None:
    child = command("--help")
    assert child.returncode == 0
    listed = [
        line.split()[0] for line in child.stdout.partition("Commands:")[2].splitlines() if line.startswith("  ") and line[2:3].strip()
    ]
    assert sorted(listed) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: llamarium {verb}")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"llamarium {llamarium.__version__}\n"


def test_what_the_front_door_does_not_have() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = llamarium.laod


@pytest.mark.parametrize(("name", "hint"), [("doctr", "Did you mean 'doctor'?"), ("pul", "Did you mean 'pull'?"), ("zzz", "Known: ")])
def test_an_unknown_verb_names_the_nearest(name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: There is no command '{name}'.\nhint: {hint}")


@pytest.mark.parametrize("arguments", [["doctor", "--jsn"], ["doctor", "surplus"], ["--nonsense"]])
def test_wrong_use_of_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: llamarium" in captured.err


# Errors become exit codes


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Put a verb that raises `error` in the place of all others."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def other() -> None:
        pass

    monkeypatch.setattr(main, "build_app", lambda: app)


EXAMPLES = {
    BadFileError: lambda: BadFileError("x.gguf", "ends."),
    MissingExtraError: lambda: MissingExtraError("x", extra="y", package="z"),
}
CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, LlamariumError)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_are_a_sentence_and_a_hint(
    kind: type[LlamariumError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make: Callable[[], LlamariumError] = EXAMPLES.get(kind, lambda: kind("It is wrong.", hint="Mend it."))
    error = make()
    fail_with(monkeypatch, error)
    assert main.run(["fail"]) == kind.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == (error.message if kind is Interrupted else f"error: {error.message}")
    assert lines[1:] == ([f"hint: {error.hint}"] if error.hint else [])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "Interrupted."),
        (PermissionError(13, "Permission denied", "secret.yaml"), 2, "error: Permission denied: secret.yaml."),
        (typer.Exit(1), 1, ""),
        (typer.Exit(0), 0, ""),
        (typer.BadParameter("no such thing"), 2, "no such thing"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_ends(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, error)
    assert main.run(["fail"]) == code
    assert message in capsys.readouterr().err


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyError("a bug"))
    with pytest.raises(KeyError, match="a bug"):
        main.run(["fail"])


def test_the_process_ends_with_that_code(tmp_path: Path) -> None:
    child = command("pull", "nothing-of-this-name", LLAMARIUM_HOME=str(tmp_path))
    assert child.returncode == NotFoundError.exit_code == 2
    assert child.stdout == ""
    assert child.stderr.startswith("error: ")
    assert "Traceback" not in child.stderr
    assert command().returncode == 2, "without a verb, help is shown and nothing was done"


@pytest.mark.parametrize("arguments", [["--help"], ["pull"], ["read", __file__, "--json"]], ids=lambda arguments: arguments[0])
def test_a_reader_that_leaves_is_no_error(arguments: list[str]) -> None:
    child = subprocess.Popen([sys.executable, "-m", "llamarium", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    talk = child.stderr.read()
    child.stderr.close()
    assert (child.wait(), talk) == (0, b"")


def test_chinese_is_printed_whatever_the_terminal_says(tmp_path: Path) -> None:
    path = tmp_path / "字.txt"
    path.write_text("羊驼", encoding="utf-8")
    child = command("read", str(path), PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert (child.returncode, child.stdout.strip()) == (0, "羊驼")
