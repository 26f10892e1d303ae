from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from llamarium.ground.errors import BadFileError, ExistsError, NotFoundError, UsageError
from llamarium.text import prepare as module
from llamarium.text.corpus import SPLITS, open_corpus
from llamarium.text.document import Document
from llamarium.text.partition import EXAMPLE_CHARACTERS, Plan, Settings, plan
from llamarium.text.prepare import Wanted, prepare
from llamarium.text.report import Example, Leak
from llamarium.text.sources import SourceFile
from llamarium.text.split import sampled


def sentence(seed: int, *, words: int = 40) -> str:
    return " ".join(f"word{number}" for number in random.Random(seed).choices(range(2000), k=words))


def make(folder: Path) -> Path:
    """A folder with something of everything: 40 records, texts, copies, noise, files that cannot be read."""
    (folder / "sub").mkdir(parents=True)
    records = [{"text": sentence(number)} for number in range(40)]
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (folder / "sub" / "诗.txt").write_bytes("春眠不觉晓，处处闻啼鸟。\r\n夜来风雨声，花落知多少。".encode("gb18030"))
    (folder / "sub" / "copy.md").write_text(f"# {sentence(3).upper()}", encoding="utf-8")
    (folder / "short.txt").write_text("OK", encoding="utf-8")
    (folder / "blank.txt").write_text(" \n\u200b\n", encoding="utf-8")
    (folder / "long.txt").write_text("\n\n".join(sentence(1000 + number) for number in range(60)), encoding="utf-8")
    (folder / "module.py").write_text('def f():\n    """Documents\u00a0itself  \n    well."""\n', encoding="utf-8")
    (folder / "empty.txt").write_text("", encoding="utf-8")
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "fake.txt").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "broken.jsonl").write_text('{"text": "one good record"}\n{"text": \n', encoding="utf-8")
    (folder / ".hidden.txt").write_text("hidden text", encoding="utf-8")
    return folder


def documents(folder: Path) -> list[Document]:
    corpus = open_corpus(folder)
    return [document for split in SPLITS for document in corpus.documents(split)]


def test_a_folder_becomes_a_corpus(tmp_path: Path) -> None:
    report = prepare([make(tmp_path / "docs")], tmp_path / "corpus")
    assert report.documents_in == report.documents_out + sum(report.dropped.values())
    assert dict(report.dropped) == {"blank": 1, "too_short": 1, "duplicate_exact": 1, "duplicate_near": 0}
    assert [bad.path for bad in report.bad_files] == ["broken.jsonl", "empty.txt", "fake.txt", "photo.png"]
    assert [bad.reason for bad in report.bad_files][1:] == [
        "is empty.",
        "looks like a PNG image, not like text.",
        "no reader for .png",
    ]
    assert report.bad_files[0].reason.startswith("line 2 is not valid JSON")
    found = documents(tmp_path / "corpus")
    assert len(found) == report.documents_out
    assert sum(len(document.text) for document in found) == report.characters_out
    assert dict(report.changed) == {"whitespace": 3}  # the module and two parts of the long text
    assert report.languages == {"en": report.documents_out - 1, "zh": 1}
    by_source = {document.source: document for document in found}
    assert by_source["sub/诗.txt"].text == "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。"
    assert by_source["module.py"].text == "f()\nDocuments itself\nwell."
    assert {"long.txt#1", "long.txt#2", "records.jsonl#40"} <= set(by_source)
    assert "sub/copy.md" not in by_source, "the first in the order of names stays"
    assert report.examples["duplicate_exact"][0].same_as == "records.jsonl#4"
    assert "one good record" not in {document.text for document in found}, "a file that breaks half-way gives nothing"


