from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
