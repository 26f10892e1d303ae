from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ask import gloss
from llamarium.apps.ask.gloss import Dictionary, parse
from llamarium.ground.errors import BadFileError

ENTRIES = """# CC-CEDICT
豆腐 豆腐 [dou4 fu5] /tofu/bean curd/CL:塊|块[kuai4]/
煮 煮 [zhu3] /to cook/to boil/
熟 熟 [shou2] /see 熟[shu2]/
熟 熟 [shu2] /cooked (of food)/ripe; mature/
王 王 [Wang2] /surname Wang/
溫度 温度 [wen1 du4] /temperature/CL:個|个[ge4]/
不成文法 不成文法 [bu4 cheng2 wen2 fa3] /unwritten law (abbr. of 不成文的法律)/
a line that is no entry
"""
KNOWN = Dictionary(parse(ENTRIES.splitlines()))


def test_the_first_meanings_that_are_some() -> None:
    expected = {
        "豆腐": "tofu bean curd",
        "煮": "cook boil",
        "熟": "cooked ripe",
        "王": "",
        "温度": "temperature",
        "不成文法": "unwritten law",
    }
    assert KNOWN.meanings == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("豆腐煮熟的溫度", "tofu bean curd cook boil cooked ripe temperature"),
        ("Heat 豆腐 to 98°，then stop.", "Heat tofu bean curd to 98°,then stop."),  # full-width forms are folded on the way
        ("王", ""),
        ("龘", ""),
        ("", ""),
        ("No Chinese at all.", "No Chinese at all."),
    ],
)
def test_gloss(text: str, expected: str) -> None:
    assert KNOWN.gloss(text) == expected


@given(st.text(alphabet="豆腐煮熟温度王不成文法龘"))
def test_a_cut_loses_nothing_and_takes_as_few_words_as_can_be(run: str) -> None:
    words = KNOWN.cut(run)
    assert "".join(words) == run
    assert all(word in KNOWN.meanings or len(word) == 1 for word in words)
    fewest = [0] * (len(run) + 1)
    for end in range(1, len(run) + 1):
        fewest[end] = min(fewest[start] + 1 for start in range(end) if end - start == 1 or run[start:end] in KNOWN.meanings)
    assert len(words) == fewest[-1]


def test_an_installed_dictionary_is_read_and_a_broken_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gloss, "PACKAGE", "dictionary_of_this_test")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert gloss.installed() is None
    data = tmp_path / "dictionary_of_this_test" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    assert gloss.installed() is None
    file = data / "cedict_ts.txt.gz"
    file.write_bytes(gzip.compress(ENTRIES.encode()))
    assert gloss.installed() == file
    assert gloss.read(file) == KNOWN
    broken = file.with_name("broken.txt.gz")
    broken.write_bytes(b"no gzip")
    with pytest.raises(BadFileError, match="no dictionary"):
        gloss.read(broken)
