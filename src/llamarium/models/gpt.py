"""GPT-2, and by configuration each step from it to LLaMA: the norm, the positions, the MLP, the shared keys, the biases.

Takes: token ids (B, T) and a `Context`.
Gives: logits (B, T, V); the names under which Hugging Face knows the same weights.
Does not know: files, caches, documents, devices.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
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

from llamarium.ground.errors import UsageError
from llamarium.models import model
from llamarium.models.model import Context
from llamarium.models.sizing import nearest
from llamarium.ops.reference import rotary_table, rotate

Norm = Literal["layer", "rms"]
Positions = Literal["learned", "rotary"]
Mlp = Literal["gelu", "gelu_exact", "relu", "swiglu"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": partial(F.gelu, approximate="tanh"),  # as GPT-2 was trained
    "gelu_exact": F.gelu,
    "relu": F.relu,
}


@dataclass(frozen=True)
class Config:
    """Shape of one model; the defaults are GPT-2's. `kv_heads` and `hidden_width` follow from the others where they are 0.

    With ``norm="rms", positions="rotary", mlp="swiglu", bias=False`` and fewer `kv_heads` it is a LLaMA.
    """

    vocab_size: int
    width: int = 384
    layers: int = 6
    heads: int = 6
    kv_heads: int = 0
    hidden_width: int = 0
    context_length: int = 1024
    norm: Norm = "layer"
    norm_epsilon: float = 1e-5
    positions: Positions = "learned"
    rope_theta: float = 10_000.0  # of rotary positions
    mlp: Mlp = "gelu"
    bias: bool = True
    tied: bool = True
    scale_by_width: bool = True  # scores are divided by √ of the head width
    scale_by_layer: bool = False  # and by the number of the layer, from 1 (Stanford's Mistral)

    def __post_init__(self) -> None:
        for name, known in {"norm": get_args(Norm), "positions": get_args(Positions), "mlp": get_args(Mlp)}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        # 8/3 keeps the three matrices of SwiGLU as large as the two of a 4x MLP (Shazeer 2020).
        follows = 32 * round(self.width * 8 / 3 / 32) if self.mlp == "swiglu" else 4 * self.width
        object.__setattr__(self, "hidden_width", self.hidden_width or follows)
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        for name, value in asdict(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}")
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads evenly")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.head_width}")

    @property
    def head_width(self) -> int:
        """Numbers of each head."""
        return self.width // self.heads

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
    """Self-attention; each group of query heads shares a key/value head (as many as query heads in GPT-2)."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.head_width = layer, config.head_width
        self.scale = (config.head_width**-0.5 if config.scale_by_width else 1.0) / (layer + 1 if config.scale_by_layer else 1)
        kv_width = config.kv_heads * config.head_width
        self.q_proj = nn.Linear(config.width, config.width, bias=config.bias)
        # Without rotation a bias b on the keys adds q·b to every score of a query, and softmax takes it out again: it cannot learn.
        self.k_proj = nn.Linear(config.width, kv_width, bias=config.bias and config.positions == "rotary")
        self.v_proj = nn.Linear(config.width, kv_width, bias=config.bias)
        self.o_proj = nn.Linear(config.width, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor] | None, context: Context) -> Tensor:
        heads = (*x_BTD.shape[:2], -1, self.head_width)
        q, k, v = (project(x_BTD).view(heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        y_BTHD = context.attend(self.layer, q, k, v, scale=self.scale)
        return self.o_proj(y_BTHD.flatten(-2))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """down(gelu(up(x))), or SwiGLU's down(silu(gate(x)) · up(x)). Hendrycks and Gimpel 2016; Shazeer 2020."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kind = config.mlp
        if config.mlp == "swiglu":
            self.gate_proj = nn.Linear(config.width, config.hidden_width, bias=config.bias)
        self.up_proj = nn.Linear(config.width, config.hidden_width, bias=config.bias)
        self.down_proj = nn.Linear(config.hidden_width, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        up = self.up_proj(x_BTD)
        hidden = F.silu(self.gate_proj(x_BTD)) * up if self.kind == "swiglu" else ACTIVATIONS[self.kind](up)
        return self.down_proj(hidden)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Norm, attention, add; norm, MLP, add."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.attention_norm = norm_of(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = norm_of(config)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor] | None, context: Context) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rotary, context)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))  # type: ignore[no-any-return]


def norm_of(config: Config) -> nn.Module:
    """LayerNorm (Ba et al. 2016), or RMSNorm, which leaves out the mean and the bias (Zhang and Sennrich 2019)."""
    if config.norm == "rms":
        return nn.RMSNorm(config.width, eps=config.norm_epsilon)
    return nn.LayerNorm(config.width, eps=config.norm_epsilon, bias=config.bias)


class Model(model.Network):
    """The decoder: embed, add what stands for the position, blocks, norm, unembed."""

    KIND = "decoder"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.embed_positions = nn.Embedding(config.context_length, config.width) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = norm_of(config)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False)

    def initialize(self) -> None:
        """Draw fresh weights as GPT-2: normal with 0.02, positions 0.01; what is added to the residual is scaled down by depth."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 1:
                nn.init.ones_(parameter)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.layers))
            else:
                nn.init.normal_(parameter, std=0.01 if name.startswith("embed_positions") else 0.02)

    def hidden(self, ids_BT: Tensor, context: Context) -> Tensor:
        """States after the last block and norm: (B, T, D). `UsageError` where there are more tokens than learned positions."""
        x_BTD, rotary = self.embed(ids_BT), None
        if self.embed_positions is None:
            rotary = rotary_table(context.positions_BT, frequencies(self.config, ids_BT.device))
        elif context.num_keys > self.config.context_length:
            raise UsageError(
                f"This model has learned {self.config.context_length:,} positions; the text has {context.num_keys:,} tokens.",
                hint="Give it a shorter text.",
            )
        else:
            x_BTD = x_BTD + self.embed_positions(context.positions_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, rotary, context)
        return self.norm(x_BTD)  # type: ignore[no-any-return]

    def unembed(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.embed.weight) if self.head is None else self.head(x_BTD)


