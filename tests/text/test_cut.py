from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamarium.text.cut import cut

TEXTS = st.text(alphabet="ab 。.\n羊", max_size=400)


@given(TEXTS, st.integers(4, 50))
def test_joined_the_parts_are_the_text(text: str, longest: int) -> None:
    parts = cut(text, longest=longest)
    assert "".join(parts) == text
    assert len(parts) == max(1, -(-len(text) // longest))
    assert all(parts) or not text
    assert all(len(part) <= 1.5 * longest + 1 for part in parts)


def test_a_blank_line_wins_over_a_line_end() -> None:
    assert cut("aaaaaaaaaa\n\nbb\nbbbbbb\nccccc", longest=18) == ["aaaaaaaaaa\n\n", "bb\nbbbbbb\nccccc"]


def test_without_any_border_parts_are_equal() -> None:
    assert [len(part) for part in cut("羊" * 1000, longest=300)] == [250, 250, 250, 250]