def test_documents_are_in_the_order_of_source_and_record(tmp_path: Path) -> None:
    prepare([make(tmp_path / "docs")], tmp_path / "corpus")
    for split in SPLITS:
        keys = []
        for document in open_corpus(tmp_path / "corpus").documents(split):
            source, _, number = document.source.partition("#")
            keys.append((source, int(number or 0)))
        assert keys == sorted(keys)


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "one" / "docs")
    for path in sorted((tmp_path / "one" / "docs").rglob("*"), reverse=True):  # another order on the disk
        if path.is_file():
            copy = tmp_path / "two" / "docs" / path.relative_to(tmp_path / "one" / "docs")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    for place in ("one", "two"):
        prepare([tmp_path / place / "docs"], tmp_path / place / "corpus")
    for path in (tmp_path / "one" / "corpus").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "corpus" / path.name).read_bytes(), path.name


def test_the_report_files_agree(tmp_path: Path) -> None:
    report = prepare([make(tmp_path / "docs")], tmp_path / "corpus")
    written = json.loads((tmp_path / "corpus" / "report.json").read_bytes())
    assert written["documents_out"] == report.documents_out
    assert written["leak"] == 0
    assert "seconds" not in written
    assert str(tmp_path) not in (tmp_path / "corpus" / "report.json").read_text(encoding="utf-8")
    page = (tmp_path / "corpus" / "report.html").read_text(encoding="utf-8")
    assert f"11 files held {report.documents_in:,} documents; {report.documents_out:,} of them" in page


def test_strict_stops_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"docs: 4 files cannot be read; the first is broken\.jsonl: line 2") as caught:
        prepare([make(tmp_path / "docs")], tmp_path / "corpus", strict=True)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "corpus").exists()
    for bad in ("broken.jsonl", "empty.txt", "fake.txt", "photo.png"):
        (tmp_path / "docs" / bad).unlink()
    assert prepare([tmp_path / "docs"], tmp_path / "corpus", strict=True).bad_files == ()


