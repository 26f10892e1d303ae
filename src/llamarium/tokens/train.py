"""Tokenizers of one's own: byte-level BPE learnt from text, plain bytes, plain characters.

Takes: texts and a vocabulary size.
Gives: a `Tokenizer` that loses nothing, with the tokens of a document and of a conversation.
Does not know: where the texts come from.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Rust

from llamarium.ground.errors import UsageError
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

# Words with the space before them, digits by at most three, runs of signs, line ends: the split of LLaMA 3 (GPT-4's).
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) of at most `vocab_size` tokens, specials included.

    >>> tokenizer = train_bpe(["the cat and the hat"] * 3, vocab_size=270)
    >>> tokenizer.decode(tokenizer.encode("the bat 模型"))
    'the bat 模型'
    """
    if vocab_size < SMALLEST:
        raise UsageError(f"A byte-level vocabulary needs at least {SMALLEST} tokens, not {vocab_size}.", hint="Try --vocab-size 4096.")
    rust = _byte_level()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator((_valid(text) for text in texts), trainer=trainer)
    return Tokenizer(rust.to_str(), CONFIG, name="byte-level BPE")


def bytes_tokenizer() -> Tokenizer:
    """One token a UTF-8 byte: 256 and the specials."""
    rust = _byte_level()
    rust.add_special_tokens(list(SPECIALS))
    rust.model = models.BPE({char: place for place, char in enumerate([*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}, [])
    return Tokenizer(rust.to_str(), CONFIG, name="bytes")


def characters_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """One token a character that occurs in `texts`; any other character goes through its bytes, so nothing is lost."""
    characters = sorted({char for text in texts for char in _valid(text)})
    names = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    rust = Rust(models.BPE({name: place for place, name in enumerate(names)}, [], byte_fallback=True))
    rust.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    rust.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return Tokenizer(rust.to_str(), CONFIG, name="characters")


def _byte_level() -> Rust:
    rust = Rust(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    rust.decoder = decoders.ByteLevel()
    return rust


def _valid(text: str) -> str:
    """Text that Rust takes: lone surrogates have no UTF-8 form and teach a vocabulary nothing."""
    return text.encode("utf-8", "ignore").decode("utf-8")
