from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.text import spans as module
from llamarium.text.sources import SourceFile
from llamarium.text.spans import spans_of


@given(st.lists(st.sampled_from([b"a", b"bb", b"\n"]), min_size=1, max_size=80).map(b"".join), st.integers(1, 40))
@settings(deadline=None)
def test_spans_are_the_file_and_end_behind_lines(tmp_path_factory: pytest.TempPathFactory, data: bytes, longest: int) -> None:
    path = tmp_path_factory.mktemp("spans") / "file.jsonl"
    path.write_bytes(data)
    spans = list(spans_of(SourceFile(path, "file.jsonl"), longest=longest))
    assert b"".join(data[span.start : span.end] for span in spans) == data
    for span in spans:
        assert span.lines == data[: span.start].count(b"\n")
        assert span.end == len(data) or data[span.end - 1 : span.end] == b"\n"
    assert [span.number for span in spans] == ([0] if len(data) <= longest else list(range(1, len(spans) + 1)))


def test_what_has_no_lines_or_wide_characters_is_not_cut(tmp_path: Path) -> None:
    for name, data in (("a.json", b"[\n1\n]"), ("a.txt", "一\n二\n".encode("utf-16")), ("a.md", b"# a\nb\n")):
        (tmp_path / name).write_bytes(data)
        (span,) = spans_of(SourceFile(tmp_path / name, name), longest=2)
        assert (span.start, span.end, span.number) == (0, len(data), 0)


def test_a_file_that_is_gone_is_a_span_without_bytes(tmp_path: Path) -> None:
    (span,) = spans_of(SourceFile(tmp_path / "gone.txt", "gone.txt"), longest=2)
    assert span.size == 0


def test_an_encoding_is_told_for_the_file_not_for_a_span(tmp_path: Path) -> None:
    chinese, ascii_, few = "春眠不觉晓，处处闻啼鸟。\n" * 20, "The llama eats grass.\n" * 20, "A café · 3 °C.\n" * 20
    path = tmp_path / "a.txt"
    path.write_bytes((ascii_ + chinese).encode("gb18030") + few.encode("utf-8") + "one · two\n".encode("gb18030") * 40)
    spans = list(spans_of(SourceFile(path, "a.txt"), longest=400))
    assert {span.encoding for span in spans} == {"gb18030"}
    data = path.read_bytes()
    read = [data[span.start : span.end].decode(span.codec or "utf-8") for span in spans]
    assert "".join(read[:-3]).startswith(ascii_ + chinese[:20])
    assert read[-1].startswith("one · two\n")
    assert {span.codec for span in spans} == {"", "gb18030"}


def test_wide_characters_without_a_mark_are_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(("The llama eats grass.\n" * 40).encode("utf-16-le"))
    assert [span.number for span in spans_of(SourceFile(path, "a.txt"), longest=200)] == [0]


def test_half_a_character_at_the_end_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("羊驼吃草。\n".encode() * 4 + "羊".encode()[:2])
    assert [one.is_utf8 for one in module._stretches(path, path.stat().st_size, 30)] == [True, True, False]


def test_a_file_that_shrinks_while_it_is_looked_at_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\n")
    stretches = list(module._stretches(path, 1_000, 300))
    assert stretches[0].num_lines == 2
    assert sum(one.num_lines for one in stretches) == 2
