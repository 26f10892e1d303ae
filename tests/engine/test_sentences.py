"""A text's vector is that of transformers with pooling, whatever stands beside it in its batch; and MiniLM's angles make sense."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from llamarium.checkpoint import catalogue, huggingface
from llamarium.checkpoint.pull import pull
from llamarium.engine.sentences import SentenceEncoder, SentenceSettings, read_settings, sentence_vectors
from llamarium.ground.errors import BadFileError, NetworkError, NotFoundError, UsageError
from llamarium.models import bert, llama
from llamarium.models.context import Packed
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer

NAMES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz,.",
    *(f"##{char}" for char in "abcdefghijklmnopqrstuvwxyz"),
]
TEXTS = ["", "a", "The cat sat.", "the cat sat", "模型", "a b c d e f g h i j k l m n o p q r s t", "zz " * 40]


def wordpiece() -> Tokenizer:
    rust = tokenizers.Tokenizer(models.WordPiece({name: place for place, name in enumerate(NAMES)}, unk_token="[UNK]"))
    rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece()
    rust.add_special_tokens(NAMES[:5])
    rust.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return Tokenizer(rust.to_str(), {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"})


TOKENIZER = wordpiece()


def network(**changes: Any) -> bert.Model:
    """Large weights, so that a token too many is seen."""
    torch.manual_seed(3)
    model = bert.Model(replace(bert.TINY, **{"vocab_size": TOKENIZER.vocab_size, "context_length": 30, "mlm_head": False, **changes}))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def theirs(folder: Path, texts: Sequence[str], *, most: int, pooling: str = "mean", normalize: bool = True) -> np.ndarray[Any, Any]:
    """BertModel over each text alone: no batch, no padding, no mask."""
    import transformers

    model: Any = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = []
    for text in texts:
        with torch.no_grad():
            ids = tokenizer(text, truncation=True, max_length=most, padding=False, return_tensors="pt")
            states = model(**ids).last_hidden_state[0]
        vector = states.mean(0) if pooling == "mean" else states[0]
        found.append((vector / vector.norm() if normalize else vector).numpy())
    return np.stack(found)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("changes", [{}, {"position_offset": 1}], ids=["BERT", "RoBERTa"])
def test_vectors_are_those_of_transformers(changes: dict[str, Any], pooling: Any, normalize: bool, tmp_path: Path) -> None:
    model = network(**changes)
    huggingface.save_folder(tmp_path / "model", model, TOKENIZER)
    expected = theirs(tmp_path / "model", TEXTS, most=30, pooling=pooling, normalize=normalize)
    found = sentence_vectors(model, TOKENIZER, TEXTS, pooling=pooling, normalize=normalize)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5
    if normalize:
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    else:
        assert np.linalg.norm(found, axis=1).std() > 0.01


def test_neighbours_in_a_batch_and_their_order_change_nothing() -> None:
    model = network()
    alone = {text: sentence_vectors(model, TOKENIZER, [text])[0] for text in TEXTS}

    @given(st.lists(st.sampled_from(TEXTS), max_size=12), st.sampled_from([1, 40, 100, 8192]))
    @settings(max_examples=25, deadline=None)
    def check(texts: list[str], batch_tokens: int) -> None:
        found = sentence_vectors(model, TOKENIZER, texts, batch_tokens=batch_tokens)
        assert found.shape == (len(texts), 32)
        assert all(np.abs(vector - alone[text]).max() < 1e-5 for vector, text in zip(found, texts, strict=True))

    check()
    pairs = [np.abs(alone[one] - alone[other]).max() for one in TEXTS for other in TEXTS if one < other and one.lower() != "the cat sat"]
    assert min(pairs) > 1e-3, "the control: texts differ by more than batches do"


def test_a_long_text_is_cut_and_that_is_said(said: list[str]) -> None:
    model = network()
    found = sentence_vectors(model, TOKENIZER, ["a b c d e f", "a b", "a b c d e"], max_tokens=6)
    assert said == ["Of 2 of 3 texts only the first 6 tokens are read."]
    whole = sentence_vectors(model, TOKENIZER, ["a b c d"])
    assert np.abs(found[[0, 2]] - whole).max() < 1e-6, "[CLS] a b c d [SEP]"
    assert said == ["Of 2 of 3 texts only the first 6 tokens are read."], "what is whole needs no word"
    with pytest.raises(UsageError, match="nothing of a text is left"):
        sentence_vectors(model, TOKENIZER, ["a"], max_tokens=2)


def test_without_a_template_there_is_only_the_text() -> None:
    model, tokenizer = network(vocab_size=259), bytes_tokenizer()
    one, nothing = sentence_vectors(model, tokenizer, ["ab", ""], normalize=False)
    with torch.no_grad():
        ids = torch.tensor([tokenizer.encode("ab")])
        assert np.abs(model.hidden(ids, Packed(ids * 0))[0].mean(0).numpy() - one).max() < 1e-5
    assert np.isfinite(nothing).all()


def test_wrong_use_is_said() -> None:
    with pytest.raises(UsageError, match="come from an encoder") as caught:
        sentence_vectors(llama.Model(llama.TINY), TOKENIZER, ["a"])
    assert "all-minilm-l6-v2" in caught.value.hint
    with pytest.raises(UsageError, match="Unknown pooling 'max'"):
        sentence_vectors(network(), TOKENIZER, ["a"], pooling="max")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="beyond the model's vocabulary of 8"):
        sentence_vectors(network(vocab_size=8), TOKENIZER, ["zz"])


def test_a_model_that_learns_goes_on_learning() -> None:
    model = network().train()
    sentence_vectors(model, TOKENIZER, ["a"])
    assert model.training


# --- what a folder says of itself ---

KINDS = ["Transformer", "Pooling", "Normalize"]
MODES = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}


def describe(folder: Path, *, kinds: Any = KINDS, pooling: Any = MODES, length: Any = None, tokenizer: Any = None) -> Path:
    modules = [{"idx": place, "type": f"sentence_transformers.models.{kind}"} for place, kind in enumerate(kinds)]
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for name, values in {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": length,
        "tokenizer_config.json": tokenizer,
    }.items():
        if values is not None:
            (folder / name).write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ({}, SentenceSettings("mean", True)),
        ({"kinds": KINDS[:2]}, SentenceSettings("mean", False)),
        ({"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}, SentenceSettings("cls", True)),
        ({"pooling": {"embedding_dimension": 32, "pooling_mode": "cls"}}, SentenceSettings("cls", True)),
        ({"pooling": {"pooling_mode": ["mean"]}}, SentenceSettings("mean", True)),
        ({"length": {"max_seq_length": 256}, "tokenizer": {"model_max_length": 512}}, SentenceSettings("mean", True, 256)),
        ({"length": {"do_lower_case": False}, "tokenizer": {"model_max_length": 512}}, SentenceSettings("mean", True, 512)),
        ({"length": {"max_seq_length": None}}, SentenceSettings("mean", True)),
    ],
)
def test_settings_are_read(says: dict[str, Any], expected: SentenceSettings, tmp_path: Path) -> None:
    assert read_settings(describe(tmp_path, **says)) == expected


def test_a_folder_that_says_nothing_has_the_usual(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == SentenceSettings("mean", True, None)


@pytest.mark.parametrize(
    ("says", "match"),
    [
        ({"kinds": ["Transformer", "Pooling", "Dense"]}, "makes vectors by Transformer, Pooling, Dense"),
        ({"kinds": []}, "makes vectors by nothing"),
        ({"pooling": {}}, "does not pool by the mean"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "does not pool by the mean .*'max'"),
        ({"pooling": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}}, "does not pool by the mean"),
        ({"pooling": {"pooling_mode": ["mean", "cls"]}}, "does not pool by the mean"),
        ({"pooling": {"pooling_mode": {}}}, "does not pool by the mean"),
        ({"pooling": []}, "not what sentence-transformers writes"),
        ({"length": [3]}, "not what sentence-transformers writes"),
        ({"length": {"max_seq_length": 0}}, "max_seq_length that is no length: 0"),
        ({"length": {"max_seq_length": "long"}}, "max_seq_length that is no length"),
        ({"length": {"max_seq_length": True}}, "max_seq_length that is no length"),
    ],
)
def test_what_cannot_be_done_here_is_refused(says: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=match) as caught:
        read_settings(describe(tmp_path, **says))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["3", "[3]", "{}", "nonsense", ""])
def test_modules_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    describe(tmp_path)
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(BadFileError, match=r"modules\.json"):
        read_settings(tmp_path)


def test_a_folder_without_its_pooling_is_refused(tmp_path: Path) -> None:
    describe(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(BadFileError, match="1_Pooling"):
        read_settings(tmp_path)


def test_an_encoder_in_hand_does_what_its_folder_says(tmp_path: Path) -> None:
    model = network()
    huggingface.save_folder(tmp_path, model, TOKENIZER)
    plain = SentenceEncoder.load(tmp_path)
    assert np.abs(plain.vectors(TEXTS) - sentence_vectors(model, TOKENIZER, TEXTS)).max() < 1e-6
    describe(tmp_path, kinds=KINDS[:2], pooling={"pooling_mode": "cls"}, length={"max_seq_length": 5})
    found = SentenceEncoder.load(tmp_path).vectors(TEXTS)
    assert np.abs(found - sentence_vectors(model, TOKENIZER, TEXTS, pooling="cls", normalize=False, max_tokens=5)).max() < 1e-6
    assert np.abs(found - sentence_vectors(model, TOKENIZER, TEXTS)).max() > 0.1


# --- the encoder of the catalogue ---

MINILM = "all-minilm-l6-v2"
SENTENCES = [
    "",
    "A cat sits on the mat.",
    "A kitten is sitting on a rug.",
    "The stock market fell sharply today.",
    "Shares lost much of their value this afternoon.",
    "How do I reset my password?",
    "I forgot my login and want a new one.",
    "The capital of France is Paris.",
    "羊驼是一种吃草的动物。",
    "Naïve café — 1,000 %!  [SEP-like] <markup>",
    "word " * 400,
    "antidisestablishmentarianism " * 90,
]


@pytest.mark.slow
@pytest.mark.network
def test_minilm_gives_the_vectors_of_transformers(said: list[str]) -> None:
    try:
        folder = pull(MINILM)
    except (NetworkError, NotFoundError) as error:
        pytest.skip(f"the model cannot be had here: {error.message}")
    entry = catalogue.find(MINILM)
    assert entry is not None
    assert entry.size == sum((folder / name).stat().st_size for name in entry.files)
    encoder = SentenceEncoder.load(MINILM)
    assert encoder.settings == SentenceSettings("mean", True, 256)
    found = encoder.vectors(SENTENCES)
    assert "Of 2 of 12 texts only the first 256 tokens are read." in said
    assert np.abs(found - theirs(folder, SENTENCES, most=256)).max() < 1e-5
    likeness = found @ found.T
    for one, other in ((1, 2), (3, 4), (5, 6)):
        others = [place for place in range(1, 9) if place not in (one, other)]
        assert likeness[one, other] > max(likeness[one, place] for place in others) + 0.2
