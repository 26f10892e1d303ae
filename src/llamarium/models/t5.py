"""T5, T5 v1.1 and mT5: one stack of blocks reads a source, another writes and looks at what was read.

Takes: token ids (B, T), a `Context`, and the source's ids (B, S), once a text.
Gives: logits (B, T, V); the names under which Hugging Face knows the same weights.
Does not know: files, caches, documents, devices.

Raffel et al. 2019 (arXiv:1910.10683), Shazeer 2020 (arXiv:2002.05202) for v1.1's gate, Xue et al. 2020 (arXiv:2010.11934) for mT5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamarium.models import model
from llamarium.models.context import Packed
from llamarium.models.model import PADDING, Context
from llamarium.models.sizing import nearest
from llamarium.ops.reference import attention

Mlp = Literal["relu", "gated-gelu", "gated-silu"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gated-gelu": partial(F.gelu, approximate="tanh"),
    "gated-silu": F.silu,  # UL2
}


@dataclass(frozen=True)
class Config:
    """Shape of one model. `decoder_layers`, `head_width` and `hidden_width` follow from the others where they are 0.

    The first T5 has ``mlp="relu"``; v1.1 and mT5 have ``tied=False``. The logits of a tied head are scaled by 1 / √width.
    """

    vocab_size: int
    width: int = 384
    encoder_layers: int = 6
    decoder_layers: int = 0
    heads: int = 6
    head_width: int = 0
    hidden_width: int = 0
    mlp: Mlp = "gated-gelu"
    buckets: int = 32  # of distances: each has one number a head
    max_distance: int = 128  # from which on all distances are one
    norm_epsilon: float = 1e-6
    tied: bool = True
    start_id: int = 0  # what a text that is written begins with

    def __post_init__(self) -> None:
        if self.mlp not in get_args(Mlp):
            raise ValueError(f"mlp must be one of {', '.join(get_args(Mlp))}, not {self.mlp!r}")
        # 8/3 keeps the three matrices of a gated MLP as large as the two of a 4x MLP (Shazeer 2020).
        follows = 4 * self.width if self.mlp == "relu" else 32 * max(1, round(self.width * 8 / 3 / 32))
        object.__setattr__(self, "decoder_layers", self.decoder_layers or self.encoder_layers)
        object.__setattr__(self, "head_width", self.head_width or self.width // self.heads)
        object.__setattr__(self, "hidden_width", self.hidden_width or follows)
        for name, value in asdict(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "start_id" and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}")
        if not 0 <= self.start_id < self.vocab_size:
            raise ValueError(f"start_id must be an id of the vocabulary of {self.vocab_size:,}, not {self.start_id}")
        if not 4 <= self.buckets < 2 * self.max_distance:
            raise ValueError(f"buckets must be from 4 to less than twice the max_distance {self.max_distance}, not {self.buckets}")

    @property
    def layers(self) -> int:
        """Blocks of both stacks."""
        return self.encoder_layers + self.decoder_layers

    @property
    def context_length(self) -> None:
        """None: distances know no last position."""
        return None

    @classmethod
    def sized(cls, num_parameters: float, *, vocab_size: int, context_length: int) -> Config:  # noqa: ARG003
        """The shape nearest to `num_parameters`, with as many blocks that write as read. It takes texts beyond `context_length`, too."""

        def shape(width: int, layers: int) -> Config:
            return cls(vocab_size=vocab_size, width=width, encoder_layers=layers, heads=width // (64 if width >= 128 else 32))

        return nearest(shape, num_parameters)

    def num_parameters(self) -> int:
        """Number of weights of a model of this shape."""
        with torch.device("meta"):
            return Model(self).num_parameters()


class Attention(nn.Module):
    """What attention to oneself and to a source have in common. Scores are not divided by √head_width: `initialize` did that."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.head_width = layer, config.head_width
        inner = config.heads * config.head_width
        self.q_proj = nn.Linear(config.width, inner, bias=False)
        self.k_proj = nn.Linear(config.width, inner, bias=False)
        self.v_proj = nn.Linear(config.width, inner, bias=False)
        self.o_proj = nn.Linear(inner, config.width, bias=False)

    def heads(self, x_BTN: Tensor) -> Tensor:
        return x_BTN.view(*x_BTN.shape[:2], -1, self.head_width)


