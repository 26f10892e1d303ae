"""Questions that only make sense after the one before.

Takes: what answers a question that stands by itself; questions in the order they are asked.
Gives: each with what it was taken to mean, and its answer.
Does not know: indexes, models, how answers are shown.

A question leans on the one before where it begins as one that goes on (and, what about, 那…呢), where a pronoun stands for what it is
about, or where nothing asks in it. Then it is asked together with the words before, of which those give way that are of one
kind with its own: winter for summer, E1 for E4, 学生 for 成人. What a pronoun for a thing brings along is what the question before
shares with the title that it was answered under, else all of it. These are rules about words; what was understood is told, so
that a wrong guess can be seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from llamarium.apps.ask.answer import Answer
from llamarium.apps.ask.passages import Span
from llamarium.apps.ask.words import STOP_WORDS, folded_characters, is_dense, question_words, terms_of, without_question_words, words

LONGEST_MEANT = 400  # characters: a long conversation does not become a long question
FEW_WORDS = 4  # that a question may have beside a pronoun: with more it names what it is about
FEW_CHARACTERS = 10

_GOES_ON = re.compile(
    r"\W*(?:(?:and|or|but|so|also|then)\b[\s,]*)+(?:(?:what|how)\s+about\b\s*)?"
    r"|\W*(?:(?:what|how)\s+about|what\s+if)\b\s*"
    r"|\W*(?:那么|那(?!里|儿|边|个|些|年|天|时|种|样|座|家|位|本|次)|还有|另外|以及|至于|然后|如果是|换成)[，,\s]*",
    re.IGNORECASE,
)
_ENDS_ASIDE = re.compile(r"[呢嘛][？?。！!\s]*$")
_ASKS = re.compile(
    r"\b(?:what|who|whom|whose|when|where|which|why|how|is|are|was|were|do|does|did|can|could|may|might|must|shall|should|will|would|has|have|had)\b",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those|ones?)\b"
    r"|(?<!is )(?<!are )(?<!was )(?<!were )(?<!be )\bthere\b(?! (?:is|are|was|were)\b)"
    r"|[它他她]们?|其(?!他|它|中|实|余)|那里|那儿|那边|这里|这儿|这边|当时|那时|那年|那天|这个|那个|这些|那些|这种|那种|这样|那样|此(?=[人事物处时地])|该(?=[人书店校馆站院片])",
    re.IGNORECASE,
)
_PERSON = re.compile(r"\b(?:he|him|his|she|her|hers)\b|[他她]", re.IGNORECASE)
# Words of one kind: one of them in a question that goes on takes the place of another one before.
_KINDS = (
    "spring summer autumn fall winter 春天 夏天 秋天 冬天 春季 夏季 秋季 冬季 "
    "january february march april may june july august september october november december "
    "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月",
    "monday tuesday wednesday thursday friday saturday sunday weekday weekdays weekend weekends mondays tuesdays wednesdays thursdays "
    "fridays saturdays sundays holidays 周一 周二 周三 周四 周五 周六 周日 周末 平日 工作日 节假日 "
    "星期一 星期二 星期三 星期四 星期五 星期六 星期日 星期天",
    "morning noon afternoon evening night 早上 上午 中午 下午 晚上 夜里 夜间 白天",
    "today tomorrow yesterday 今天 明天 昨天 今年 明年 去年",
    "adult adults child children student students pupil pupils senior seniors pensioner pensioners member members guest guests "
    "成人 大人 儿童 孩子 小孩 学生 老人 老年人 会员 游客 员工 家长 教师",
    "man men woman women boy boys girl girls 男人 女人 男孩 女孩 男生 女生 男士 女士",
    "cat cats dog dogs 猫 狗",
    "red blue green yellow white black 红色 蓝色 绿色 黄色 白色 黑色",
    "small medium large big 小号 中号 大号",
    "first second third last 第一 第二 第三 最后",
)
_KIND_OF = {word: number for number, kind in enumerate(_KINDS) for word in kind.split()}
_DENSE_KINDS = re.compile("|".join(sorted((word for word in _KIND_OF if is_dense(word)), key=len, reverse=True)))
_LATIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:/%-]*")
_CODE = re.compile(r"[A-Za-z]{0,4}-?[0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True)
class Meant:
    """A question as it stands by itself. `certain`: whether it cannot be asked alone."""

    question: str
    certain: bool


@dataclass(frozen=True)
class Turn:
    """A question, what it was taken to mean (itself, where it stands by itself), and the answer to that."""

    question: str
    meant: str
    answer: Answer


class Conversation:
    """Questions one after the other, each answered by `answers`, what answers a question that stands by itself."""

    def __init__(self, answers: Callable[[str], Answer]) -> None:
        self.turns: list[Turn] = []
        self._answers = answers

    def ask(self, question: str) -> Turn:
        """Answer `question` in the light of the one before. Whatever `answers` raises passes, and the question is then forgotten."""
        before = self.turns[-1] if self.turns else None
        turn = self._turn(question, before, meant(question, before.meant, about=_title(before.answer)) if before else None)
        self.turns.append(turn)
        return turn

    def _turn(self, question: str, before: Turn | None, taken: Meant | None) -> Turn:
        if before is None or taken is None:
            return Turn(question, question, self._answers(question))
        together = Turn(question, taken.question, _staying(self._answers(taken.question), before.answer))
        if taken.certain and (together.answer.found or not _content(question)):
            return together
        alone = Turn(question, question, self._answers(question))
        stays = [turn for turn in (alone, together) if turn.answer.found and _document(turn.answer) == _document(before.answer)]
        if stays:
            return stays[0]
        return together if taken.certain else alone


def _document(answer: Answer) -> str | None:
    """The document answered from."""
    return answer.citations[0].document if answer.citations else None


def _title(answer: Answer) -> str:
    """What the document answered from calls itself: its name, and the first line of the passage."""
    return f"{_document(answer)}\n{answer.passages[0].quote.partition(chr(10))[0]}" if answer.passages else ""


def _staying(answer: Answer, before: Answer) -> Answer:
    """The same quotes, those of the document that was answered from first: talk stays with its subject."""
    document = _document(before)
    if document not in {citation.document for citation in answer.citations[1:]} - {_document(answer)}:
        return answer
    citations = tuple(sorted(answer.citations, key=lambda citation: citation.document != document))
    return replace(answer, answer=citations[0].quote, citations=citations)


def meant(question: str, before: str, *, about: str = "") -> Meant | None:
    """What `question` means after the question `before`, answered under the title `about`; None where it stands by itself.

    >>> meant("And in winter?", "When does the museum open in summer?").question
    'When does the museum open in winter?'
    >>> meant("那冬天呢？", "博物馆夏天几点开门？").question
    '博物馆冬天几点开门？'
    >>> meant("When does the library open?", "When does the museum open?") is None
    True
    """
    said = question.strip()
    if not any(True for _ in words(said)):
        return None
    opening = _GOES_ON.match(said)
    rest = said[opening.end() :] if opening else said
    rest = _ENDS_ASIDE.sub("", rest).strip() or rest
    fragment = not _asks(rest) and _is_short(rest)
    aside = bool(_ENDS_ASIDE.search(said)) and _is_short(rest)
    if not question_words(said).wanted or not _content(said):
        return Meant(_together(rest, before), certain=True)  # Why? 多少钱？
    if (opening and _is_short(rest)) or aside or fragment:
        return Meant(_put_into(rest, before) or _together(rest, before), certain=True)
    if _PRONOUN.search(said) and _is_short(said):
        if not _PERSON.search(said):
            before = _shared(before, about) or before
        return Meant(_put_into(rest, before, asks=True) or _together(_PRONOUN.sub(" ", rest), before), certain=True)
    if is_dense(said) and _is_short(said) and len(_content(said)) <= FEW_CHARACTERS // 2:
        return Meant(_together(rest, before), certain=False)  # Chinese drops what both know
    return None


def _asks(text: str) -> bool:
    folded = folded_characters(text)
    return bool(_ASKS.search(text)) or without_question_words(folded) != folded or "多" in folded


def _content(text: str) -> list[str]:
    """What a question is about: words, or single characters of Chinese."""
    folded = folded_characters(text)
    bare = _PRONOUN.sub(" ", without_question_words(folded))
    return [letter for letter in bare if is_dense(letter)] + [
        word for word in _LATIN.findall(bare) if word.lower() not in STOP_WORDS and word.lower() not in ("long", "old", "far", "big")
    ]


def _is_short(text: str) -> bool:
    content = _content(text)
    return len(content) <= (FEW_CHARACTERS if any(map(is_dense, content)) else FEW_WORDS)


def _together(question: str, before: str) -> str:
    return f"{question.strip()} {before.strip()}"[:LONGEST_MEANT]


def _shared(before: str, about: str) -> str:
    """The words of `before` that `about` has, too; of Chinese, what pairs of characters cover."""
    title = terms_of(about)
    kept = [False] * len(before)
    for word in words(before):
        text = before[word.start : word.end]
        if len(text) > 1 and word.terms[0] in title and text.lower() not in STOP_WORDS:
            kept[word.start : word.end] = [True] * len(text)
    return " ".join("".join(letter if keep else " " for letter, keep in zip(before, kept, strict=True)).split())


def _put_into(rest: str, before: str, *, asks: bool = False) -> str | None:
    """`before` with the words of `rest` in the place of those of the same kind; None where there are none.

    With `asks`, `rest` is a question of its own, and only what it does not replace of `before` is added to it.
    """
    changed = before
    for new in _of_kinds(rest):
        for old in _of_kinds(changed):
            if old != new and old.kind == new.kind:
                changed = changed[: old.span[0]] + ("" if asks else new.text) + changed[old.span[1] :]
                break
    if changed == before and not asks:
        changed = _alike(rest, before) or before
    if changed == before:
        return None
    return _together(rest, changed) if asks or _left_over(rest, changed) else changed[:LONGEST_MEANT]


def _left_over(rest: str, changed: str) -> bool:
    """Whether something of `rest` did not come into what was changed."""
    held = set(_content(changed.lower()))
    return any(each not in held for each in _content(rest.lower()))


@dataclass(frozen=True)
class _OfKind:
    kind: object
    text: str
    span: Span


def _of_kinds(text: str) -> Iterator[_OfKind]:
    for match in _LATIN.finditer(text):
        kind: object = _KIND_OF.get(match[0].lower())
        if kind is None and _CODE.fullmatch(match[0]):
            kind = "".join("9" if letter.isdigit() else "A" for letter in match[0] if letter.isalnum())[:2]  # E4, E1; 2023, 2024
        if kind is not None and match[0] != "may":
            yield _OfKind(kind, match[0], match.span())
    for match in _DENSE_KINDS.finditer(text):
        yield _OfKind(_KIND_OF[match[0]], match[0], match.span())


def _alike(rest: str, before: str) -> str | None:
    """`before` with a Chinese word that ends as `rest` does, as long as it, in its place: 季卡 for 月卡."""
    word = rest.strip(" ，。？！?!,.")
    if not 2 <= len(word) <= 4 or not all(map(is_dense, word)) or word in before:
        return None
    for place in range(len(before) - len(word) + 1):
        other = before[place : place + len(word)]
        if other[-1] == word[-1] and all(map(is_dense, other)):
            return before[:place] + word + before[place + len(word) :]
    return None
