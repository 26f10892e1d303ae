"""The report of a run: finished, unfinished, one line, none, broken; with and without matplotlib."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from llamarium.ground.page import POLICY
from llamarium.train.log import RunLog
from llamarium.train.report import write_report

RECIPE = "name: shakespeare\nseed: 1\ntrain:\n  steps: 200\n  batch_tokens: 4096\n"


def line(step: int, **more: Any) -> dict[str, Any]:
    return {
        "step": step,
        "tokens": 4096 * step,
        "loss": 9 / step**0.2,
        "learning_rate": 1e-3,
        "gradient_norm": 0.5,
        "seconds": 0.25 * step,
        **more,
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 200 steps, written by the log that runs write."""
    folder = tmp_path / "shakespeare-2"
    folder.mkdir()
    log = RunLog(folder / "log.jsonl")
    for step in range(1, 201):
        log.write(**line(step, **({"bits_per_byte": 1.5 + 10 / step} if step % 20 == 0 else {})))
        if step % 50 == 0:
            log.event(step, "sample", f"To be or not to be, said the llama at {step}.")
        if step % 20 == 0:
            log.event(
                step, "norms", {"embed": [20.0 + step, 0.5], "blocks.0": [9.0, 0.25 / step], "blocks.1": [9.5, 0.125], "norm": [4.0, 0.0]}
            )
    log.event(121, "skip", {"samples": [480, 484], "reason": "the loss is 94.5, a spike"})
    log.event(150, "roll-back", {"samples": [600, 612], "reason": "the loss is nan"})
    log.close()
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def report(folder: Path) -> str:
    path = write_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_report_shows_the_run(run: Path) -> None:
    html = report(run)
    for words in (
        *("<h1>shakespeare</h1>", "Finished: 200 steps, in 50 s.", "819,200", "1.550", "the best, at step 200", "16,384"),
        *(
            "said the llama at 200.",
            "said the llama at 50.",
            "Step 200, 1.550 bits per byte",
            "<td>skip</td><td>samples: 480, 484; reason: the loss is 94.5, a spike</td>",
            "<td>roll-back</td><td>samples: 600, 612; reason: the loss is nan</td>",
            "▾ skip",
            "▾ roll-back",
            *("220  ×5.5", "9  ×1", "0.125"),
            "batch_tokens: 4096",
            "Validations (10)",
            "Steps (40 of 200)",
        ),
    ):
        assert words in html, words
    for chart in ("Loss", "Bits per byte", "Learning rate", "Gradient norm", "Speed", "Weights", "Gradients"):
        assert f'aria-label="{chart}"' in html, chart
    assert "<td>norms" not in html  # they have a picture
    assert POLICY in html
    assert not re.search(r"https?:|//|src=|<script", html)