class SelfAttention(Attention):
    """Attention to the same text, each score moved by a number for its distance."""

    def forward(self, x_BTD: Tensor, bias_HTS: Tensor, context: Context, causal: bool) -> Tensor:
        q, k, v = (self.heads(project(x_BTD)) for project in (self.q_proj, self.k_proj, self.v_proj))
        y_BTHD = context.attend(self.layer, q, k, v, scale=1.0, causal=causal, bias_HTS=bias_HTS)
        return self.o_proj(y_BTHD.flatten(-2))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Source:
    """What a decoder looks at. `x_BSD` is None where an earlier call brought it: keys and values are then in the context."""

    x_BSD: Tensor | None  # noqa: N815
    there_BS: Tensor  # noqa: N815  # bool: no padding


class SourceAttention(Attention):
    """Attention to the source. Distances mean nothing here, so scores stay as they are."""

    def forward(self, x_BTD: Tensor, source: Source, context: Context) -> Tensor:
        there_BS = source.there_BS
        if source.x_BSD is not None:
            k, v = (self.heads(project(source.x_BSD)) for project in (self.k_proj, self.v_proj))
            context.store(self.layer, torch.stack((k, v.masked_fill(~there_BS[:, :, None, None], 0))))
        kept = context.state(self.layer)
        assert kept is not None, "a source is given with the first call of a text"
        # A row of padding alone sees its zeros: something to look at, which adds nothing.
        seen_BS = there_BS | ~there_BS.any(1, keepdim=True)
        y_BTHD = attention(self.heads(self.q_proj(x_BTD)), *kept.unbind(), scale=1.0, mask=seen_BS[:, None, None])
        return self.o_proj(y_BTHD.flatten(-2))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """down(relu(up(x))), or down(gelu(gate(x)) · linear(x)). Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.activation, self.gated = ACTIVATIONS[config.mlp], config.mlp != "relu"
        if self.gated:
            self.gate_proj = nn.Linear(config.width, config.hidden_width, bias=False)
            self.linear_proj = nn.Linear(config.width, config.hidden_width, bias=False)
        else:
            self.up_proj = nn.Linear(config.width, config.hidden_width, bias=False)
        self.down_proj = nn.Linear(config.hidden_width, config.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        if self.gated:
            return self.down_proj(self.activation(self.gate_proj(x_BTD)) * self.linear_proj(x_BTD))  # type: ignore[no-any-return]
        return self.down_proj(self.activation(self.up_proj(x_BTD)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Norm, attention, add; where it writes, the same over the source; norm, MLP, add."""

    def __init__(self, config: Config, layer: int, *, writes: bool) -> None:
        super().__init__()
        self.writes = writes
        self.attention_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.attention = SelfAttention(config, layer)
        if writes:
            self.source_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
            self.source_attention = SourceAttention(config, layer)
        self.mlp_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, bias_HTS: Tensor, context: Context, source: Source | None) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), bias_HTS, context, self.writes)
        if source is not None:
            x_BTD = x_BTD + self.source_attention(self.source_norm(x_BTD), source, context)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))  # type: ignore[no-any-return]


class Stack(nn.Module):
    """The encoder or the decoder: blocks that share one table of numbers for distances, and a norm."""

    def __init__(self, config: Config, layers: int, *, writes: bool) -> None:
        super().__init__()
        self.config, self.writes = config, writes
        self.distances = nn.Embedding(config.buckets, config.heads)
        self.blocks = nn.ModuleList(Block(config, layer, writes=writes) for layer in range(layers))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)

    def bias(self, context: Context) -> Tensor:
        """What is added to the scores of T queries, the last of S positions: (H, T, S).

        Distances are counted by place in the row; within a document they are the same as those of its own positions.
        """
        place_S = torch.arange(context.num_keys, device=self.distances.weight.device)
        distance_TS = place_S - place_S[-context.positions_BT.shape[1] :, None]
        bucket_TS = bucket(distance_TS, self.config.buckets, self.config.max_distance, both_ways=not self.writes)
        return self.distances(bucket_TS).permute(2, 0, 1)  # type: ignore[no-any-return]

    def forward(self, x_BTD: Tensor, context: Context, source: Source | None = None) -> Tensor:
        bias_HTS = self.bias(context)
        for block in self.blocks:
            x_BTD = block(x_BTD, bias_HTS, context, source)
        return self.norm(x_BTD)  # type: ignore[no-any-return]


