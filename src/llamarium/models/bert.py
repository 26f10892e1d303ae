"""BERT and RoBERTa: encoders that read both sides of a place, to fill gaps or to turn a sentence into a vector.

Takes: token ids (B, T) and a `Context`; the padding of a shorter row is a document of its own (`Packed`).
Gives: states (B, T, D), logits of what stands at each place (B, T, V); the names under which Hugging Face knows the same weights.
Does not know: files, documents, devices, which places were masked; a second sentence: every token is of type 0.

Devlin et al. 2018 (arXiv:1810.04805), Liu et al. 2019 (arXiv:1907.11692), on the encoder of Vaswani et al. 2017 (arXiv:1706.03762).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamarium.ground.errors import UsageError
from llamarium.models import model
from llamarium.models.model import Context
from llamarium.models.sizing import nearest

Activation = Literal["gelu", "gelu_new", "relu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "gelu_new": partial(F.gelu, approximate="tanh"), "relu": F.relu}


@dataclass(frozen=True)
class Config:
    """Shape of one model; the defaults beside the sizes are BERT's. `hidden_width` is four times the width where it is 0."""

    vocab_size: int
    width: int = 384
    layers: int = 6
    heads: int = 6
    hidden_width: int = 0
    context_length: int = 512
    norm_epsilon: float = 1e-12
    activation: Activation = "gelu"
    token_types: int = 2  # rows of a table of which only the first is used here
    position_offset: int = 0  # above 0: RoBERTa, whose first position has the row after that of its padding id
    tied: bool = True
    mlm_head: bool = True
    pooler: bool = False  # the layer over the first state that BERT learnt with its second task

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, not {self.activation!r}")
        object.__setattr__(self, "hidden_width", self.hidden_width or 4 * self.width)
        for name, value in asdict(self).items():
            if name == "position_offset" and not 0 <= value < math.inf:
                raise ValueError(f"position_offset must not be negative, not {value}")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "position_offset" and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}")
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads evenly")

    @property
    def is_roberta(self) -> bool:
        """Whether it counts positions as RoBERTa does."""
        return self.position_offset > 0

    @classmethod
    def sized(cls, num_parameters: float, *, vocab_size: int, context_length: int) -> Config:
        """The shape nearest to `num_parameters`, embeddings and positions counted."""

        def shape(width: int, layers: int) -> Config:
            heads = width // (64 if width >= 128 else 32)
            return cls(vocab_size=vocab_size, context_length=context_length, width=width, layers=layers, heads=heads)

        return nearest(shape, num_parameters)

    def num_parameters(self) -> int:
        """Number of weights of a model of this shape."""
        with torch.device("meta"):
            return Model(self).num_parameters()


