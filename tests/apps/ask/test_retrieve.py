from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamarium.apps.ask import retrieve as module
from llamarium.apps.ask.index import Found, Index, build_in_memory
from llamarium.apps.ask.retrieve import by_words, diverse, fuse, retrieve, weigh
from llamarium.apps.ask.synonyms import parse
from llamarium.apps.ask.words import question_words

SYNONYMS = parse("fix, repair\ndoctor, physician\n医生, 大夫")


def paths(index: Index, question: str, **more: object) -> list[str]:
    asked = SYNONYMS.expand(question_words(question), question)
    return [passage.path for passage in retrieve(index, asked, question, **more)]  # type: ignore[arg-type]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    for name, text in {
        "bicycle.txt": "A workshop will repair your bicycle by Friday.",
        "cake.txt": "Cakes and bread by Friday.",
        "clinic.txt": "The physician sees patients in the morning.",
        "诊所.txt": "大夫上午看病，下午休息。",
        "hurt.txt": "在山上受伤的人应该打电话。",
        "other.txt": "Nothing of this is about anything that is asked.",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return build_in_memory([tmp_path])


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("Who can fix it?", "bicycle.txt"),
        ("Who can fix a wheel by Friday?", "bicycle.txt"),  # the cakes have Friday in fewer words
        ("When is the doctor there?", "clinic.txt"),
        ("医生什么时候在？", "诊所.txt"),
        ("摔伤怎么办？", "hurt.txt"),  # by a character that both words have
    ],
)
def test_other_words(question: str, path: str, index: Index) -> None:
    assert paths(index, question)[:1] == [path]


