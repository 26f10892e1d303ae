"""Tokenizers of one's own: byte-level BPE and Unigram learnt from text, plain bytes, plain characters.

Takes: texts and a vocabulary size.
Gives: a `Tokenizer` that loses nothing, with the tokens of a document and of a conversation.
Does not know: where the texts come from.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Rust

from llamarium.ground import progress
from llamarium.ground.errors import UsageError, nearest
from llamarium.tokens import chat
from llamarium.tokens.tokenizer import Tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CONFIG = {
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "add_bos_token": False,
    "chat_template": chat.CHATML,
}
SMALLEST = 256 + len(SPECIALS)
LARGEST = 1 << 22
KINDS = ("bpe", "unigram")
LONGEST_PIECE = 24  # bytes of a Unigram piece: eight Chinese characters
_SHRINKING = 0.5  # share of Unigram's pieces that outlives each round; 0.75, as its authors have it, takes twice as long and gains 0.1 %

# Words with the space before them, digits by at most three, runs of signs, line ends: the split of LLaMA 3 (GPT-4's).
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train(texts: Iterable[str], *, vocab_size: int, kind: str = "bpe", bars: bool = False) -> Tokenizer:
    """Learn a tokenizer of one of the `KINDS`: `train_bpe` or `train_unigram`."""
    if kind not in KINDS:
        raise UsageError(f"There is no kind of tokenizer {kind!r}.", hint=nearest(kind, KINDS))
    return (train_bpe if kind == "bpe" else train_unigram)(texts, vocab_size=vocab_size, bars=bars)


def train_bpe(texts: Iterable[str], *, vocab_size: int, bars: bool = False) -> Tokenizer:
    """Learn a byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) of at most `vocab_size` tokens, specials included.

    `bars` lets the library draw its own bars on a terminal, which know how long joining takes.

    >>> tokenizer = train_bpe(["the cat and the hat"] * 3, vocab_size=270)
    >>> tokenizer.decode(tokenizer.encode("the bat 模型"))
    'the bat 模型'
    """
    check_size(vocab_size)
    rust = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=bars,
    )
    _learn(rust, texts, trainer, quiet=bars)
    return Tokenizer(rust.to_str(), CONFIG, name="byte-level BPE")


def train_unigram(texts: Iterable[str], *, vocab_size: int, bars: bool = False) -> Tokenizer:
    """Learn a byte-level Unigram vocabulary (Kudo 2018) of at most `vocab_size` tokens, specials included.

    It begins with every piece that occurs more than once and throws those away that the text misses least. Its pieces are made of
    bytes, like those of `train_bpe`, and single bytes stay: nothing is unknown. The library adds up in an order of its own: trained
    twice, a few of the least probable pieces may differ. `UsageError` where there is no text.

    >>> tokenizer = train_unigram(["the cat and the hat"] * 3, vocab_size=270)
    >>> tokenizer.decode(tokenizer.encode("the bat 模型"))
    'the bat 模型'
    """
    check_size(vocab_size)
    rust = _byte_level(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        shrinking_factor=_SHRINKING,
        max_piece_length=LONGEST_PIECE,
        show_progress=bars,
    )
    empty = True

    def noticed() -> Iterator[str]:
        nonlocal empty
        for text in texts:
            empty = empty and not text
            yield text

    _learn(rust, noticed(), trainer, quiet=bars)
    if empty:
        raise UsageError("There is no text to learn pieces from.", hint="`llamarium prepare` a larger text.")
    return Tokenizer(rust.to_str(), CONFIG, name="byte-level Unigram")


def check_size(vocab_size: int) -> None:
    """Refuse a size that no vocabulary over bytes can have."""
    if vocab_size < SMALLEST:
        raise UsageError(f"A byte-level vocabulary needs at least {SMALLEST} tokens, not {vocab_size}.", hint="Try --vocab-size 4096.")
    if vocab_size > LARGEST:
        raise UsageError(f"A vocabulary of {vocab_size:,} tokens is larger than any model's.", hint="Try --vocab-size 32000.")


def _learn(rust: Rust, texts: Iterable[str], trainer: trainers.Trainer, *, quiet: bool) -> None:
    """Read, then learn; learning says now and then that it goes on, because the library tells nobody but a terminal."""
    read = threading.Event()

    def reading() -> Iterator[str]:
        yield from map(valid, texts)
        read.set()

    with contextlib.nullcontext() if quiet else _signs_of_life("learning pieces", after=read):
        rust.train_from_iterator(reading(), trainer=trainer)


@contextlib.contextmanager
def _signs_of_life(name: str, *, after: threading.Event, interval: float = 3.0) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not after.wait(0.05):
            if done.is_set():
                return
        start = time.monotonic()
        while not done.wait(interval):
            progress.say(f"{name}: {progress.duration(time.monotonic() - start)} so far")

    watcher = threading.Thread(target=contextvars.copy_context().run, args=(watch,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def bytes_tokenizer() -> Tokenizer:
    """One token a UTF-8 byte: 256 and the specials."""
    rust = _byte_level(models.BPE())
    rust.add_special_tokens(list(SPECIALS))
    rust.model = models.BPE({char: place for place, char in enumerate([*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}, [])
    return Tokenizer(rust.to_str(), CONFIG, name="bytes")


def characters_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """One token a character that occurs in `texts`; any other character goes through its bytes, so nothing is lost."""
    characters = sorted({char for text in texts for char in valid(text)})
    names = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    rust = Rust(models.BPE({name: place for place, name in enumerate(names)}, [], byte_fallback=True))
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    rust.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return Tokenizer(rust.to_str(), CONFIG, name="characters")


def _byte_level(model: models.Model) -> Rust:
    rust = Rust(model)
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    rust.decoder = decoders.ByteLevel()
    return rust


def valid(text: str) -> str:
    """Text that Rust takes: lone surrogates have no UTF-8 form and teach a vocabulary nothing."""
    return text.encode("utf-8", "ignore").decode("utf-8")