class Attention(nn.Module):
    """Self-attention in which each place sees all others."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.head_width = layer, config.width // config.heads
        self.q_proj = nn.Linear(config.width, config.width)
        # Softmax takes a bias on the keys out again; it is here because every folder has one.
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.o_proj = nn.Linear(config.width, config.width)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        heads = (*x_BTD.shape[:2], -1, self.head_width)
        q, k, v = (project(x_BTD).view(heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        y_BTHD = context.attend(self.layer, q, k, v, causal=False)
        return self.o_proj(y_BTHD.flatten(-2))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """down(gelu(up(x))). Hendrycks and Gimpel 2016, arXiv:1606.08415."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.up_proj = nn.Linear(config.width, config.hidden_width)
        self.down_proj = nn.Linear(config.hidden_width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.up_proj(x_BTD)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, add, norm; MLP, add, norm: the norm stands after the sum, as in the first Transformer."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.attention = Attention(config, layer)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.mlp = MLP(config)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        x_BTD = self.attention_norm(x_BTD + self.attention(x_BTD, context))
        return self.mlp_norm(x_BTD + self.mlp(x_BTD))  # type: ignore[no-any-return]


class Head(nn.Module):
    """decoder(norm(gelu(dense(x)))) + bias; the decoder is the table of embeddings, unless it has weights of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        # RoBERTa's head has GELU, whatever its blocks have.
        self.activation = ACTIVATIONS["gelu" if config.is_roberta else config.activation]
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.decoder = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x_BTD: Tensor, embeddings_VD: Tensor) -> Tensor:
        x_BTD = self.norm(self.activation(self.dense(x_BTD)))
        return F.linear(x_BTD, embeddings_VD if self.decoder is None else self.decoder.weight, self.bias)


class Model(model.Network):
    """The encoder: embed token, type and place, norm, blocks; above them perhaps the head that fills gaps."""

    KIND = "encoder"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.embed_positions = nn.Embedding(config.context_length + config.position_offset, config.width)
        self.embed_types = nn.Embedding(config.token_types, config.width)
        self.embed_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.head = Head(config) if config.mlm_head else None
        self.pooler = nn.Linear(config.width, config.width) if config.pooler else None

    def initialize(self) -> None:
        """Draw fresh weights: normal with 0.02, biases 0, norms 1."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 1:
                nn.init.ones_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02)

    def hidden(self, ids_BT: Tensor, context: Context) -> Tensor:
        """States after the last block: (B, T, D). `UsageError` where there are more tokens than positions."""
        if context.num_keys > self.config.context_length:
            raise UsageError(
                f"This model has learned {self.config.context_length:,} positions; the text has {context.num_keys:,} tokens.",
                hint="Give it a shorter text.",
            )
        x_BTD = self.embed(ids_BT) + self.embed_types(ids_BT.new_zeros(1, 1))
        x_BTD = self.embed_norm(x_BTD + self.embed_positions(context.positions_BT + self.config.position_offset))
        for block in self.blocks:
            x_BTD = block(x_BTD, context)
        return x_BTD  # type: ignore[no-any-return]

    def unembed(self, x_BTD: Tensor) -> Tensor:
        """Logits of what stands at each place: (B, T, V). `UsageError` where the model has no head for it."""
        if self.head is None:
            raise UsageError(
                "This encoder has no head that predicts tokens: it only turns texts into vectors.",
                hint="Open a checkpoint that was saved with its masked-language-model head.",
            )
        return self.head(x_BTD, self.embed.weight)  # type: ignore[no-any-return]

    def pool(self, x_BTD: Tensor) -> Tensor:
        """The pooler's vector of each text, tanh(W·x₀ + b) of its first state: (B, D). `UsageError` where there is no pooler."""
        if self.pooler is None:
            raise UsageError("This encoder has no pooler.", hint="Take the mean of the states, or the first one.")
        return torch.tanh(self.pooler(x_BTD[:, 0]))


TINY = Config(vocab_size=64, width=32, layers=2, heads=4, context_length=64)


# --- Foreign names: Hugging Face -------------------------------------------------------------------------------------

HF_MODEL_TYPES = ("bert", "roberta")
HF_NAMES = {
    "embed": "embeddings.word_embeddings",
    "embed_positions": "embeddings.position_embeddings",
    "embed_types": "embeddings.token_type_embeddings",
    "embed_norm": "embeddings.LayerNorm",
    "blocks.{}.attention.q_proj": "encoder.layer.{}.attention.self.query",
    "blocks.{}.attention.k_proj": "encoder.layer.{}.attention.self.key",
    "blocks.{}.attention.v_proj": "encoder.layer.{}.attention.self.value",
    "blocks.{}.attention.o_proj": "encoder.layer.{}.attention.output.dense",
    "blocks.{}.attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "blocks.{}.mlp.up_proj": "encoder.layer.{}.intermediate.dense",
    "blocks.{}.mlp.down_proj": "encoder.layer.{}.output.dense",
    "blocks.{}.mlp_norm": "encoder.layer.{}.output.LayerNorm",
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "head.decoder": "cls.predictions.decoder",
    "head": "cls.predictions",
    "pooler": "pooler.dense",
}
# Buffers of old folders, and what BERT's second task, which sentence follows which, has beside the pooler.
HF_IGNORED = ("embeddings.position_ids", "embeddings.token_type_ids", "cls.seq_relationship.weight", "cls.seq_relationship.bias")
_FROM_ROBERTA = {
    "lm_head.dense.": "cls.predictions.transform.dense.",
    "lm_head.layer_norm.": "cls.predictions.transform.LayerNorm.",
    "lm_head.": "cls.predictions.",
}
_TO_ROBERTA = {bert: roberta for roberta, bert in _FROM_ROBERTA.items()}
_BIAS, _DECODER_BIAS, _DECODER = "cls.predictions.bias", "cls.predictions.decoder.bias", "cls.predictions.decoder.weight"


