"""One tokenizer over every vocabulary: nothing lost, special tokens only where they are asked for, and the ids of the Rust library."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.tokens import tokenizer as module
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import SPECIALS, bytes_tokenizer, characters_tokenizer, train_bpe

TEXTS = [
    "The model reads the text, and the text is read by the model.",
    "模型读文本，文本被模型读。羊驼在山上吃草。",
    "def read(path):\n    return path.read_text()\n",
    "It's 1234567 o'clock; don't panic!",
]
SAMPLES = [
    "",
    " ",
    "  two spaces, then  two more  ",
    "\n\n\tdef f(x):\r\n",
    "The cat's 12345 hats",
    "模型 and 羊驼，1,000 只。",
    "naïve café — “quoted” 👩‍👩‍👧 \u202eabc",
    "a <think> b </think> c",
    "a<|endoftext|>b <s> c </s>",
    "1 < 2 and [x] > |y|",
]


def byte_level() -> Tokenizer:
    return train_bpe(TEXTS * 4, vocab_size=400)


def sentencepiece_like(*, legacy: bool = True) -> Tokenizer:
    """As LLaMA 2 has it: spaces are marks, a mark goes before a text, unknown characters are bytes."""
    names = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdefghijklmnopqrstuvwxyz<>/|，的",
        "▁a",
        "th",
        "▁th",
    ]
    merges = [("▁", "a"), ("t", "h"), ("▁", "th")]
    vocabulary = {name: place for place, name in enumerate(names)}
    rust = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    if legacy:
        rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
        marks = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    else:
        rust.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
        marks = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    rust.decoder = decoders.Sequence(marks)
    rust.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:3]])
    rust.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return Tokenizer(rust.to_str(), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, name="sentencepiece-like")


def unigram() -> Tokenizer:
    """Unigram with Metaspace and no bytes, as T5 has it; the model itself knows the piece </s>."""
    pieces = [
        ("<unk>", 0.0),
        ("</s>", 0.0),
        ("▁", -2.0),
        *((char, -3.0) for char in "abcdefghijklmnopqrstuvwxyz<>/"),
        ("▁the", -2.5),
        ("at", -3),
    ]
    rust = tokenizers.Tokenizer(models.Unigram(pieces, 0, False))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    rust.add_special_tokens(["<unk>", "</s>"])
    rust.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return Tokenizer(rust.to_str(), {"eos_token": "</s>", "unk_token": "<unk>"}, name="unigram")


def wordpiece() -> Tokenizer:
    """As BERT has it: lower case, words in pieces, what is in no piece is unknown; nothing names its tokens but their own names."""
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz<>/[]|,.'",
        *(f"##{c}" for c in string.ascii_lowercase),
    ]
    names += ["the", "##at", "read", "模"]
    rust = tokenizers.Tokenizer(models.WordPiece({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    rust.add_special_tokens(names[:5])
    rust.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    rust.enable_truncation(8)
    rust.enable_padding(length=8)
    return Tokenizer(rust.to_str(), {"unk_token": "[UNK]"}, name="wordpiece")


def roberta() -> Tokenizer:
    """As RoBERTa has it: byte-level BPE with a post-processor of its own, and a mask that takes the space before it."""
    names = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "the", "Ġthe"]
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the")]
    rust = tokenizers.Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, merges))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    rust.add_special_tokens([*names[:4], AddedToken("<mask>", lstrip=True)])
    rust.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return Tokenizer(rust.to_str(), {"model_max_length": 512}, name="roberta")


def with_markup() -> Tokenizer:
    """As Qwen 3 has it: tokens after the vocabulary, some of which are markup although they are not called special."""
    rust = tokenizers.Tokenizer.from_str(byte_level().definition)
    rust.add_special_tokens([AddedToken("<|tool|>", special=True, normalized=False)])
    rust.add_tokens([AddedToken("<think>", special=False, normalized=False), AddedToken("</think>", special=False, normalized=False)])
    rust.add_tokens([AddedToken("    ", special=False, normalized=False), AddedToken("羊驼", special=False, normalized=False)])
    return Tokenizer(rust.to_str(), byte_level().config, name="with markup")


VARIANTS = {
    "byte-level": byte_level,
    "bytes": bytes_tokenizer,
    "characters": lambda: characters_tokenizer(TEXTS),
    "sentencepiece": sentencepiece_like,
    "sentencepiece, newer": lambda: sentencepiece_like(legacy=False),
    "markup": with_markup,
    "unigram": unigram,
    "wordpiece": wordpiece,
    "roberta": roberta,
}
LOSSLESS = [name for name in VARIANTS if name not in ("unigram", "wordpiece")]


def kept(name: str, text: str) -> str:
    """What is left of a text. Metaspace puts no space before a text that has one, and takes one away: so does transformers."""
    return text.removeprefix(" ") if name in ("sentencepiece, newer", "unigram") else text


@pytest.fixture(scope="module")
def variants() -> dict[str, Tokenizer]:
    return {name: make() for name, make in VARIANTS.items()}


# --- text -> ids -> text ---


@pytest.mark.parametrize("name", LOSSLESS)
def test_decoding_gives_the_text_back(variants: dict[str, Tokenizer], name: str) -> None:
    tokenizer = variants[name]

    @given(st.one_of(st.sampled_from(SAMPLES), st.text()))
    @settings(max_examples=150, deadline=None)
    def check(text: str) -> None:
        assume("▁" not in text or not name.startswith("sentencepiece"))  # to sentencepiece this is a space
        assert tokenizer.decode(tokenizer.encode(text)) == kept(name, text)

    check()


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("text", SAMPLES)
def test_ids_and_text_are_those_of_transformers(variants: dict[str, Tokenizer], name: str, text: str, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    ours = variants[name]
    ours.save(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert ours.encode(text, parse_special=True) == theirs.encode(text, add_special_tokens=False)
    assert ours.encode(text, parse_special=True, add_special=True) == theirs.encode(text, add_special_tokens=True)
    ids = theirs.encode(text, add_special_tokens=True)
    assert ours.decode(ids) == theirs.decode(ids)
    if "<think>" not in ours.specials:  # transformers does not know that this one steers the model
        assert ours.decode(ids, skip_special=True) == theirs.decode(ids, skip_special_tokens=True)
    assert (ours.special("bos_token"), ours.special("eos_token")) == (theirs.bos_token_id, theirs.eos_token_id)
    assert ours.vocab_size == len(theirs)


def test_bytes_that_are_no_text_keep_the_text_around_them(variants: dict[str, Tokenizer]) -> None:
    for name in LOSSLESS:
        assert variants[name].decode(variants[name].encode("a \ud800 the\ude00the")) == "a \ud800 the\ude00the"
    # Where there are no bytes, what is no character becomes unknown and the rest stays.
    tokenizer = variants["unigram"]
    assert tokenizer.decode(tokenizer.encode("the\ud800")) == "the<unk>"


def test_bytes_that_are_no_utf8_are_replaced_in_text_and_kept_in_bytes(variants: dict[str, Tokenizer]) -> None:
    ids = variants["byte-level"].encode(b"caf\xe9!")
    assert variants["byte-level"].decode_bytes(ids) == b"caf\xe9!"
    assert variants["byte-level"].decode(ids) == "caf\ufffd!"


def test_ids_that_do_not_exist_say_nothing(variants: dict[str, Tokenizer]) -> None:
    for tokenizer in variants.values():
        ids = tokenizer.encode("the")
        assert tokenizer.decode([*ids, 1 << 40, -1, tokenizer.vocab_size]) == "the"


def test_decode_of_an_enormous_claimed_vocabulary_takes_no_memory() -> None:
    definition = json.loads(bytes_tokenizer().definition)
    definition["model"]["vocab"]["far"] = 2**32 - 1
    tokenizer = Tokenizer(json.dumps(definition))
    assert tokenizer.vocab_size == 2**32
    assert tokenizer.decode([*tokenizer.encode("ab"), 2**32 - 1]) == "abfar"


# --- special tokens ---


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("around", ["{}", " {} ", "the{}the", "{0}{0}"])
def test_special_tokens_in_text_are_text_unless_asked_for(variants: dict[str, Tokenizer], name: str, around: str) -> None:
    tokenizer = variants[name]
    for content, number in tokenizer.specials.items():
        if content in ("<unk>", "[UNK]"):
            continue
        text = around.format(content)
        ids = tokenizer.encode(text)
        assert number not in ids
        if name == "wordpiece":  # it puts spaces around signs
            assert tokenizer.decode(ids).replace(" ", "") == text.lower().replace(" ", "")
        else:
            assert tokenizer.decode(ids) == kept(name, text)
        assert number in tokenizer.encode(text, parse_special=True)


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_a_vocabulary_that_would_make_a_special_token_of_text_does_not(ignore_merges: bool) -> None:
    names = ["</s>", "<", "/", "s", ">", "a"]
    rust = tokenizers.Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, [], ignore_merges=ignore_merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(["</s>"])
    tokenizer = Tokenizer(rust.to_str())
    assert tokenizer.encode("</s>") == [1, 2, 3, 4]
    assert tokenizer.encode("</s>", parse_special=True) == [0]


def test_markup_counts_as_special_and_runs_of_spaces_do_not(variants: dict[str, Tokenizer]) -> None:
    tokenizer = variants["markup"]
    assert {"<think>", "</think>", "<|tool|>"} <= tokenizer.specials.keys()
    assert not {"    ", "羊驼"} & tokenizer.specials.keys()


def test_added_tokens_keep_their_ids_where_special_ones_are_not_looked_for(variants: dict[str, Tokenizer]) -> None:
    tokenizer = variants["markup"]
    for content in ("    ", "羊驼"):
        assert tokenizer.encode(content) == tokenizer.encode(content, parse_special=True)
        assert len(tokenizer.encode(content)) == 1


def test_what_the_post_processor_adds_stands_around_the_text(variants: dict[str, Tokenizer]) -> None:
    assert variants["sentencepiece"].encode("the", add_special=True) == [1, *variants["sentencepiece"].encode("the")]
    assert variants["unigram"].encode("the", add_special=True) == [*variants["unigram"].encode("the"), 1]
    assert variants["unigram"].encode("", add_special=True) == [1]
    assert variants["byte-level"].encode("the", add_special=True) == variants["byte-level"].encode("the")


def test_berts_words_are_pieces_and_come_back_as_words(variants: dict[str, Tokenizer]) -> None:
    tokenizer = variants["wordpiece"]
    ids = tokenizer.encode("The cat reads, 模型!", add_special=True)
    assert (ids[0], ids[-1]) == (tokenizer.begin_id, tokenizer.end_id)
    pieces = [tokenizer._parsing.id_to_token(number) for number in ids]
    assert pieces == ["[CLS]", "the", "c", "##at", "read", "##s", ",", "模", "[UNK]", "[UNK]", "[SEP]"]
    assert tokenizer.decode(ids, skip_special=True) == "the cat reads, 模"
    assert tokenizer.decode(ids) == "[CLS] the cat reads, 模 [UNK] [UNK] [SEP]"


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("wordpiece", {}, ("[CLS]", "[SEP]", "[MASK]")),
        ("wordpiece", {"cls_token": "the", "mask_token": {"content": "[PAD]"}}, ("the", "[SEP]", "[PAD]")),
        ("wordpiece", {"bos_token": "[UNK]", "mask_token": None}, ("[UNK]", "[SEP]", None)),
        ("roberta", {}, ("<s>", "</s>", "<mask>")),
        ("roberta", {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"}, ("<s>", "</s>", "<mask>")),
        ("sentencepiece", {}, ("<s>", "</s>", None)),
        ("unigram", {}, ("</s>", "</s>", None)),
    ],
)
def test_an_encoders_tokens_are_found_though_nothing_names_them(
    variants: dict[str, Tokenizer], name: str, config: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    tokenizer = Tokenizer(variants[name].definition, config)
    found = (tokenizer.begin_id, tokenizer.end_id, tokenizer.special("mask_token"))
    assert tuple(None if number is None else tokenizer._parsing.id_to_token(number) for number in found) == expected


def test_where_a_separator_is_all_that_ends_a_text_it_does() -> None:
    tokenizer = Tokenizer(wordpiece().definition.replace("[SEP]", "[END]"), {"sep_token": "[END]"})
    assert tokenizer.end_id == 3


def test_truncation_and_padding_in_a_file_are_not_for_us() -> None:
    rust = tokenizers.Tokenizer.from_str(bytes_tokenizer().definition)
    rust.enable_truncation(4)
    rust.enable_padding(pad_id=0, length=8)
    tokenizer = Tokenizer(rust.to_str())
    assert [len(ids) for ids in tokenizer.encode_batch(["a" * 20, "b"])] == [20, 1]


@pytest.mark.parametrize(
    ("tokens", "config", "end", "begin"),
    [
        (["<|endoftext|>", "<|im_end|>"], {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, "<|endoftext|>", "<|endoftext|>"),
        (["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}, 1, 0),
        (["<s>", "</s>"], {"bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"}}, "</s>", "<s>"),
        (["<fin>"], {"eos_token": "<fin>"}, "<fin>", "<fin>"),
    ],
)
def test_documents_begin_and_end_with_tokens_of_text_and_not_of_turns(
    tokens: list[str], config: dict[str, Any], end: str | int, begin: str | int
) -> None:
    rust = tokenizers.Tokenizer.from_str(bytes_tokenizer().definition)
    definition = json.loads(rust.to_str())
    definition["added_tokens"] = []
    for token in SPECIALS:
        del definition["model"]["vocab"][token]
    rust = tokenizers.Tokenizer.from_str(json.dumps(definition))
    rust.add_special_tokens(tokens)
    tokenizer = Tokenizer(rust.to_str(), config)
    names = {token: rust.token_to_id(token) for token in tokens}
    assert tokenizer.end_id == (names[end] if isinstance(end, str) else names[tokens[end]])
    assert tokenizer.begin_id == (names[begin] if isinstance(begin, str) else names[tokens[begin]])
    assert tokenizer.end_id in tokenizer.stop_ids
    assert tokenizer.special("eos_token") in tokenizer.stop_ids


def test_a_tokenizer_without_an_end_says_so() -> None:
    definition = json.loads(bytes_tokenizer().definition)
    definition["added_tokens"] = []
    with pytest.raises(UsageError, match="no token that ends a text"):
        _ = Tokenizer(json.dumps(definition)).end_id


# --- long texts ---


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(
    "line",
    ["the cat sat at the mat with that hat ", "模型读文本，羊驼吃草。好的，", "羊驼" * 20 + "，", "one\ntwo three_four\n"],
    ids=["words", "Chinese", "long clauses", "lines"],
)
def test_cutting_a_long_text_changes_no_id(variants: dict[str, Tokenizer], name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = variants[name]
    text = line * (5_000 // len(line))
    whole = tokenizer.encode(text)
    monkeypatch.setattr(module, "_PIECE", 512)
    monkeypatch.setattr(module, "_GROUP", 1024)
    assert tokenizer.encode(text) == whole
    if " " in line or not tokenizer._adds_to_text:  # what puts a space before a text can only cut where there is one
        assert max(map(len, tokenizer._cut(text))) <= 512


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_text_that_cannot_be_cut_well_loses_nothing(variants: dict[str, Tokenizer], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE", 512)
    for text in ("a" * 5_000, "羊" * 5_000, " " * 5_000, "a  " * 2_000, "\n" * 5_000, "👩‍👩‍👧" * 900):
        assert variants[name].decode(variants[name].encode(text)) == kept(name, text)


def test_texts_of_all_lengths_keep_their_places_in_a_batch(variants: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = variants["byte-level"]
    texts = ["", "the " * 300, "a\ud800b", "\udfff", "模型" * 400, "x"]
    alone = [tokenizer.encode(text) for text in texts]
    monkeypatch.setattr(module, "_GROUP", 100)
    assert tokenizer.encode_batch(texts) == alone


# --- files ---


def test_a_saved_tokenizer_is_the_same(variants: dict[str, Tokenizer], tmp_path: Path) -> None:
    for number, tokenizer in enumerate(variants.values()):
        folder = tmp_path / str(number)
        tokenizer.save(folder)
        again = Tokenizer.load(folder)
        assert (again.sha256, again.specials, again.chat_template) == (tokenizer.sha256, tokenizer.specials, tokenizer.chat_template)


def test_a_chat_template_may_lie_beside_the_tokenizer(tmp_path: Path) -> None:
    bytes_tokenizer().save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "chat_template.jinja").write_text("hello {{ messages[0].content }}", encoding="utf-8")
    assert Tokenizer.load(tmp_path).chat_template == "hello {{ messages[0].content }}"
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(BadFileError, match="UTF-8"):
        Tokenizer.load(tmp_path)


def test_the_default_of_several_templates_is_used() -> None:
    definition = bytes_tokenizer().definition
    named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}, "nonsense"]
    assert Tokenizer(definition, {"chat_template": named}).chat_template == "d"
    assert Tokenizer(definition, {"chat_template": [{"name": "tools", "template": "t"}]}).chat_template is None
    assert Tokenizer(definition, {"chat_template": 3}).chat_template is None


def test_a_folder_without_a_tokenizer_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def broken(**changes: Any) -> str:
    return json.dumps({**json.loads(bytes_tokenizer().definition), **changes})


BROKEN = {
    "empty": "",
    "a list": "[]",
    "no model": "{}",
    "nested too deep": "[" * 100_000,
    "a lone surrogate": '{"model": "\ud800"}',
    "a model of no kind": broken(model={"type": "Magic"}),
    "a model that is a list": broken(model=[]),
    "an id beyond 32 bits": broken(model={"type": "BPE", "vocab": {"a": 2**40}, "merges": []}),
    "a merge that panics": broken(
        model={"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"], "continuing_subword_prefix": "##", "byte_fallback": False}
    ),
    "a regular expression that is none": broken(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "((("}, "behavior": "Isolated", "invert": False}
    ),
    "a normalizer that panics": broken(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "added tokens that are none": broken(added_tokens=[3]),
    "an added token with half a character": broken(
        added_tokens=[
            {"id": 0, "content": "\ud800", "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        ]
    ),
}


@pytest.mark.parametrize("definition", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.timeout(2)
def test_a_broken_definition_is_a_bad_file(definition: str) -> None:
    with pytest.raises(BadFileError, match=r"tokenizer\.json"):
        Tokenizer(definition)


LATE = {
    "a panic while encoding": broken(pre_tokenizer={"type": "FixedLength", "length": 0}),
    "an unknown token that is unknown": broken(model={"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "zz"}),
}


@pytest.mark.parametrize("definition", LATE.values(), ids=LATE.keys())
@pytest.mark.timeout(2)
def test_a_definition_that_breaks_while_it_is_used_is_a_bad_file(definition: str) -> None:
    with pytest.raises(BadFileError, match=r"tokenizer\.json"):
        Tokenizer(definition).encode("a text", add_special=True)


def test_the_files_of_a_folder_are_checked(tmp_path: Path) -> None:
    bytes_tokenizer().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(BadFileError, match="not a JSON object"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b'{"model": "\xff"}')
    with pytest.raises(BadFileError, match=r"byte 11.*UTF-8"):
        Tokenizer.load(tmp_path)


def test_an_added_token_without_content_is_none() -> None:
    empty = {"id": 0, "content": "", "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    tokenizer = Tokenizer(broken(added_tokens=[empty]))
    assert "" not in tokenizer.specials
    tokenizer.encode_chat([{"role": "user", "content": "<"}])


@pytest.mark.parametrize("name", ["byte-level", "sentencepiece"])
def test_the_default_template_can_be_saved_with_the_tokenizer(variants: dict[str, Tokenizer], name: str, tmp_path: Path) -> None:
    """A model taught in the form of a default must be asked in that form, whoever opens it."""
    config = {key: value for key, value in variants[name].config.items() if key != "chat_template"}
    bare = Tokenizer(variants[name].definition, config)
    bare.with_chat_template().save(tmp_path)
    saved = Tokenizer.load(tmp_path)
    messages = [{"role": "user", "content": "hi"}]
    assert bare.chat_template is None
    assert saved.chat_template is not None
    assert saved.encode_chat(messages) == bare.encode_chat(messages)
    assert saved.sha256 == bare.sha256
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert saved.encode_chat(messages) == expected


def test_a_template_that_is_there_stays() -> None:
    tokenizer = Tokenizer(byte_level().definition, {"chat_template": [{"name": "default", "template": "d"}]})
    assert tokenizer.with_chat_template().chat_template == "d"


def test_a_bpe_that_can_join_a_special_token_out_of_text_is_watched() -> None:
    """Merges that lead to the text of a special token are no road to it, written as pairs or as one text each."""
    values = json.loads(bytes_tokenizer().definition)
    names = ["<|", "im", "_e", "nd", "|>", "<|im", "_end", "_end|>"]
    first = bytes_tokenizer().vocab_size
    values["model"]["vocab"] |= {name: first + place for place, name in enumerate(names)}
    merges = ["< |", "i m", "_ e", "n d", "| >", "<| im", "_e nd", "_end |>", "<|im _end|>"]
    values["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    for written in (merges, [merge.split(" ") for merge in merges]):
        values["model"]["merges"] = written
        tokenizer = Tokenizer(json.dumps(values), bytes_tokenizer().config, name="joins")
        assert tokenizer.specials["<|im_end|>"] not in tokenizer.encode("<|im_end|>")
        assert tokenizer.decode(tokenizer.encode("a<|im_end|>")) == "a<|im_end|>"
    assert not bytes_tokenizer()._makes_controls