def test_nothing_good_left_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(BadFileError, match="docs: there are no files in it"):
        prepare([tmp_path / "docs"], tmp_path / "corpus")
    (tmp_path / "docs" / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(BadFileError, match=r"docs: a file cannot be read, a\.png: no reader for \.png") as caught:
        prepare([tmp_path / "docs"], tmp_path / "corpus")
    assert ".jsonl" in caught.value.hint
    (tmp_path / "docs" / "a.txt").write_text("?", encoding="utf-8")
    with pytest.raises(BadFileError, match=r"nothing is left of 1 documents \(too_short 1\)"):
        prepare([tmp_path / "docs"], tmp_path / "corpus")
    (tmp_path / "docs" / "a.txt").unlink()
    (tmp_path / "docs" / "a.png").unlink()
    (tmp_path / "docs" / "a.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(BadFileError, match=r"nothing is left of 0 documents \(no text in them\)"):
        prepare([tmp_path / "docs"], tmp_path / "corpus")
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]


def test_only_a_corpus_is_replaced_and_only_by_force(tmp_path: Path) -> None:
    docs, out = tmp_path / "docs", tmp_path / "corpus"
    docs.mkdir()
    (docs / "a.txt").write_text("The first text.", encoding="utf-8")
    out.mkdir()  # an empty folder is nothing
    prepare([docs], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (docs / "a.txt").write_text("The second text.", encoding="utf-8")
    with pytest.raises(ExistsError, match="a corpus at") as caught:
        prepare([docs], out)
    assert caught.value.exit_code == 2
    assert "--force" in caught.value.hint
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    prepare([docs], out, force=True)
    assert [document.text for document in documents(out)] == ["The second text."]
    for place in (docs, docs / "a.txt"):
        with pytest.raises(ExistsError, match="not a corpus"):
            prepare([docs], place, force=True)
    assert (docs / "a.txt").read_text(encoding="utf-8") == "The second text."


def test_the_old_corpus_stays_where_the_new_one_fails(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The first text.", encoding="utf-8")
    prepare([tmp_path / "a.txt"], tmp_path / "corpus")
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(BadFileError):
        prepare([tmp_path / "a.txt"], tmp_path / "corpus", force=True)
    assert [document.text for document in documents(tmp_path / "corpus")] == ["The first text."]


def test_a_corpus_inside_its_own_source_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The only text.", encoding="utf-8")
    for _ in range(2):
        report = prepare([tmp_path], tmp_path / "corpus", force=True)
        assert (report.documents_in, report.bad_files) == (1, ())


def test_several_sources(tmp_path: Path) -> None:
    for name in ("one/a.txt", "two/b.txt", "one/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"The text in {name}.", encoding="utf-8")
    report = prepare([tmp_path / "one", tmp_path / "two" / "b.txt"], tmp_path / "corpus")
    assert report.sources == ("one", "b.txt")
    assert (report.train.documents, report.valid.documents) == (2, 1)
    assert {document.source for document in documents(tmp_path / "corpus")} == {"a.txt", "b.txt", "c.txt"}
    prepare([tmp_path / "two" / "b.txt", tmp_path / "one"], tmp_path / "other way round")
    assert open_corpus(tmp_path / "corpus").digest == open_corpus(tmp_path / "other way round").digest


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        prepare([tmp_path / "none"], tmp_path / "corpus")
    with pytest.raises(UsageError, match="There is no 'rey' in engine") as caught:
        prepare([tmp_path], tmp_path / "corpus", engine="rey")
    assert "ray" in caught.value.hint
    with pytest.raises(UsageError):
        prepare([], tmp_path / "corpus")


def test_odd_file_names_and_half_characters(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a#1 <b>.jsonl").write_text('{"text": "half \\ud800 a character"}\n', encoding="utf-8")
    (docs / "\udcff.txt").write_text("a name that is not UTF-8", encoding="utf-8")
    prepare([docs], tmp_path / "corpus")
    assert {document.text for document in documents(tmp_path / "corpus")} == {"half \ufffd a character", "a name that is not UTF-8"}


@pytest.mark.slow
def test_the_documentation_of_python(tmp_path: Path) -> None:
    report = prepare(["python:docs"], tmp_path / "corpus", strict=True)
    assert report.characters_out > 1_500_000
    assert report.leak == 0
    assert 0.09 < report.valid.characters / report.characters_out < 0.11


def test_long_paragraphs_that_stand_elsewhere_go_where_that_is_wanted(tmp_path: Path) -> None:
    notice, own = sentence(1, words=60), [sentence(number, words=60) for number in (2, 3)]
    for name, parts in (("a", [own[0], notice]), ("b", [notice, own[1], "short"]), ("c", [notice])):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(parts), encoding="utf-8")
    sources = [tmp_path / f"{name}.txt" for name in "abc"]
    report = prepare(sources, tmp_path / "all", wanted=Wanted(valid_share=0))
    assert report.documents_out == 3
    report = prepare(sources, tmp_path / "once", settings=Settings(paragraphs=True), wanted=Wanted(valid_share=0))
    assert [document.text for document in documents(tmp_path / "once")] == [f"{own[0]}\n\n{notice}", f"{own[1]}\n\nshort"]
    assert (report.documents_out, report.dropped["duplicate_paragraphs"]) == (2, 1)
    assert report.characters_out == sum(len(document.text) for document in documents(tmp_path / "once"))


def test_paragraphs_of_a_document_that_goes_are_not_repeated_by_the_one_that_stays(tmp_path: Path) -> None:
    paragraphs = [sentence(number, words=60) for number in range(3)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n\n".join([*paragraphs, "And longer."]), encoding="utf-8")
    report = prepare([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "corpus", settings=Settings(paragraphs=True))
    assert [document.text for document in documents(tmp_path / "corpus")] == ["\n\n".join([*paragraphs, "And longer."])]
    assert (report.dropped["duplicate_near"], report.dropped.get("duplicate_paragraphs", 0)) == (1, 0)


def test_near_duplicates_go_and_the_longest_stays(tmp_path: Path) -> None:
    words = sentence(1, words=100).split()
    for name, text in (("a", " ".join(words[:-1])), ("b", " ".join([*words, "longer"])), ("c", sentence(2)), ("d", " ".join(words[:50]))):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    report = prepare([tmp_path / f"{name}.txt" for name in "abcd"], tmp_path / "corpus")
    assert {document.source for document in documents(tmp_path / "corpus")} == {"b.txt", "c.txt", "d.txt"}
    assert report.dropped["duplicate_near"] == 1
    assert report.examples["duplicate_near"] == (Example("a.txt", " ".join(words[:-1])[:EXAMPLE_CHARACTERS], "b.txt"),)
    assert [(copies.source, copies.count) for copies in report.copies] == [("b.txt", 1)]
    report = prepare([tmp_path / f"{name}.txt" for name in "abcd"], tmp_path / "kept", wanted=Wanted(near=None))
    assert report.documents_out == 4


def test_an_exact_copy_does_not_stand_for_a_group(tmp_path: Path) -> None:
    """The copy is longer by its spaces; were it the one that stays, its original would go for its sake, and it for its original's."""
    text = sentence(1, words=60)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text(text.replace(" ", "  "), encoding="utf-8")
    report = prepare([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "corpus")
    assert [document.source for document in documents(tmp_path / "corpus")] == ["a.txt"]
    assert dict(report.dropped) == {"duplicate_exact": 1, "duplicate_near": 0}


def test_what_holds_a_test_is_taken_out_and_listed(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": sentence(7)}) + "\n", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    for number in range(20):
        (tmp_path / "docs" / f"{number:02d}.txt").write_text(sentence(100 + number), encoding="utf-8")
    (tmp_path / "docs" / "holds.txt").write_text(f"{sentence(200)} {sentence(7)} {sentence(201)}", encoding="utf-8")
    report = prepare([tmp_path / "docs"], tmp_path / "corpus", wanted=Wanted(evaluations=(tmp_path / "test.jsonl",)))
    assert report.leaks == (Leak("holds.txt", "test.jsonl#1"),)
    assert report.dropped["leak_evaluation"] == 1
    assert "holds.txt" not in {document.source for document in documents(tmp_path / "corpus")}


def test_a_validation_document_that_leaks_is_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the choice is made on too small a sample, leaks are seen afterwards, on all shingles."""
    (tmp_path / "docs").mkdir()
    for number in range(60):
        words = sentence(number, words=60).split()
        for copy in range(2):
            text = " ".join([*words[: 40 - copy], *sentence(1000 + 2 * number + copy, words=20).split()])
            (tmp_path / "docs" / f"{number:02d}-{copy}.txt").write_text(text, encoding="utf-8")
    whole = prepare([tmp_path / "docs"], tmp_path / "whole", wanted=Wanted(near=None))
    assert (whole.leak, whole.leaks) == (0, ())
    monkeypatch.setattr(module, "sampled", lambda parts, total: sampled(parts, total=total, largest=100))
    report = prepare([tmp_path / "docs"], tmp_path / "corpus", wanted=Wanted(near=None))
    assert report.leak > 0
    assert report.dropped["leak_validation"] == len(report.leaks) > 0
    left = {document.source for document in open_corpus(tmp_path / "corpus").documents("valid")}
    assert left.isdisjoint({leak.source for leak in report.leaks})


def test_quality_by_example_and_languages(tmp_path: Path) -> None:
    for name, word in (("like", "measured"), ("unlike", "cheap")):
        lines = [json.dumps({"text": f"{sentence(number)} {word} {word} {word}"}) for number in range(12)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    texts = {"a": f"{sentence(50)} measured measured", "b": f"{sentence(51)} cheap cheap", "c": "春眠不觉晓，处处闻啼鸟。"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    sources = [tmp_path / f"{name}.txt" for name in texts]
    report = prepare(sources, tmp_path / "good", like=[tmp_path / "like.jsonl"], unlike=[tmp_path / "unlike.jsonl"])
    assert report.dropped["low_quality"] >= 1
    assert "a.txt" in {document.source for document in documents(tmp_path / "good")}
    assert "b.txt" not in {document.source for document in documents(tmp_path / "good")}
    report = prepare(sources, tmp_path / "zh", settings=Settings(languages=("zh",)))
    assert [document.source for document in documents(tmp_path / "zh")] == ["c.txt"]
    assert report.dropped["other_language"] == 2


def test_a_file_that_is_cut_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"text": sentence(number)}) for number in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    prepare([tmp_path / "a.jsonl"], tmp_path / "whole")
    monkeypatch.setattr(module, "plan", lambda files, settings: plan(files, settings, size=2_000))
    prepare([tmp_path / "a.jsonl"], tmp_path / "cut")
    assert open_corpus(tmp_path / "whole").digest == open_corpus(tmp_path / "cut").digest


def cut_small(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(module, "plan", lambda files, settings: plan(files, settings, size=size))


def test_a_file_in_gb18030_that_is_cut_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last span has two signs beyond ASCII, which alone would be taken for Latin-1."""
    poems = [f"第{number}首：春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。" for number in range(30)]
    texts = [*poems, *(f"{sentence(number)} · \r\n {number}" for number in range(20)), *map(sentence, range(100, 110))]
    (tmp_path / "a.jsonl").write_bytes("".join(json.dumps({"text": text}, ensure_ascii=False) + "\r\n" for text in texts).encode("gb18030"))
    whole = prepare([tmp_path / "a.jsonl"], tmp_path / "whole")
    cut_small(monkeypatch, 2_000)
    report = prepare([tmp_path / "a.jsonl"], tmp_path / "cut")
    assert report.encodings == whole.encodings == {"gb18030": 1}
    assert open_corpus(tmp_path / "whole").digest == open_corpus(tmp_path / "cut").digest


def test_of_a_file_that_is_cut_the_span_with_the_fault_is_left_out_and_its_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"text": sentence(number)}) for number in range(40)]
    lines[29] = "{"
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    cut_small(monkeypatch, 2_000)
    report = prepare([tmp_path / "a.jsonl"], tmp_path / "corpus")
    ((path, reason),) = [(bad.path, bad.reason) for bad in report.bad_files]
    assert (path, reason.split(" is ")[0]) == ("a.jsonl", "line 30")
    assert 25 < report.documents_out < 40


@pytest.mark.parametrize(("change", "says"), [("gone", "was there, and is gone."), ("changed", "was changed while the work went on.")])
@pytest.mark.parametrize("size", [100, 10_000])
def test_a_file_that_is_not_what_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, says: str, size: int) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("\n".join(map(sentence, range(9))) + name, encoding="utf-8")

    def plan_then_change(files: list[SourceFile], settings: Settings) -> Plan:
        made = plan(files, settings, size=size)
        if change == "gone":
            (tmp_path / "b.txt").unlink()
        else:
            (tmp_path / "b.txt").write_text("\n".join(map(sentence, range(20, 29))) + "b.txt", encoding="utf-8")
            os.utime(tmp_path / "b.txt", ns=(0, 0))
        return made

    monkeypatch.setattr(module, "plan", plan_then_change)
    report = prepare([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "corpus")
    assert {(bad.path, bad.reason) for bad in report.bad_files} == {("b.txt", says)}
    assert {document.source.split("#")[0] for document in documents(tmp_path / "corpus")} == {"a.txt"}


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one/a", "two/a", "b")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "same.txt").write_text(sentence(number), encoding="utf-8")
        (folder / f"own{number}.txt").write_text("" if number == 1 else sentence(10 + number), encoding="utf-8")
    report = prepare(folders, tmp_path / "corpus")
    names = {"a-1/same.txt", "a-2/same.txt", "b/same.txt", "own0.txt", "own2.txt"}
    assert {document.source for document in documents(tmp_path / "corpus")} == names
    assert [bad.path for bad in report.bad_files] == ["own1.txt"]
    again = prepare([folders[2], folders[2], folders[2] / "same.txt"], tmp_path / "once")
    assert (again.documents_in, dict(again.dropped)) == (2, {"duplicate_exact": 0, "duplicate_near": 0}), "each file is read once"


def test_a_bad_file_does_not_speak_for_a_good_one_of_the_same_name(tmp_path: Path) -> None:
    for name, text in (("a", "The good text."), ("b", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text(text, encoding="utf-8")
    report = prepare([tmp_path / "a", tmp_path / "b"], tmp_path / "corpus")
    assert (report.documents_out, [bad.path for bad in report.bad_files]) == (1, ["b/same.txt"])


def test_of_a_corpus_only_its_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": sentence(number)}) + "\n" for number in range(20)), encoding="utf-8")
    prepare([tmp_path / "a.jsonl"], tmp_path / "corpus")
    report = prepare([tmp_path / "corpus"], tmp_path / "again", strict=True)
    assert (report.documents_out, report.formats) == (20, {".parquet": 2})
    for source in (tmp_path / "corpus", tmp_path / "corpus" / "train-00000.parquet"):
        with pytest.raises(UsageError, match="is what --out would replace"):
            prepare([source], tmp_path / "corpus", force=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("squad.json", {"version": "2", "data": [{"title": "t", "paragraphs": [{"context": sentence(7), "qas": [{"id": "x"}]}]}]}),
        ("choices.jsonl", {"question": sentence(7), "choices": ["yes", "no"], "answer": 0}),
        ("folder", {"text": sentence(7)}),
    ],
)
def test_evaluation_sets_as_they_come(tmp_path: Path, name: str, content: object) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        path = path / "set.jsonl"
    path.write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "docs").mkdir()
    for number in range(10):
        (tmp_path / "docs" / f"{number}.txt").write_text(sentence(number), encoding="utf-8")
    report = prepare([tmp_path / "docs"], tmp_path / "corpus", wanted=Wanted(evaluations=(tmp_path / name,)))
    assert report.leaks == (Leak("7.txt", f"{path.name}#1"),)
    path.write_text(json.dumps({"answer": 3}), encoding="utf-8")
    with pytest.raises(BadFileError, match="no text field"):
        prepare([tmp_path / "docs"], tmp_path / "other", wanted=Wanted(evaluations=(tmp_path / name,)))


def test_where_nothing_is_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("The llama eats grass.", encoding="utf-8")
    with pytest.raises(BadFileError, match=r"nothing is left of 1 documents \(other_language 1\)"):
        prepare([tmp_path / "docs"], tmp_path / "new" / "deep" / "corpus", settings=Settings(languages=("zh",)))
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]
    with pytest.raises(UsageError, match="is no folder"):
        prepare([tmp_path / "docs"], tmp_path / "docs" / "a.txt" / "corpus")
    for wrong in (Settings(languages=("chinese",)), Settings(lowest_quality=7)):
        with pytest.raises(UsageError):
            prepare([tmp_path / "docs"], tmp_path / "corpus", settings=wrong)


def test_what_was_copied_most_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that leaks takes its copies along; it is none that stays. Rows are looked up in several partitions."""
    cut_small(monkeypatch, 700)
    (tmp_path / "docs").mkdir()
    for number, copies in enumerate((4, 3, 2)):
        for copy in range(copies):
            (tmp_path / "docs" / f"{number}-{copy}.txt").write_text(sentence(number), encoding="utf-8")
    (tmp_path / "set.txt").write_text(sentence(0), encoding="utf-8")
    report = prepare([tmp_path / "docs"], tmp_path / "corpus", wanted=Wanted(evaluations=(tmp_path / "set.txt",)))
    assert [(one.source, one.count) for one in report.copies] == [("1-0.txt", 2), ("2-0.txt", 1)]
    assert {size: count for size, count in report.groups.items() if count} == {"2": 1, "3": 1}
    assert report.lengths == {"en": {**dict.fromkeys(report.lengths["en"], 0), "300 to 1,000": 2}}
    assert [(one.source, one.same_as) for one in report.examples["duplicate_exact"]] == [(f"0-{copy}.txt", "0-0.txt") for copy in (1, 2, 3)]