def frequencies(config: Config, device: torch.device | None = None) -> Tensor:
    """Rotary frequencies θ^(-2i/D) of each pair: (D / 2,) float32. Su et al. 2021, arXiv:2104.09864."""
    places = torch.arange(0, config.head_width, 2, device=device, dtype=torch.float32)
    return 1.0 / (config.rope_theta ** (places / config.head_width))


TINY = Config(vocab_size=64, width=32, layers=2, heads=4, context_length=64)


# --- Foreign names: Hugging Face -------------------------------------------------------------------------------------

HF_MODEL_TYPES = ("gpt2",)
HF_NAMES = {
    "embed": "transformer.wte",
    "embed_positions": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
    "blocks.{}.attention_norm": "transformer.h.{}.ln_1",
    # Three parts of the one tensor c_attn, so that an error names what the file has.
    "blocks.{}.attention.q_proj": "transformer.h.{}.attn.c_attn.q",
    "blocks.{}.attention.k_proj": "transformer.h.{}.attn.c_attn.k",
    "blocks.{}.attention.v_proj": "transformer.h.{}.attn.c_attn.v",
    "blocks.{}.attention.o_proj": "transformer.h.{}.attn.c_proj",
    "blocks.{}.mlp_norm": "transformer.h.{}.ln_2",
    "blocks.{}.mlp.up_proj": "transformer.h.{}.mlp.c_fc",
    "blocks.{}.mlp.down_proj": "transformer.h.{}.mlp.c_proj",
}
HF_IGNORED = (".attn.bias", ".attn.masked_bias")  # the causal mask, which old folders hold as a tensor
HF_TURNED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
# The first name of each of ours is the one written; the other three of GELU are the same curve.
HF_ACTIVATIONS: dict[str, Mlp] = {
    "gelu_new": "gelu",
    "gelu": "gelu_exact",
    "relu": "relu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "gelu_python": "gelu_exact",
}


