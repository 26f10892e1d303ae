"""The command ``llamarium``: finds the verbs in this folder, runs one, shows errors as one sentence and a hint.

Takes: the command line. Gives: an exit code.
Does not know: what the verbs do.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from typing import Any

import typer

import llamarium
from llamarium.ground import progress, registry
from llamarium.ground.errors import Interrupted, LlamariumError, UsageError, nearest

INFRASTRUCTURE = ("main",)
GRACE = 0.5  # seconds for the process of a group that shows an error: torchrun ends all when one has ended
# Newer releases of typer carry their own click, older ones use the package: the errors are found through typer.
ClickException: Any = typer.BadParameter.__mro__[2]
_stopped: list[int] = []  # signals that asked this process to stop


class _Verbs(typer.core.TyperGroup):
    """The verbs, with the nearest one named where one is mistyped."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise UsageError(f"There is no command {name!r}.", hint=nearest(name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def _version(value: bool) -> None:
    if value:
        print(f"llamarium {llamarium.__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The Typer with every verb of this folder."""
    app = typer.Typer(
        cls=_Verbs,
        name="llamarium",
        help="A LLaMA grown from your own text on your own machine, which proves what it says.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    ) -> None:
        pass

    for name in registry.names("llamarium.cli"):
        if name in INFRASTRUCTURE:
            continue
        verb = registry.find("llamarium.cli", name)
        if hasattr(verb, "app"):
            app.add_typer(verb.app, name=name.replace("_", "-"))
        else:
            app.command(name.replace("_", "-"))(verb.command)
    return app


def _show(error: LlamariumError) -> int:
    if error.shown_elsewhere:
        time.sleep(GRACE)
        return error.exit_code
    print(f"error: {error.message}" if not isinstance(error, Interrupted) else error.message, file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        program = typer.main.get_command(build_app())
        # Not `program.main`: it has its own opinion of Ctrl-C, of a closed pipe and of EOFError.
        with program.make_context("llamarium", list(arguments)) as context:
            program.invoke(context)
        sys.stdout.flush()  # here, where a reader that left can be noticed
    except typer.Exit as end:
        return int(end.exit_code)
    except LlamariumError as error:
        return _show(error)
    except ClickException as error:
        error.show()
        return int(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return Interrupted.exit_code
    except PermissionError as error:
        return _show(UsageError(f"Permission denied: {error.filename or error}.", hint="Check who owns it, or choose another place."))
    except BrokenPipeError:
        # The reader of our output left; what it wanted, it has. Python would complain again when it flushes.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return 0
    except Exception:
        if not _stopped:
            raise
        # A package that was stopped while it was imported may have caught that, and failed for want of what it had not come to.
        print("Interrupted.", file=sys.stderr)
        return Interrupted.exit_code
    return 0


def _stop(number: int, frame: Any) -> None:  # noqa: ARG001
    """Who sends SIGTERM gets what Ctrl-C gets: work that is half done is left in order. Long verbs have finer ways of their own."""
    _stopped.append(number)
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the command ``llamarium``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as it is for what a script runs in the background
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    progress.use(progress.Terminal() if sys.stderr.isatty() else progress.Plain())
    code = run(sys.argv[1:])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # The threads of a group that was left may abort a process while it is taken apart (gloo, now and then): what was to be written is.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