def test_a_synonym_does_not_outrank_the_word(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("They repair, repair and repair roofs and gutters.", encoding="utf-8")
    (tmp_path / "b.txt").write_text("They fix roofs and gutters and then some other things.", encoding="utf-8")
    with build_in_memory([tmp_path]) as opened:
        assert paths(opened, "Who can fix roofs?")[0] == "b.txt"


def test_who_has_the_word_gains_nothing_by_a_synonym(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("They fix roofs.", encoding="utf-8")
    (tmp_path / "b.txt").write_text("They fix and repair roofs, gutters and walls and more.", encoding="utf-8")
    with build_in_memory([tmp_path]) as opened:
        assert paths(opened, "Who can fix roofs of unobtainium, corundum and beryl?")[0] == "a.txt"


def test_what_a_document_is_about_is_said_once(tmp_path: Path) -> None:
    filler = " ".join(f"word{number}" for number in range(60))
    for name, about in (("a.txt", "Bicycles"), ("b.txt", "Tandems"), ("c.txt", "Unicycles")):
        parts = [f"{about} are for rent here.", filler, "The deposit is thirty crowns.", filler]
        (tmp_path / name).write_text("\n\n".join(f"# Part {number}\n\n{part}" for number, part in enumerate(parts)), encoding="utf-8")
    with build_in_memory([tmp_path]) as opened:
        for name, about in (("a.txt", "bicycle"), ("b.txt", "tandem"), ("c.txt", "unicycle")):
            asked = question_words(f"What is the deposit for a {about}?")
            found = by_words(opened, asked, weigh(opened, asked))
            deposits = [passage.path for passage in found if "crowns" in opened.text(passage.document)[passage.start : passage.end]]
            assert deposits[0] == name


def test_many_names_for_a_thing_are_one_thing(tmp_path: Path) -> None:
    """A question's word with thirty other names finds one of them anywhere; that tells less than a word with one rare name."""
    names = [f"name{number}" for number in range(30)]
    for number, name in enumerate(names):
        (tmp_path / f"{number:02}.txt").write_text(f"Of {name} there is much to say.", encoding="utf-8")
    (tmp_path / "rare.txt").write_text("Of corundum there is much to say.", encoding="utf-8")
    known = parse(f"gadget, {', '.join(names)}\nstone, corundum")
    with build_in_memory([tmp_path]) as opened:
        question = "The stone gadget?"
        asked = known.expand(question_words(question), question)
        weights = weigh(opened, asked)
        gains = {wanted.terms[0]: gain for wanted, gain in weights.gains.items()}
        assert gains["stone"] > 20 * gains["gadget"] > 0
        assert by_words(opened, asked, weights)[0].path == "rare.txt"


def test_what_is_never_named_weighs_more(index: Index) -> None:
    weights = weigh(index, question_words("A bicycle of unobtainium?"))
    by_term = {wanted.terms[0]: weight for wanted, weight in weights.rarity.items()}
    assert by_term["unobtainium"] > 1.5 * by_term["bicycl"]


def test_credit(index: Index) -> None:
    asked = SYNONYMS.expand(question_words("doctor"), "doctor")
    weights = weigh(index, asked)
    [wanted] = weights.rarity
    assert weights.credit(wanted, {"doctor"}) == 1.0
    assert 0 < weights.credit(wanted, {"physician"}) < 1
    assert weights.credit(wanted, {"patient"}) == 0.0


EVERYTHING = question_words("Friday physician nothing 上午 在山上")


class Near:
    """Vectors that find what they are told to find, with these cosines."""

    def __init__(self, index: Index, cosines: dict[str, float]) -> None:
        everything = {passage.path: passage for passage in by_words(index, EVERYTHING, weigh(index, EVERYTHING))}
        self.found = [replace(everything[path], rank=cosine) for path, cosine in cosines.items()]

    def nearest(self, question: str, *, limit: int, documents: Collection[int] | None = None) -> list[Found]:
        return [passage for passage in self.found if documents is None or passage.document in documents][:limit]


def test_vectors_decide_where_words_find_little(index: Index) -> None:
    near = Near(index, {"cake.txt": 0.8, "bicycle.txt": 0.2})
    assert paths(index, "Where do I get dessert before Friday night?", vectors=near)[0] == "cake.txt"
    # and have no say where the words are all there
    assert paths(index, "repair bicycle workshop", vectors=near)[0] == "bicycle.txt"
    question = "Who could fix a tandem of unobtainium?"
    assert paths(index, question, vectors=Near(index, {"cake.txt": 0.8, "other.txt": 0.2}))[0] == "cake.txt"
    # An encoder's cosines may lie close together: what counts is which are the nearest of those found.
    assert paths(index, question, vectors=Near(index, {"cake.txt": 0.8, "other.txt": 0.79}))[0] == "cake.txt"
    assert paths(index, question, vectors=Near(index, {"cake.txt": 0.8}))[0] == "bicycle.txt"


def test_nearness_adds_to_the_share_of_the_best_rank() -> None:
    def passage(number: int, rank: float) -> Found:
        return Found(number, f"{number}.txt", "", 0, 0, 9, "", rank)

    found = module._with_meaning([passage(1, 8.0), passage(2, 4.0)], [passage(2, 0.9), passage(3, 0.6), passage(4, 0.5)], weight=2.0)
    assert [each.document for each in found] == [2, 1, 3, 4]
    assert [each.rank for each in found] == pytest.approx([2.5, 2.5 * 0.4**2, 2.5 * 0.2**2, 0.0])
    # what words found without any rank of its own stands in nobody's way
    found = module._with_meaning([passage(1, 0.0)], [passage(2, 0.9), passage(3, 0.5)], weight=1.0)
    assert [each.document for each in found] == [2, 1, 3]
    assert [each.document for each in module._with_meaning([], [passage(2, 0.9), passage(3, 0.5)], weight=1.0)] == [2, 3]


class Judge:
    def judge(self, question: str, passages: Sequence[str]) -> list[float]:
        return [float("morning" in passage) for passage in passages]


def test_a_judge_moves_what_it_prefers(index: Index) -> None:
    question = "Friday: cakes, bread, a bicycle, or the morning?"
    before, after = paths(index, question), paths(index, question, judge=Judge())
    assert before[2:] == ["clinic.txt"]
    assert sorted(before) == sorted(after)
    assert after.index("clinic.txt") == 1  # by its ranks, third and first, it comes after the first and second, before the second and third


@given(st.lists(st.tuples(st.lists(st.integers(0, 20), unique=True), st.floats(0.1, 3)), max_size=4))
def test_fusion(rankings: list[tuple[list[int], float]]) -> None:
    fused = fuse(rankings)
    assert set(fused) == {key for ranking, _ in rankings for key in ranking}
    assert list(fused.values()) == sorted(fused.values(), reverse=True)
    for ranking, weight in rankings:
        for rank, key in enumerate(ranking, 1):
            assert fused[key] >= weight / (module.RRF_CONSTANT + rank)


def test_one_ranking_stays_what_it_is() -> None:
    assert list(fuse([(["c", "a", "b"], 1.0)])) == ["c", "a", "b"]


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=8), st.integers(0, 8), st.sampled_from([0.0, 0.5, 1.0]))
def test_diversity_takes_each_once(scores: list[float], k: int, alike: float) -> None:
    taken = diverse(scores, lambda _i, _j: alike, k=k)
    assert len(taken) == len(set(taken)) == min(k, len(scores))
    assert [scores[i] for i in taken] == sorted(scores, reverse=True)[: len(taken)]  # all alike: by their scores