def config_from_hf(values: dict[str, Any]) -> Config:
    """Read a ``config.json``. `KeyError` names what it lacks, `ValueError` what this family cannot do."""

    def number(name: str, alias: str = "") -> int:
        value = values[alias] if name not in values and alias in values else values[name]
        if type(value) is not int:
            raise ValueError(f"{name} must be a whole number, not {value!r}")
        return value

    if (activation := values.get("activation_function", "gelu_new")) not in [*HF_ACTIVATIONS]:
        raise ValueError(f"the activation_function {activation!r} is not one of this family ({', '.join(HF_ACTIVATIONS)})")
    if values.get("add_cross_attention"):
        raise ValueError("add_cross_attention is not supported: this family has no second text to look at")
    # reorder_and_upcast_attn is the order of one product in half precision: the same formula.
    return Config(
        vocab_size=number("vocab_size"),
        width=number("n_embd", "hidden_size"),
        layers=number("n_layer", "num_hidden_layers"),
        heads=number("n_head", "num_attention_heads"),
        hidden_width=0 if values.get("n_inner") is None else number("n_inner"),
        context_length=number("n_positions", "max_position_embeddings"),
        norm_epsilon=values.get("layer_norm_epsilon", 1e-5),
        mlp=HF_ACTIVATIONS[activation],
        tied=values.get("tie_word_embeddings", True),
        scale_by_width=values.get("scale_attn_weights", True),
        scale_by_layer=values.get("scale_attn_by_inverse_layer_idx", False),
    )


def config_to_hf(config: Config) -> dict[str, Any] | None:
    """Write a ``config.json``; None for a shape that GPT-2 has not."""
    values: dict[str, Any] = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_ctx": config.context_length,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.hidden_width,
        "activation_function": next((name for name, mlp in HF_ACTIVATIONS.items() if mlp == config.mlp), "gelu_new"),
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "scale_attn_weights": config.scale_by_width,
        "scale_attn_by_inverse_layer_idx": config.scale_by_layer,
        "reorder_and_upcast_attn": False,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
    return values if config_from_hf(values) == config else None


def weights_from_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Turn the matrices, which GPT-2 stores with the input first, and part c_attn into queries, keys and values.

    The names of a whole model begin with ``transformer.``, those of the first published folders do not. What a folder
    says of a bias on the keys is left out, as it does nothing (`Attention`).
    """
    prefix = "" if any(name.startswith("transformer.") for name in tensors) else "transformer."
    result = {}
    for name, tensor in tensors.items():
        if name == "lm_head.weight":
            if not config.tied:
                result[name] = tensor
            continue
        turned = tensor.T if name.endswith(HF_TURNED) and tensor.ndim == 2 else tensor
        stem, c_attn, end = f"{prefix}{name}".partition(".attn.c_attn.")
        if c_attn and tensor.ndim:
            for part, third in zip("qkv", turned.tensor_split(3), strict=True):
                if (part, end) != ("k", "bias"):
                    result[f"{stem}{c_attn}{part}.{end}"] = third.contiguous()
        else:
            result[prefix + name] = turned.contiguous()
    return result


def weights_to_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:  # noqa: ARG001
    """The inverse of `weights_from_hf`; the bias on the keys is 0."""
    result = {}
    for own, tensor in tensors.items():
        stem, c_attn, rest = own.partition(".attn.c_attn.")
        part, _, end = rest.partition(".")
        if part in ("k", "v"):  # they go with q
            continue
        name = f"{stem}{c_attn}{end}"
        if part == "q":
            key = tensors.get(f"{stem}{c_attn}k.{end}", torch.zeros_like(tensor))
            tensor = torch.cat((tensor, key, tensors[f"{stem}{c_attn}v.{end}"]))
        result[name] = tensor.T.contiguous() if name.endswith(HF_TURNED) else tensor
    return result