class Model(model.Network):
    """The encoder, the decoder, and the embedding that they share."""

    KIND = "encoder_decoder"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.encoder = Stack(config, config.encoder_layers, writes=False)
        self.decoder = Stack(config, config.decoder_layers, writes=True)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]  # made when asked for, so that each block has one name
        """Those of the encoder, then those of the decoder."""
        return nn.ModuleList([*self.encoder.blocks, *self.decoder.blocks])

    def initialize(self) -> None:
        """Draw fresh weights: normal with 1 / √inputs, so that what comes out is as large as what goes in; embeddings with 1.

        Queries are drawn smaller by √head_width, which the scores are not divided by. An untied head begins as a tied one does.
        """
        width, head_width = self.config.width, self.config.head_width
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
            elif name == "embed.weight":
                nn.init.normal_(parameter)
            elif name.endswith("distances.weight"):
                nn.init.normal_(parameter, std=width**-0.5)
            else:
                inputs = parameter.shape[1] * (head_width if name.endswith("q_proj.weight") else 1)
                nn.init.normal_(parameter, std=inputs**-0.5)

    def hidden(self, ids_BT: Tensor, context: Context, source_BS: Tensor | None = None) -> Tensor:
        x_BSD, mask_slot = None, self.config.decoder_layers  # the slots before it are those of the decoder's blocks
        if source_BS is not None and source_BS.shape[1]:
            there_BS = source_BS != PADDING
            x_BSD = self.encoder(self.embed(source_BS.clamp(min=0)), Packed(there_BS.long()))  # padding is a document of its own
            context.store(mask_slot, there_BS)
        there = context.state(mask_slot)
        source = None if there is None else Source(x_BSD, there)
        return self.decoder(self.embed(ids_BT), context, source)  # type: ignore[no-any-return]

    def unembed(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD * self.config.width**-0.5, self.embed.weight) if self.head is None else self.head(x_BTD)

    def forward(self, ids_BT: Tensor, context: Context, source_BS: Tensor | None = None) -> Tensor:
        return self.unembed(self.hidden(ids_BT, context, source_BS))


def bucket(distance: Tensor, buckets: int, max_distance: int, *, both_ways: bool) -> Tensor:
    """Which of the `buckets` each distance (place of the key − place of the query) belongs to. Raffel et al. 2019, section 2.1.

    Half of them hold one distance each, the other half ever more, on a logarithmic scale up to `max_distance`. A text that is
    written looks back only; where both ways are looked, each has half of the buckets.

    >>> bucket(torch.tensor([0, -1, -7, -8, -20, -99, 5]), 16, 64, both_ways=False).tolist()
    [0, 1, 7, 8, 11, 15, 0]
    """
    first = torch.zeros_like(distance)
    if both_ways:
        buckets //= 2
        first = buckets * (distance > 0)
        distance = -distance.abs()
    exact = buckets // 2
    far = (-distance).clamp(min=exact).float()
    # In this order of operations, which decides on which side of a border its own distance falls.
    share = torch.log(far / exact) / math.log(max_distance / exact) * (buckets - exact)
    far_bucket = (exact + share.long()).clamp(max=buckets - 1)
    return first + torch.where(-distance < exact, (-distance).clamp(min=0), far_bucket)


TINY = Config(vocab_size=64, width=32, encoder_layers=1, decoder_layers=2, heads=4, head_width=6, hidden_width=48, max_distance=20)


# --- Foreign names: Hugging Face -------------------------------------------------------------------------------------