def config_from_hf(values: dict[str, Any]) -> Config:
    """Read a ``config.json``. `KeyError` names what it lacks, `ValueError` what this family cannot do.

    ``architectures`` says whether there must be a head; `config_from_tensors` sees what else there is.
    """

    def number(name: str) -> int:
        if type(values[name]) is not int:
            raise ValueError(f"{name} must be a whole number, not {values[name]!r}")
        return int(values[name])

    for name in ("is_decoder", "add_cross_attention"):
        if values.get(name):
            raise ValueError(f"{name} is not supported: this family reads both sides of a place")
    if (positions := values.get("position_embedding_type", "absolute")) != "absolute":
        raise ValueError(f"the position_embedding_type {positions!r} is not one of this family (absolute)")
    if (activation := values.get("hidden_act", "gelu")) not in get_args(Activation):
        raise ValueError(f"the hidden_act {activation!r} is not one of this family ({', '.join(ACTIVATIONS)})")
    if not isinstance(architectures := values.get("architectures") or [], list):
        raise ValueError(f"architectures must be a list, not {architectures!r}")
    values = {"max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 1, **values}
    offset = number("pad_token_id") + 1 if values["model_type"] == "roberta" else 0
    if number("max_position_embeddings") <= offset:
        raise ValueError(f"max_position_embeddings {values['max_position_embeddings']} must be above {offset}")
    return Config(
        vocab_size=number("vocab_size"),
        width=number("hidden_size"),
        layers=number("num_hidden_layers"),
        heads=number("num_attention_heads"),
        hidden_width=number("intermediate_size"),
        context_length=number("max_position_embeddings") - offset,
        norm_epsilon=values.get("layer_norm_eps", 1e-12),
        activation=activation,
        token_types=number("type_vocab_size"),
        position_offset=offset,
        tied=values.get("tie_word_embeddings", True),
        mlm_head=any(str(name).endswith(("ForMaskedLM", "ForPreTraining")) for name in architectures),
    )


def config_from_tensors(config: Config, names: Iterable[str]) -> Config:
    """What a ``config.json`` leaves open: a head that it does not mention, and whether an encoder without a head has a pooler."""
    known = {_name_from_hf(name) for name in names}
    mlm_head = config.mlm_head or "cls.predictions.transform.dense.weight" in known
    return replace(config, mlm_head=mlm_head, pooler=not mlm_head and "pooler.dense.weight" in known)


def config_to_hf(config: Config) -> dict[str, Any] | None:
    """Write a ``config.json``; None for a shape that neither relative has."""
    kind, prefix = ("roberta", "Roberta") if config.is_roberta else ("bert", "Bert")
    values: dict[str, Any] = {
        "architectures": [f"{prefix}ForMaskedLM" if config.mlm_head else f"{prefix}Model"],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden_width,
        "hidden_act": config.activation,
        "max_position_embeddings": config.context_length + config.position_offset,
        "type_vocab_size": config.token_types,
        "layer_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "position_embedding_type": "absolute",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if config.is_roberta:
        values["pad_token_id"] = config.position_offset - 1
    read = config_from_hf(values)
    return values if (read if config.mlm_head else replace(read, pooler=config.pooler)) == config else None


def _name_from_hf(name: str) -> str:
    """BERT's present name without the prefix of a whole model: RoBERTa's and older ones are brought to it.

    >>> _name_from_hf("bert.embeddings.LayerNorm.gamma"), _name_from_hf("lm_head.layer_norm.bias")
    ('embeddings.LayerNorm.weight', 'cls.predictions.transform.LayerNorm.bias')
    """
    name = _exchanged(name.removeprefix("bert.").removeprefix("roberta."), _FROM_ROBERTA)
    for old, new in {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}.items():
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def _exchanged(name: str, beginnings: dict[str, str]) -> str:
    """`name` with the first of `beginnings` that it has in its other form."""
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def weights_from_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Bring all names to BERT's, and leave out what is there twice (a tied decoder and its bias) or beside a head (the pooler)."""
    result = {_name_from_hf(name): tensor for name, tensor in tensors.items()}
    if (bias := result.pop(_DECODER_BIAS, None)) is not None and (_BIAS not in result or not config.tied):
        result[_BIAS] = bias
    left_out = [_DECODER] * config.tied + ["pooler.dense.weight", "pooler.dense.bias"] * (not config.pooler)
    return {name: tensor for name, tensor in result.items() if name not in left_out}


def weights_to_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The inverse of `weights_from_hf`: with the prefix where there is a head, and the head as each relative calls it."""
    prefix = ("roberta." if config.is_roberta else "bert.") if config.mlm_head else ""
    result = {}
    for own, tensor in tensors.items():
        name = own if own.startswith("cls.") else prefix + own
        result[_exchanged(name, _TO_ROBERTA) if config.is_roberta else name] = tensor
    if config.mlm_head and not config.tied:
        head = "lm_head" if config.is_roberta else "cls.predictions"
        result[f"{head}.decoder.bias"] = tensors[_BIAS].clone()  # transformers unties this, too
    return result
