"""The language of a document, without a download: by its script, and where many languages share one, by its letters' habits.

Takes: a text.
Gives: an ISO 639-1 code, "und" where there are no letters.
Does not know: words. Latin, Cyrillic, Arabic and Devanagari text is told apart by py3langid, a Bayes classifier over byte n-grams (Lui
and Baldwin 2012, "langid.py"); without that package, in short texts and where it is not sure, it is the language that most writes so.
"""

from __future__ import annotations

import copy
import functools
import importlib
import re
from collections.abc import Callable
from typing import Any

UNDETERMINED = "und"
PIECE, NUM_PIECES = 80, 3  # characters that are looked at: at the beginning, in the middle and at the end
FEWEST_LETTERS = 20
SURE = 0.6  # of py3langid's probability, which is tempered by the text's length
KANA_SHARE = 0.2  # of Chinese characters: Chinese text quotes a kana now and then

# By how often they are met: a script that leaves too little for any other settles it.
_SCRIPTS = {
    "zh": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "ja": "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff",
    "en": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "ko": "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    "ru": "\u0400-\u052f",
    "ar": "\u0620-\u064a\u0671-\u06d3",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he": "\u05d0-\u05ea",
    "hi": "\u0900-\u0963",
    "th": "\u0e01-\u0e4e",
    "bn": "\u0980-\u09df",
    "ta": "\u0b80-\u0bdf",
    "te": "\u0c00-\u0c63",
    "ka": "\u10a0-\u10ff",
    "hy": "\u0530-\u058f",
}
_RUNS = {code: re.compile(f"[{ranges}]+") for code, ranges in _SCRIPTS.items()}
# A Chinese character, kana pair or Hangul syllable says about as much as three letters.
_WEIGHTS = {"zh": 3, "ja": 3, "ko": 3}

_SHARED = {
    "en": "af az ca cs cy da de en es et eu fi fr ga gl hr hu id is it la lt lv ms mt nl no pl pt ro sk sl sq sv sw tl tr vi",
    "ru": "ba be bg kk ky mk mn ru sr tg tt uk",
    "ar": "ar fa ps ug ur",
    "hi": "hi mr ne sa",
}


def guess_language(text: str) -> str:
    """The code of the language that most of a text is likely to be in; 240 of its characters at most are looked at.

    Kana make Chinese characters Japanese, unless they are few; the classical language of China is "zh" too.

    >>> guess_language("羊驼吃草。LLaMA 是一种模型。"), guess_language("ラマは草を食べる。"), guess_language("It eats grass.")
    ('zh', 'ja', 'en')
    >>> guess_language("Das Lama frisst am liebsten das Gras der hohen Berge."), guess_language("1 + 1 = 2")
    ('de', 'und')
    """
    sample = _sample(text)
    script, num_letters = _script(sample)
    if script not in _SHARED or num_letters < FEWEST_LETTERS:
        return script
    return _classifier(script)(sample)


def _sample(text: str) -> str:
    if len(text) <= PIECE * NUM_PIECES:
        return text
    middle = (len(text) - PIECE) // 2
    return f"{text[:PIECE]} {text[middle : middle + PIECE]} {text[-PIECE:]}"


def _script(sample: str) -> tuple[str, int]:
    """The language that most writes in the script that says most, and how many letters of that script there are."""
    if sample.isascii():
        num_letters = sum(map(len, _RUNS["en"].findall(sample)))
        return ("en", num_letters) if num_letters else (UNDETERMINED, 0)
    counts: dict[str, int] = {}
    for code, run in _RUNS.items():
        counts[code] = sum(map(len, run.findall(sample)))
        if code == "zh":
            continue  # not before it is known whether there are kana
        if code == "ja" and counts["ja"] > KANA_SHARE * counts["zh"]:
            counts["ja"] += counts["zh"]
            counts["zh"] = 0
        best = max(counts, key=lambda code: _weight(code) * counts[code])
        if 2 * _weight(best) * counts[best] > 3 * len(sample):  # the others cannot say more, whatever they are
            break
        if code == "en" and 4 * counts["en"] >= 3 * len(sample):
            break
    best = max(counts, key=lambda code: _weight(code) * counts[code])
    return (best, counts[best]) if counts[best] else (UNDETERMINED, 0)


def _weight(code: str) -> int:
    return _WEIGHTS.get(code, 1)


@functools.cache
def _classifier(script: str) -> Callable[[str], str]:
    """What tells the languages of a script apart."""
    its_own = copy.copy(_model())
    if its_own is not None:
        its_own.set_languages(_SHARED[script].split())

    def classify(sample: str) -> str:
        language, probability = its_own.classify(sample) if its_own is not None else (script, 1.0)
        return str(language) if probability >= SURE else script

    return classify


@functools.cache
def _model() -> Any:
    try:
        langid = importlib.import_module("py3langid.langid")
    except ImportError:
        return None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