HF_MODEL_TYPES = ("t5", "mt5")
_PARTS = {  # of a block: which of Hugging Face's layers they are in the encoder and in the decoder, and their names there
    "attention_norm": ((0, 0), "layer_norm"),
    **{f"attention.{part}_proj": ((0, 0), f"SelfAttention.{part}") for part in "qkvo"},
    "source_norm": ((None, 1), "layer_norm"),
    **{f"source_attention.{part}_proj": ((None, 1), f"EncDecAttention.{part}") for part in "qkvo"},
    "mlp_norm": ((1, 2), "layer_norm"),
    "mlp.up_proj": ((1, 2), "DenseReluDense.wi"),
    "mlp.gate_proj": ((1, 2), "DenseReluDense.wi_0"),
    "mlp.linear_proj": ((1, 2), "DenseReluDense.wi_1"),
    "mlp.down_proj": ((1, 2), "DenseReluDense.wo"),
}
HF_NAMES = {
    "embed": "shared",
    "head": "lm_head",
    **{f"{stack}.norm": f"{stack}.final_layer_norm" for stack in ("encoder", "decoder")},
    **{f"{stack}.distances": f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias" for stack in ("encoder", "decoder")},
    **{
        f"{stack}.blocks.{{}}.{part}": f"{stack}.block.{{}}.layer.{layers[which]}.{name}"
        for which, stack in enumerate(("encoder", "decoder"))
        for part, (layers, name) in _PARTS.items()
        if layers[which] is not None
    },
}
HF_IGNORED = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)  # never used, and in the first folders
# What a config.json that leaves a key out stands for.
HF_DEFAULTS: dict[str, Any] = {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}


def config_from_hf(values: dict[str, Any]) -> Config:
    """Read a ``config.json``. `KeyError` names what it lacks, `ValueError` what this family cannot do."""
    values = {**HF_DEFAULTS, **values}

    def number(name: str, *, least: int = 1) -> int:
        value = values[name]
        if type(value) is not int or value < least:
            raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
        return value

    first = values["model_type"] == "t5"
    if (mlp := values.get("feed_forward_proj", "relu" if first else "gated-gelu")) not in get_args(Mlp):
        raise ValueError(f"the feed_forward_proj {mlp!r} is not one of this family ({', '.join(get_args(Mlp))})")
    # Whether logits are scaled tells the first T5 from v1.1, whatever transformers from version 5 on says of tied weights.
    tied = next((values[key] for key in ("scale_decoder_outputs", "tie_word_embeddings") if values.get(key) is not None), True)
    starts = [key for key in ("decoder_start_token_id", "pad_token_id") if values.get(key) is not None]
    return Config(
        vocab_size=number("vocab_size"),
        width=number("d_model"),
        encoder_layers=number("num_layers"),
        decoder_layers=0 if values.get("num_decoder_layers") is None else number("num_decoder_layers"),
        heads=number("num_heads"),
        head_width=number("d_kv"),
        hidden_width=number("d_ff"),
        mlp=mlp,
        buckets=number("relative_attention_num_buckets"),
        max_distance=number("relative_attention_max_distance"),
        norm_epsilon=values.get("layer_norm_epsilon", 1e-6),
        tied=tied if first else False,
        start_id=number(starts[0], least=0) if starts else 0,
    )


def config_to_hf(config: Config) -> dict[str, Any] | None:
    """Write a ``config.json``. mT5 is v1.1 with another vocabulary; what either computes is written as a T5."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.width,
        "d_kv": config.head_width,
        "d_ff": config.hidden_width,
        "num_layers": config.encoder_layers,
        "num_decoder_layers": config.decoder_layers,
        "num_heads": config.heads,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.max_distance,
        "feed_forward_proj": config.mlp,
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "decoder_start_token_id": config.start_id,
        "dropout_rate": 0.0,
    }


def weights_from_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Leave out the copies of the embedding that old folders hold, and bring the one that some hold in its place.

    A copy that differs is none; it stays, as a tensor that this family does not know. An untied head that is not there is the
    embedding itself: transformers from version 5 on writes it so.
    """
    names = ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    names += ["lm_head.weight"] if config.tied else []
    present = [name for name in names if name in tensors]
    if not present:
        return tensors
    embedding = tensors[present[0]]
    copies = {name for name in present if torch.equal(tensors[name], embedding)}
    result = {name: tensor for name, tensor in tensors.items() if name not in copies}
    result["shared.weight"] = embedding
    if not config.tied:
        result.setdefault("lm_head.weight", embedding.clone())
    return result


def weights_to_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:  # noqa: ARG001
    """The names are all that differs."""
    return tensors
