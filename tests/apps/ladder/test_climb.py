from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llamarium.apps.ladder import catalogue, climb, pace, rungs
from llamarium.apps.ladder.climb import POINTS, RESULTS, Ladder
from llamarium.apps.ladder.pace import Pace, left, share
from llamarium.checkpoint import huggingface
from llamarium.checkpoint.open import open_model
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.ground.errors import BadFileError, ExistsError, Interrupted, NotFoundError, UsageError
from llamarium.models import llama
from llamarium.text.corpus import open_corpus, write_corpus
from llamarium.text.document import Document
from llamarium.text.prepare import prepare
from llamarium.tokens.train import bytes_tokenizer
from llamarium.train.validate import validate

Tiny = Callable[..., Ladder]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for the catalogue: a tiny LLaMA with a tokenizer of its own."""
    tokenizer = bytes_tokenizer()
    torch.manual_seed(0)
    model = llama.Model(llama.Config(vocab_size=tokenizer.vocab_size, width=32, layers=1, heads=2, context_length=512))
    model.initialize()
    folder = tmp_path_factory.mktemp("elsewhere") / "model"
    huggingface.save_folder(folder, model, tokenizer)
    return folder


def timeless(results: dict[str, Any]) -> list[Any]:
    """What must be the same whenever and however often it was interrupted."""
    keys = ("key", "seed", "parameters", "tokens", "bits_per_byte", "sample")
    rungs = [[entry[key] for key in keys] + [bits for _, bits in entry["curve"]] for entry in results["rungs"]]
    return [rungs, [(each["key"], each["bits_per_byte"]) for each in results["references"]], results["validation"]]


# --- a whole climb ------------------------------------------------------------------------------------------------------


def test_every_rung_is_judged_on_the_same_documents(tiny: Tiny, tmp_path: Path) -> None:
    results = tiny("bigram", "lstm", "gpt").climb()
    assert results == json.loads((tmp_path / "out" / RESULTS).read_text(encoding="utf-8"))
    assert results["done"]
    assert [each["key"] for each in results["references"]] == ["gzip", "xz"]
    assert [entry["key"] for entry in results["rungs"]] == ["bigram", "lstm", "gpt"]
    texts = [document.text for document in open_corpus(Path(results["settings"]["corpus"])).documents("valid")]
    assert results["validation"]["bytes"] == sum(len(text.encode()) for text in texts)
    for entry in results["rungs"]:
        opened = open_model(tmp_path / "out" / entry["key"])
        length = None if entry["key"] == "lstm" else rungs.SEQUENCE
        bits = bits_per_byte(opened.model, opened.tokenizer, texts, context_length=length).bits_per_byte
        assert entry["bits_per_byte"] == pytest.approx(bits, abs=1e-5)
        assert entry["sample"]
        assert [bits for _, bits in entry["curve"][-1:]] in ([], [entry["bits_per_byte"]])


def test_networks_learn_from_the_same_tokens_and_have_a_curve(tiny: Tiny) -> None:
    results = tiny("gpt", "llama").climb()
    read = [entry["tokens"] for entry in results["rungs"]]
    assert max(read) - min(read) == 0
    for entry in results["rungs"]:
        seconds = [point for point, _ in entry["curve"]]
        assert seconds == sorted(seconds)
        assert len(seconds) == 4  # four steps: so many of the moments fall together
        assert entry["curve"][0][1] > entry["curve"][-1][1]


def test_seeds(tiny: Tiny) -> None:
    results = tiny("bigram", "llama", seeds=3).climb()
    assert [(entry["key"], entry["seed"]) for entry in results["rungs"]] == [
        ("bigram", 1),
        ("llama", 1),
        ("llama-seed-2", 2),
        ("llama-seed-3", 3),
    ]
    assert len({entry["bits_per_byte"] for entry in results["rungs"][1:]}) == 3


def test_judged_by_as_much_as_there_is_time_for(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(climb, "VALIDATION_BYTES", (1, 300))
    ladder = tiny("bigram")
    results = ladder.climb()
    assert 1 <= results["validation"]["documents"] < ladder.corpus.num_documents("valid")
    assert results["validation"]["bytes"] <= 300 or results["validation"]["documents"] == 1


# --- time ---------------------------------------------------------------------------------------------------------------


def test_time_is_shared_equally() -> None:
    shared = share(minutes=10, spent=20, rungs=7, judging=3, compiled=True, reserved=80)
    assert 7 * (shared.learning + shared.beside) + 20 + 80 == pytest.approx(600)
    assert shared.sentence(minutes=10, rungs=7) == "7 rungs are trained for 58 s each."


def test_minutes_that_are_short_are_said() -> None:
    shared = share(minutes=2, spent=0, rungs=6, judging=3, compiled=False)
    assert (
        shared.sentence(minutes=2, rungs=6) == "6 rungs are trained for 15 s each: that is short, and says little; give it more --minutes."
    )
    shared = share(minutes=1, spent=10, rungs=6, judging=6, compiled=False)
    assert shared.learning == 2
    said = shared.sentence(minutes=1, rungs=6)
    assert "6 rungs are trained for 2 s each: 1 minutes are too few for so many, and it will take about 1 min 0 s." in said


def test_what_is_left_follows_what_was_measured() -> None:
    assert left(2, took=[30.0, 40.0], pace=Pace(1, 1)) == "2 trained rungs to go, about 1 min 10 s"
    assert left(0, took=[30.0], pace=None) == "0 trained rungs to go"


def test_every_trained_rung_is_announced_with_what_is_left(tiny: Tiny, said: list[str]) -> None:
    tiny().climb()
    announced = [line for line in said if " to go" in line]
    assert [line.split(";")[0] for line in announced] == ["1 of 3: bigram", "2 of 3: GPT", "3 of 3: LLaMA"]
    assert "2 trained rungs to go." in announced[0]
    assert "1 trained rung to go, about " in announced[2]
    assert not any("Fit" in line for line in said), "what counts is announced like the others, in the words of who climbs"


def test_a_rung_by_the_clock_gets_its_share(tiny: Tiny, said: list[str]) -> None:
    results = tiny("gpt", minutes=0.05, tokens=None).climb()
    assert results["seconds_a_rung"] == 2.0
    assert results["rungs"][0]["seconds"] >= 2.0
    assert len(results["rungs"][0]["curve"]) == len(POINTS) + 1
    assert any("trained for 2 s each: 0.05 minutes are too few" in line for line in said)


@pytest.mark.slow
def test_all_trained_rungs_learn_for_the_same_time(tiny: Tiny, elsewhere: Path) -> None:
    """Within a tenth, whatever they are; a machine that is stopped meanwhile is no machine to measure on."""
    results = tiny(*[rung.key for rung in rungs.RUNGS], minutes=1.5, tokens=None, catalogue=str(elsewhere)).climb()
    assert results["seconds_a_rung"] >= 2
    seconds = [entry["seconds"] for entry in results["rungs"] if entry["curve"]] + [results["catalogue"]["seconds"]]
    assert len(seconds) == 7
    assert min(seconds) >= results["seconds_a_rung"]
    assert max(seconds) <= 1.1 * results["seconds_a_rung"], seconds


def test_without_a_compiler_nothing_is_compiled(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tiny("gpt", tokens=None, minutes=30)
    assert long.worth_compiling()
    assert not tiny("gpt", tokens=None, minutes=0.5).worth_compiling()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not long.worth_compiling() or torch.cuda.is_available()


# --- interrupted, killed, damaged ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_in_a_rung_saves_and_the_rest_is_as_if_nothing_had_been(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    whole = tiny(out=tmp_path / "whole").climb()
    calls: list[int] = []

    def asked_to_stop(run: Any) -> float | None:
        calls.append(run.step)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return validate(run)

    monkeypatch.setattr(climb, "validate", asked_to_stop)
    with pytest.raises(Interrupted, match="Stopped at step 2"):
        tiny().climb()
    written = json.loads((tmp_path / "out" / RESULTS).read_text(encoding="utf-8"))
    assert [entry["key"] for entry in written["rungs"]] == ["bigram"]
    assert not written["done"]
    results = tiny().climb(resume=True)
    assert calls == [1, 2, 3, 1, 2, 3]
    assert timeless(results) == timeless(whole)


def test_a_rung_by_the_clock_keeps_its_seconds_and_its_curve(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def asked_to_stop(run: Any) -> float | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(run)

    monkeypatch.setattr(climb, "validate", asked_to_stop)
    monkeypatch.setattr(pace, "SHORTEST", 1.0)
    with pytest.raises(Interrupted):
        tiny("gpt", minutes=0.05, tokens=None).climb()
    monkeypatch.undo()
    written = json.loads((tmp_path / "out" / RESULTS).read_text(encoding="utf-8"))
    monkeypatch.setattr(rungs, "BATCH", 512)
    results = tiny("gpt", minutes=0.05, tokens=None).climb(resume=True)
    assert results["seconds_a_rung"] == written["seconds_a_rung"] == 1.0
    (entry,) = results["rungs"]
    assert len(entry["curve"]) == len(POINTS) + 1
    assert 1.0 <= entry["seconds"] < 2.0


class Killed(BaseException):
    """Stands for what no process survives."""


def test_killed_between_any_two_things(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each time that results are written, one death after the other on one ladder."""
    whole = tiny(out=tmp_path / "whole").climb()
    save = Ladder.save
    deaths: list[tuple[str, ...]] = []
    dying: set[tuple[str, ...]] = set()

    def dies(self: Ladder) -> None:
        state = (*(entry["key"] for entry in self.results["rungs"]), *(each["key"] for each in self.results["references"]))
        for moment in ("before", "after"):
            if (moment, *state) not in dying:
                dying.add((moment, *state))
                deaths.append((moment, *state))
                if moment == "after":
                    save(self)
                raise Killed
        save(self)

    monkeypatch.setattr(Ladder, "save", dies)
    for _ in range(100):
        try:
            results = tiny().climb(resume=True)
        except Killed:
            continue
        break
    assert len(deaths) == 2 * 6
    assert timeless(results) == timeless(whole)