def test_a_model_that_fills_gaps_is_shown_by_its_own_scale(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    for step in range(1, 41):
        log.write(**line(step, **({"validation_loss": 2.5 + 10 / step} if step % 10 == 0 else {})))
    log.event(40, "sample", "It fills gaps.")
    log.close()
    html = report(tmp_path)
    words = (
        "2.750",
        "Step 40, 2.750 validation loss",
        'aria-label="Validation loss"',
        "Validations (4)",
        "nats per token that was left out",
    )
    for each in (*words, "<th", "validation loss"):
        assert each in html, each
    assert "bits per byte" not in html.lower()


def test_same_run_same_bytes(run: Path) -> None:
    assert report(run) == report(run)


def test_latest_sample_comes_first(run: Path) -> None:
    html = report(run)
    assert html.index("llama at 200") < html.index("llama at 150") < html.index("llama at 50")


def test_earlier_samples_are_folded_away(run: Path) -> None:
    log = RunLog(run / "log.jsonl", after_step=200)
    for step in range(201, 207):
        log.event(step, "sample", f"And then {step}.")
    log.close()
    html = report(run)
    assert html.index("And then 203") < html.index("<summary>Earlier samples (6)</summary>") < html.index("And then 202")


def test_without_matplotlib_the_numbers_stay(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    html = report(run)
    assert 'aria-label="Loss"' not in html
    assert 'aria-label="Weights"' in html  # it is drawn without
    assert "llamarium[plots]" in html
    assert "Validations (10)" in html
    assert "said the llama at 200." in html


def test_unfinished_run_says_so(run: Path) -> None:
    (run / "recipe.yaml").write_text(RECIPE.replace("200", "800"))
    assert "Not finished: 25 % of 800 steps, after 50 s." in report(run)


@pytest.mark.parametrize(
    ("length", "said"),
    [("tokens: 819200", "Finished: 819,200 tokens"), ("minutes: 2", "Not finished: 42 % of 2 minutes"), ("{}", "At step 200, after 50 s.")],
)
def test_length_of_a_run_in_other_units(run: Path, length: str, said: str) -> None:
    (run / "recipe.yaml").write_text(f"name: x\ntrain:\n  {length}\n")
    assert said in report(run)


def test_one_line_is_enough(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(line(1)) + "\n")
    html = report(tmp_path)
    assert f"<h1>{tmp_path.name}</h1>" in html
    assert "At step 1, after 0 s." in html
    assert "9.000" in html
    assert '"Loss"' in html
    assert '"Speed"' not in html  # one line tells no speed


def test_only_an_event(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 0, "event": "sample", "detail": "Hello."}\n')
    html = report(tmp_path)
    assert "Hello." in html
    assert "No step is logged yet." in html


@pytest.mark.parametrize("log", [None, "", "not json\n", '{"loss": 1}\n'])
def test_nothing_to_report(tmp_path: Path, log: str | None) -> None:
    if log is not None:
        (tmp_path / "log.jsonl").write_text(log)
    assert write_report(tmp_path) is None
    assert not (tmp_path / "report.html").exists()


def test_numbers_that_are_none_are_gaps(tmp_path: Path) -> None:
    lines = [
        line(1),
        line(2, loss=math.nan),
        line(3, gradient_norm=math.inf),
        line(4, loss="high", tokens=None, bits_per_byte=None),
        line(5),
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    html = report(tmp_path)
    assert "<svg" in html
    assert 'd="M nan' not in html


def test_text_of_models_and_recipes_is_inert(run: Path) -> None:
    hostile = "</pre><script>alert(1)</script>\u202e\x00"
    log = RunLog(run / "log.jsonl", after_step=200)
    log.event(200, "sample", hostile)
    log.event(200, hostile, [hostile])
    log.close()
    (run / "recipe.yaml").write_text(json.dumps({"name": hostile[:35], "train": {"steps": 200}}))
    html = report(run)
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 4


def test_a_broken_recipe_is_shown_as_it_is(run: Path) -> None:
    (run / "recipe.yaml").write_bytes(b"name: [unclosed\n\xff")
    html = report(run)
    assert "name: [unclosed" in html
    assert "<h1>shakespeare-2</h1>" in html


def test_a_long_run_makes_a_short_page(tmp_path: Path) -> None:
    lines = [json.dumps(line(step, bits_per_byte=2.0)) for step in range(1, 20_001)]
    lines += [json.dumps({"step": 20_000, "event": event, "detail": f"number {n}"}) for n in range(2000) for event in ("sample", "skipped")]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n")
    html = report(tmp_path)
    assert len(html) < 400_000
    assert "number 1999" in html
    assert "1,700 earlier ones are in log.jsonl" in html


# --- Its machine ------------------------------------------------------------------------------------------------------


def told(folder: Path, *lines: tuple[int, str, Any]) -> None:
    text = "".join(json.dumps({"step": step, "event": event, "detail": detail}) + "\n" for step, event, detail in lines)
    (folder / "machine.jsonl").write_text(text)


def curve(html: str, title: str, colour: int) -> list[tuple[float, float]]:
    """Places of a curve in the picture with this title, in pixels; y grows downwards."""
    svg = html[html.index(f'aria-label="{title}"') :]
    svg = svg[: svg.index("</svg>")]
    (path,) = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--line-{colour}, [^;]*; stroke-width: 2', svg)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]


def test_memory_and_resumes_are_shown(run: Path) -> None:
    told(
        run,
        (0, "started", {"time": "then", "threads": 2}),
        (20, "memory", {"now": 300 << 20, "peak": 400 << 20}),
        (130, "resumed", {"time": "later", "threads": 2}),
        (140, "memory", {"now": 200 << 20, "peak": 400 << 20, "gpu now": None}),
    )
    html = report(run)
    assert "MiB, of the first process" in html
    table = ("<td>started</td>", "<td>skip</td>", "<td>resumed</td><td>time: later; threads: 2</td>", "<td>roll-back</td>")
    assert sorted(table, key=html.index) == list(table)
    assert "<td>memory" not in html
    now, peak = curve(html, "Memory", 1), curve(html, "Memory", 2)
    assert now[1][1] > now[0][1] > peak[0][1]
    assert peak[0][1] == pytest.approx(peak[1][1])


def test_steps_that_a_resume_took_back_take_no_memory(run: Path) -> None:
    told(
        run,
        *((20, "memory", {"now": 2 << 30}), (40, "memory", {"now": 9 << 30})),
        *((20, "resumed", {}), (40, "memory", {"now": 3 << 30}), (60, "memory", {"now": 3 << 30})),
    )
    html = report(run)
    assert "GiB, of the first process" in html
    places = curve(html, "Memory", 1)
    assert len(places) == 3
    assert places[0][1] > places[1][1] == places[2][1]


def test_validations_do_not_make_the_speed_jump(tmp_path: Path) -> None:
    """Every tenth step takes ten times as long, because it validates: over tens it is all the same."""
    lines, seconds = [], 0.0
    for step in range(1, 201):
        validates = step % 10 == 0
        seconds += 1.0 if validates else 0.1
        lines.append(line(step, **({"bits_per_byte": 2.0} if validates else {})) | {"seconds": seconds})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    heights = {round(y, 1) for _, y in curve(report(tmp_path), "Speed", 1)}
    assert len(heights) == 1


@pytest.mark.parametrize("layers", [2, 80])
def test_layers_of_any_number(tmp_path: Path, layers: int) -> None:
    names = ["embed", *(f"blocks.{n}" for n in range(layers)), "norm", "head"]
    lines = [line(step, bits_per_byte=2.0) for step in range(1, 301)]
    lines += [
        {"step": step, "event": "norms", "detail": {name: [9.0 + n, math.exp(math.sin(n * step))] for n, name in enumerate(names)}}
        for step in range(1, 301)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    html = report(tmp_path)
    assert len(html) < 400_000
    for name in ("embed", "blocks.0" if layers == 2 else "blocks.4", "head"):
        assert f">{name}</text>" in html


@pytest.mark.parametrize(
    "detail", [None, [], "many", {"embed": 1.0}, {"embed": [1.0]}, {"embed": ["a", None]}, {"embed": [math.nan, math.inf]}]
)
def test_norms_that_are_none_are_left_out(run: Path, detail: Any) -> None:
    log = RunLog(run / "log.jsonl", after_step=200)
    log.event(200, "norms", detail)
    log.close()
    told(run, (200, "memory", detail), (200, "resumed", detail))
    html = report(run)
    assert 'aria-label="Weights"' in html
    assert "nan" not in html[html.index('aria-label="Weights"') : html.index("<h2>Events")]


def test_the_report_of_a_real_run(described: Any, tmp_path: Path) -> None:
    from llamarium.train.finish import train_to_the_end
    from llamarium.train.run import start

    train_to_the_end(start(described(), tmp_path / "run"), speak=lambda run: "Grass, says the llama.")
    html = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for words in ("Finished: 6 steps", "Grass, says the llama.", 'aria-label="Memory"', 'aria-label="Weights"', "blocks.0", "started"):
        assert words in html, words
