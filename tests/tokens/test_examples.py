"""Conversations as ids: what is learnt is every answer and the token that ends it, after exactly the prompt that `chat` feeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.tokens import chat
from llamarium.tokens.examples import Examples, encode_examples
from llamarium.tokens.shards import Example, read_shards, write_examples
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import CONFIG, bytes_tokenizer, train_bpe

Messages = list[dict[str, str]]

# As LLaMA 3, Mistral, Phi-3, GLM-4 and Qwen 3 have it, in short.
HEADERS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m.role + '<|sep|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|sep|>\n\n' }}{% endif %}"
)
TURNS = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system message') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
SWALLOWING = chat.CHATML.replace("<|im_start|>", "<|user|>").replace("<|im_end|>", "<|end|>")
OPENING_ONLY = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKING = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
    "{% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As DeepSeek-R1 has it: the prompt opens a thought that no finished answer has.
OPENS_A_THOUGHT = chat.CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")
MARKED = """{%- for m in messages -%}
    {{ '<|im_start|>' + m.role + '\n' }}
    {%- if m.role == 'assistant' %}
        {%- generation -%}
        {{ m.content + '<|im_end|>' }}
        {%- endgeneration -%}
        {{ '\n' }}
    {%- else %}
        {{- m.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n<think>\n' }}
{%- endif %}"""
MARKED_PLAINLY = """{% for m in messages %}
{{ '<|im_start|>' + m.role + '\n' }}
{% if m.role == 'assistant' %}
    {% generation %}
{{ m.content }}
    {% endgeneration %}
{{ '<|im_end|>' }}
{% else %}
{{ m.content + '<|im_end|>\n' }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"""


def with_template(template: str | None, *specials: str, eos: str = "<|endoftext|>", **options: Any) -> Tokenizer:
    rust = tokenizers.Tokenizer.from_str(bytes_tokenizer().definition)
    rust.add_special_tokens([AddedToken(content, special=True, normalized=False, **options) for content in specials])
    return Tokenizer(rust.to_str(), {**CONFIG, "eos_token": eos, "chat_template": template}, name="made here")


def marks() -> Tokenizer:
    """As Mistral has it: the vocabulary puts a mark before the first word of a text."""
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    rust = tokenizers.Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True))
    rust.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    rust.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    rust.add_special_tokens([AddedToken(name, special=True) for name in names[:5]])
    return Tokenizer(rust.to_str(), {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TURNS})


def joining() -> Tokenizer:
    """Its tokens join what stands beside a line's end, and a colon with the space after it."""
    texts = ["a\n\nb: c\n\n\nd: e\n\n:  f", "assistant:  x\n\n\n\ny", "assistant\n\nassistant\n\n"] * 50
    rust = tokenizers.Tokenizer.from_str(train_bpe(texts, vocab_size=290).definition)
    return Tokenizer(rust.to_str(), CONFIG, name="joining")


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "chatml": bytes_tokenizer,
    "headers": lambda: with_template(HEADERS, "<|start|>", "<|sep|>", "<|eot_id|>", eos="<|eot_id|>"),
    "turns": marks,
    "swallowing": lambda: with_template(SWALLOWING, "<|user|>", "<|end|>", rstrip=True),
    "opening only": lambda: with_template(OPENING_ONLY, "<|user|>", "<|assistant|>"),
    "plain": lambda: with_template(chat.PLAIN),
    "thinking": lambda: with_template(THINKING, "<think>", "</think>"),
}
MADE = {name: make() for name, make in TOKENIZERS.items()}
ENDS = {
    "chatml": "<|im_end|>",
    "headers": "<|eot_id|>",
    "turns": "</s>",
    "swallowing": "<|end|>",
    "opening only": "<|user|>",
    "plain": "\n",
    "thinking": "<|im_end|>",
}


def conversation(*contents: str, system: str = "") -> Messages:
    turns = [{"role": ("user", "assistant")[number % 2], "content": content} for number, content in enumerate(contents)]
    return [{"role": "system", "content": system}, *turns] if system else turns


def encode(messages: Messages, tokenizer: Tokenizer, *, max_tokens: int = 10_000) -> Examples:
    return encode_examples([messages], tokenizer, max_tokens=max_tokens)


def learnt(example: Example, tokenizer: Tokenizer) -> list[str]:
    """The text of each run of ids that are learnt."""
    assert example.learns is not None
    runs: list[list[int]] = []
    for place in np.flatnonzero(example.learns):
        if not place or not example.learns[place - 1]:
            runs.append([])
        runs[-1].append(int(example.ids[place]))
    return [tokenizer.decode_bytes(run).decode() for run in runs]


# --- what is learnt ---

CONTENTS = ["hi", "羊驼", " a\nb ", "\n\nx", "<|im_end|>", "[INST] </s>", "x <|endoftext|> y", "a:", ": b"]


@pytest.mark.parametrize("name", ["chatml", "headers", "turns", "swallowing", "opening only", "plain"])
def test_every_answer_and_the_token_that_ends_it_is_learnt(name: str) -> None:
    tokenizer, end = MADE[name], ENDS[name]
    (example,) = encode(conversation("one", "two", "three", "four"), tokenizer).examples
    before = {"plain": " ", "opening only": "\n", "turns": ""}.get(name, "")
    last = {"plain": "\n<|endoftext|>", "opening only": "<|endoftext|>"}.get(name, end)
    assert learnt(example, tokenizer) == [f"{before}two{end}", f"{before}four{last}"]
    assert example.ids.dtype == np.uint32
    assert example.learns is not None
    assert example.learns.dtype == np.uint8
    assert len(example.learns) == len(example.ids)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(contents=st.lists(st.sampled_from(CONTENTS), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_prompts_are_those_of_chat_and_ids_those_of_the_whole(name: str, contents: list[str]) -> None:
    tokenizer = MADE[name]
    messages = conversation(*contents[: len(contents) // 2 * 2])
    if name == "turns" and "</s>" in "".join(contents):
        return  # its vocabulary cuts a text with a special token in it otherwise; see below
    found = encode(messages, tokenizer)
    assert (found.truncated, found.dropped, found.refused) == (0, 0, 0)
    answers = [number for number in range(len(messages)) if messages[number]["role"] == "assistant"]
    many = len(found.examples) > 1
    assert len(found.examples) == (len(answers) if many else 1)
    assert many <= (name == "thinking")
    for example, upto in zip(found.examples, answers if many else [answers[-1]], strict=True):
        ids = example.ids.tolist()
        whole = tokenizer.encode_chat(messages[: upto + 1], add_generation_prompt=False)
        same = ids[: len(whole)] == whole
        assert same
        assert ids[len(whole) :] in ([], [tokenizer.end_id])
        assert example.learns is not None
        starts = [place for place in range(1, len(ids)) if example.learns[place] and not example.learns[place - 1]]
        for answer, start in zip([upto] if many else answers, starts, strict=True):
            same = ids[:start] == tokenizer.encode_chat(messages[:answer])
            assert same, "the prompt is what a model is fed"
        assert sum(number in tokenizer.stop_ids for number in example.ids[example.learns == 1].tolist()) == (
            1 if name == "plain" else len(starts)
        ), "it learns to stop once an answer"


def test_nothing_of_a_system_message_or_a_question_is_learnt() -> None:
    tokenizer = bytes_tokenizer()
    (example,) = encode(conversation("q<|im_end|>", "a<|im_end|>b", system="be brief"), tokenizer).examples
    assert learnt(example, tokenizer) == ["a<|im_end|>b<|im_end|>"]
    assert example.learns is not None
    end = tokenizer.specials["<|im_end|>"]
    assert example.ids[example.learns == 1].tolist().count(end) == 1, "what a message writes is text"


def test_where_earlier_answers_are_written_otherwise_each_answer_is_an_example() -> None:
    tokenizer = MADE["thinking"]
    found = encode(conversation("one", "two", "three", "four"), tokenizer).examples
    assert [learnt(example, tokenizer) for example in found] == [[f"<think>\n\n</think>\n\n{text}<|im_end|>"] for text in ("two", "four")]
    assert "<think>" not in tokenizer.decode(found[1].ids).partition("three")[0]


def test_an_answer_that_would_join_the_prompt_goes_on_from_the_prompts_ids() -> None:
    tokenizer = joining()
    messages = conversation("one", "\n\ntwo", "three", "four")
    prompts = [tokenizer.encode_chat(messages[:number]) for number in (1, 3)]
    whole = tokenizer.encode_chat(messages[:2], add_generation_prompt=False)
    assert whole[: len(prompts[0])] != prompts[0], "so the danger is real"
    found = encode(messages, tokenizer).examples
    assert [learnt(example, tokenizer) for example in found] == [["\n\ntwo<|im_end|>"], ["four<|im_end|>"]]
    for example, prompt in zip(found, prompts, strict=True):
        same = example.ids[: len(prompt)].tolist() == prompt
        assert same
    assert tokenizer.decode(found[0].ids) == tokenizer.decode(whole)


def test_tokens_at_which_only_the_model_stops_end_an_answer() -> None:
    tokenizer = with_template(chat.CHATML.replace("<|im_end|>", "<end_of_turn>"), "<end_of_turn>")
    stop = tokenizer.specials["<end_of_turn>"]
    (example,) = encode_examples([conversation("one", "two")], tokenizer, max_tokens=100, stop_ids=frozenset({stop})).examples
    assert learnt(example, tokenizer) == ["two<end_of_turn>"]


# --- templates whose answers do not begin as their prompts ---


@pytest.mark.parametrize("template", [MARKED, MARKED_PLAINLY], ids=["strict", "plain"])
@pytest.mark.parametrize("contents", [("one", "two"), ("one", "two", " \n", "羊 ", "<|im_end|>", "x")], ids=len)
def test_marks_tell_what_is_learnt_as_transformers_has_it(tmp_path: Path, template: str, contents: tuple[str, ...]) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = with_template(template)
    messages = conversation(*contents)
    (example,) = encode(messages, tokenizer).examples
    texts = learnt(example, tokenizer)
    inside = "" if template == MARKED else "\n"  # a line's end inside the marks
    assert texts == [f"{text}{inside}<|im_end|>" for text in contents[1::2]]
    if "<|im_end|>" in contents:
        return  # transformers takes it for the token
    tokenizer.save(tmp_path)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path).apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    assert example.ids.tolist() == theirs["input_ids"]
    mask = theirs["assistant_masks"]
    if template == MARKED_PLAINLY:  # the end of the turn is outside its marks, and learnt all the same
        mask = [
            one or (number == tokenizer.specials["<|im_end|>"] and mask[place - 1])
            for place, (one, number) in enumerate(zip(mask, theirs["input_ids"], strict=True))
        ]
    assert example.learns is not None
    assert example.learns.tolist() == mask


def test_without_marks_such_a_template_is_refused() -> None:
    with pytest.raises(BadFileError, match=r"made here.*chat template") as caught:
        encode(conversation("one", "two"), with_template(OPENS_A_THOUGHT))
    assert "generation" in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_message_that_holds_our_marks_is_dropped_and_counted() -> None:
    found = encode_examples([conversation("a\ufdd0", "b"), conversation("a", "b")], with_template(MARKED), max_tokens=100)
    assert (len(found.examples), found.dropped) == (1, 1)


def test_one_conversation_that_cannot_be_told_does_not_stop_the_rest() -> None:
    """This vocabulary puts marks into a text that holds a special token as text: the prompt before that answer has none."""
    tokenizer = MADE["turns"]
    found = encode_examples([conversation("a", "b", "c", "</s> d"), conversation("a", "b")], tokenizer, max_tokens=100)
    assert (len(found.examples), found.dropped) == (1, 1)


def test_a_conversation_that_the_template_refuses_is_counted() -> None:
    good, refused = conversation("a", "b"), conversation("a", "b", system="s")
    found = encode_examples([refused, good, refused], MADE["turns"], max_tokens=100)
    assert (len(found.examples), found.refused, found.dropped) == (1, 2, 0)
    with pytest.raises(UsageError, match="No system message"):
        encode_examples([refused], MADE["turns"], max_tokens=100)


# --- lengths ---


def test_what_is_too_long_is_cut_as_long_as_something_learnt_is_left() -> None:
    tokenizer, messages = bytes_tokenizer(), conversation("one", "two", "three", "four")
    (whole,) = encode(messages, tokenizer).examples
    prompt = len(tokenizer.encode_chat(messages[:1]))
    for length in (len(whole.ids), len(whole.ids) - 1, prompt + 4, prompt + 1):
        found = encode(messages, tokenizer, max_tokens=length)
        (example,) = found.examples
        assert (found.truncated, found.dropped) == (int(length < len(whole.ids)), 0)
        assert example.ids.tolist() == whole.ids[:length].tolist()
        assert whole.learns is not None
        assert example.learns is not None
        assert example.learns.tolist() == whole.learns[:length].tolist()
    found = encode_examples([messages, conversation("x", "y")], tokenizer, max_tokens=prompt)
    assert (len(found.examples), found.truncated, found.dropped) == (1, 1, 1), "the shorter one still teaches its y"


def test_where_nothing_is_left_it_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="first 4 tokens") as caught:
        encode(conversation("one", "two"), bytes_tokenizer(), max_tokens=4)
    assert caught.value.hint
    with pytest.raises(UsageError):
        encode_examples([], bytes_tokenizer(), max_tokens=4)


def test_bytes_are_those_of_the_learnt_text() -> None:
    tokenizer, messages = bytes_tokenizer(), conversation("one", "羊驼<|im_end|>", "three", " x ")
    (example,) = encode(messages, tokenizer).examples
    assert example.num_bytes == 6 + 10 + 3
    (cut,) = encode(messages, tokenizer, max_tokens=len(tokenizer.encode_chat(messages[:1])) + 5).examples
    assert cut.num_bytes == 5


def test_examples_are_what_shards_are_made_of(tmp_path: Path) -> None:
    tokenizer = bytes_tokenizer()
    found = encode_examples([conversation("a", "b"), conversation("c", "d")], tokenizer, max_tokens=100).examples
    write_examples(tmp_path, {"train": found}, tokenizer)
    shards = read_shards(tmp_path, verify=True)
    (shard,) = shards.splits["train"]
    assert shard.document(1).tolist() == found[1].ids.tolist()
    assert shards.document_ids("train") == {example.id for example in found}
    assert len({example.id for example in found}) == 2


# --- the control ---


def test_control_a_guard_that_is_off_teaches_a_smuggled_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "guard", lambda messages, specials: (list(messages), {}))
    with pytest.raises(AssertionError):
        test_nothing_of_a_system_message_or_a_question_is_learnt()