def test_killed_while_a_rung_learns(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it was saved: it begins again, and its curve is that of one life."""
    whole = tiny("gpt", out=tmp_path / "whole").climb()

    def dies(run: Any) -> float | None:
        if run.step == 3:
            raise Killed
        return validate(run)

    monkeypatch.setattr(climb, "validate", dies)
    with pytest.raises(Killed):
        tiny("gpt").climb()
    monkeypatch.setattr(climb, "validate", validate)
    assert timeless(tiny("gpt").climb(resume=True)) == timeless(whole)


def test_what_is_done_is_not_done_again(tiny: Tiny, said: list[str]) -> None:
    first = tiny().climb()
    said.clear()
    assert timeless(tiny().climb(resume=True)) == timeless(first)
    assert said == []


def test_from_another_working_folder(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def dies(run: Any) -> float | None:
        raise Killed

    monkeypatch.setattr(climb, "validate", dies)
    with pytest.raises(Killed):
        tiny("gpt", out=Path("out")).climb()
    monkeypatch.setattr(climb, "validate", validate)
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert tiny("gpt", out=Path("../out")).climb(resume=True)["done"]


def test_a_folder_that_is_there(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("Dear llama")
    with pytest.raises(ExistsError, match="exists"):
        tiny().climb()
    with pytest.raises(ExistsError, match="is no ladder"):
        tiny().climb(resume=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExistsError, match="is no ladder"):
        tiny(out=tmp_path / "file").climb(resume=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("content", ["", "{", '{"settings": {"corp', "[]", '"ladder"', "{}", '{"settings": [], "rungs": {}}'])
def test_results_that_are_torn_or_foreign(tiny: Tiny, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RESULTS).write_text(content)
    with pytest.raises(BadFileError, match=RESULTS):
        tiny().climb(resume=True)
    assert (tmp_path / "out" / RESULTS).read_text() == content


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", "50k"), ("tokens", 9999), ("minutes", 3.0), ("seeds", 2), ("vocab_size", 301), ("catalogue", "smollm2-135m")],
)
def test_other_settings_are_refused(tiny: Tiny, key: str, value: Any) -> None:
    tiny("bigram").climb()
    with pytest.raises(UsageError, match=f"was begun with another {key}"):
        tiny("bigram", **{key: value}).climb(resume=True)


def test_another_text_under_the_same_name_is_refused(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    tiny("bigram", corpus=open_corpus(tmp_path / "corpus")).climb()
    shutil.rmtree(tmp_path / "corpus")
    (tmp_path / "new").mkdir()
    for number in range(20):
        (tmp_path / "new" / f"{number}.txt").write_text(f"Another text, number {number}, of which nobody had heard {number} times before.")
    prepare([tmp_path / "new"], tmp_path / "corpus")
    with pytest.raises(UsageError, match="begun with another corpus_sha256"):
        tiny("bigram", corpus=open_corpus(tmp_path / "corpus")).climb(resume=True)


# --- what cannot be climbed is not begun -----------------------------------------------------------------------------------


def test_nothing_to_judge_by(tiny: Tiny, tmp_path: Path) -> None:
    everything = [Document("All that there is, and all of it to learn from.", "a.txt", "en")]
    write_corpus(tmp_path / "c", {"train": everything, "valid": []}, report={}, page="")
    with pytest.raises(UsageError, match="no text to judge by"):
        tiny(corpus=open_corpus(tmp_path / "c")).climb()
    write_corpus(tmp_path / "d", {"train": [], "valid": everything}, report={}, page="")
    with pytest.raises(UsageError, match="no text to learn from"):
        tiny(corpus=open_corpus(tmp_path / "d")).climb()
    assert not (tmp_path / "out").exists()


def test_a_size_that_no_network_can_have(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"GPT cannot have the size 1k: .*no shape has about 1,000 weights"):
        tiny(size="1k").climb()
    with pytest.raises(UsageError, match="at least 259 pieces, not 100"):
        tiny(vocab_size=100).climb()
    assert not (tmp_path / "out").exists()


# --- the catalogue's model -------------------------------------------------------------------------------------------------


def test_the_catalogues_model_before_and_after_reading(tiny: Tiny, elsewhere: Path, tmp_path: Path, said: list[str]) -> None:
    results = tiny("gpt", catalogue=str(elsewhere)).climb()
    top = results["catalogue"]
    opened = open_model(elsewhere)
    assert top["parameters"] == opened.model.num_parameters()
    texts = [document.text for document in open_corpus(Path(results["settings"]["corpus"])).documents("valid")]
    assert top["before"] == pytest.approx(bits_per_byte(opened.model, opened.tokenizer, texts).bits_per_byte, abs=1e-5)
    assert top["after"] < top["before"]
    assert top["seconds"] == pytest.approx(results["rungs"][0]["seconds"], abs=2.0)
    assert all(isinstance(top[key], str) for key in ("sample_before", "sample_after"))
    adapted = open_model(tmp_path / "out" / "reader" / "adapter")
    assert top["after"] == pytest.approx(bits_per_byte(adapted.model, adapted.tokenizer, texts).bits_per_byte, abs=1e-4)
    assert sum(line.startswith(f"{elsewhere} reads; 1 trained rung to go, about ") for line in said) == 1


def test_the_catalogues_model_is_interrupted(tiny: Tiny, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SHORTEST", 1.0)
    read = catalogue.read

    def stopped(run: Any) -> None:
        step = run.optimizer.step

        def asked_to_stop(*values: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return step(*values)

        run.optimizer.step = asked_to_stop
        read(run)

    monkeypatch.setattr(catalogue, "read", stopped)
    with pytest.raises(Interrupted, match="reader"):
        tiny("bigram", minutes=0.05, tokens=None, catalogue=str(elsewhere)).climb()
    before = json.loads((tmp_path / "out" / RESULTS).read_text(encoding="utf-8"))["catalogue"]["before"]
    monkeypatch.setattr(catalogue, "read", read)
    results = tiny("bigram", minutes=0.05, tokens=None, catalogue=str(elsewhere)).climb(resume=True)
    assert results["catalogue"]["before"] == before > results["catalogue"]["after"]
    assert 1.0 <= results["catalogue"]["seconds"] < 2.0


def test_a_catalogue_model_that_is_not_here_is_said_and_left_out(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("LLAMARIUM_HOME", str(tmp_path / "home"))
    results = tiny("bigram", catalogue="smollm2-135m-instruct").climb()
    assert results["catalogue"] is None
    assert "is not on this machine" in results["catalogue_missing"]
    assert "llamarium pull smollm2-135m-instruct" in results["catalogue_missing"]
    assert results["catalogue_missing"] in said
    said.clear()
    assert tiny("bigram", catalogue="smollm2-135m-instruct").climb(resume=True)["done"]
    assert said == [results["catalogue_missing"]]


def test_a_name_that_nobody_could_fetch_is_a_mistake(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        tiny(catalogue="smollm2-135m-instrct").climb()
    assert "Did you mean" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFileError, match="is an empty folder"):
        tiny(catalogue=str(tmp_path / "empty")).climb()
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_read_is_known_before_anything_is_trained(tiny: Tiny, tmp_path: Path) -> None:
    tiny("bigram", out=tmp_path / "other").climb()
    with pytest.raises(UsageError):
        tiny(catalogue=str(tmp_path / "other" / "bigram")).climb()
    assert not (tmp_path / "out" / "gpt").exists()
