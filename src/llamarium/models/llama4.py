"""LLaMA 4, the text model: experts of which a router chooses, layers that see chunks, layers without positions.

Takes: token ids (B, T) and a `Context`.
Gives: logits (B, T, V); the names under which Hugging Face knows the same weights.
Does not know: files, caches, documents, devices, pictures.

Meta 2025, "The Llama 4 herd" (no paper), as the published checkpoints compute it. Its parts: a router that picks experts (Shazeer et al.
2017, arXiv:1701.06538), one expert that all share (Rajbhandari et al. 2022, arXiv:2201.05596), layers without positions (Kazemnejad et al.
2023, arXiv:2305.19466), a temperature that grows with the text (Nakanishi 2025, arXiv:2501.19399).

Shape suffixes beyond `model.py`: E experts, K experts a token, N tokens of all rows, M tokens an expert computes, W width of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamarium.models import model
from llamarium.models.model import Context
from llamarium.models.sizing import nearest
from llamarium.ops.reference import rotary_table, rotate


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for longer texts, LLaMA 3.1's way. LLaMA 4 has no ramp: both its bounds are 1."""

    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 1.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf or self.original_context <= 0:
            raise ValueError(f"rotary scaling needs a factor and a context above 0, not {self.factor} and {self.original_context}")
        if not 0 < self.low_frequency_factor <= self.high_frequency_factor < math.inf:
            raise ValueError(
                f"rotary scaling needs a low factor up to the high one, not {self.low_frequency_factor} and {self.high_frequency_factor}"
            )


MAY_BE_0 = ("kv_heads", "head_width", "hidden_width", "dense_hidden_width", "temperature_scale")


@dataclass(frozen=True)
class Config:
    """Shape of one model. `kv_heads` and the widths of heads and MLPs follow from the others where they are 0.

    Layers are numbered from 0. Every n-th is n - 1, 2n - 1, …; a list of layers says otherwise.
    """

    vocab_size: int
    width: int = 384
    layers: int = 8
    heads: int = 6
    kv_heads: int = 0
    head_width: int = 0
    hidden_width: int = 0  # of each expert, the shared one included
    dense_hidden_width: int = 0  # of the MLP of layers without experts
    experts: int = 8
    experts_per_token: int = 1
    mixture_every: int = 1  # every n-th layer has experts
    mixture_layers: tuple[int, ...] | None = None
    position_free_every: int = 4  # every n-th layer has no rotary positions, and sees the whole text
    position_free_layers: tuple[int, ...] | None = None
    chunk: int | None = 8192  # the other layers see only their own block of so many positions
    query_key_norm: bool = True  # in layers with rotary positions
    temperature_scale: float = 0.1  # in layers without; 0: none
    temperature_floor: int = 8192  # positions from which on the temperature changes
    attention_bias: bool = False
    context_length: int = 2048
    norm_epsilon: float = 1e-5
    tied: bool = True
    rope_theta: float = 500_000.0
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                fine = 0 <= value < math.inf if name in MAY_BE_0 else 0 < value < math.inf
                if not fine:
                    raise ValueError(f"{name} must be {'0 or more' if name in MAY_BE_0 else 'positive'}, not {value}")
        # A token passes the shared expert and its own: together they are as wide as the one MLP of a LLaMA, 8/3 of the width.
        seen = 1 + self.experts_per_token
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "head_width", self.head_width or self.width // self.heads)
        object.__setattr__(self, "hidden_width", self.hidden_width or 32 * max(1, round(self.width * 8 / 3 / seen / 32)))
        object.__setattr__(self, "dense_hidden_width", self.dense_hidden_width or self.hidden_width * seen)
        for name, every in (("mixture_layers", self.mixture_every), ("position_free_layers", self.position_free_every)):
            if (listed := getattr(self, name)) is not None:
                object.__setattr__(self, name, self._unless_every(name, listed, every))
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        if self.head_width == 0 or self.head_width % 2:
            raise ValueError(f"the head width {self.head_width} must be even and positive")
        if self.experts_per_token > self.experts:
            raise ValueError(f"a token cannot have {self.experts_per_token} of {self.experts} experts")

    def _unless_every(self, name: str, listed: Sequence[int], every: int) -> tuple[int, ...] | None:
        """A list that says what `every` says already is left out, so that one shape has one form."""
        found = tuple(sorted(set(listed)))
        if found and not 0 <= found[0] <= found[-1] < self.layers:
            raise ValueError(f"{name} must be from 0 to {self.layers - 1}, not {list(found)}")
        regular = range(every - 1, self.layers, every)
        return None if len(found) == len(regular) and all(one == other for one, other in zip(found, regular, strict=True)) else found

    def has_experts(self, layer: int) -> bool:
        """Whether the layer chooses among experts; else it has one MLP."""
        return (layer + 1) % self.mixture_every == 0 if self.mixture_layers is None else layer in self.mixture_layers

    def has_positions(self, layer: int) -> bool:
        """Whether the layer turns queries and keys by their positions and sees its chunk; else it sees all and knows no positions."""
        if self.position_free_layers is None:
            return (layer + 1) % self.position_free_every != 0
        return layer not in self.position_free_layers

    @classmethod
    def sized(cls, num_parameters: float, *, vocab_size: int, context_length: int) -> Config:
        """The shape nearest to `num_parameters` (embeddings and all experts counted), with about as many layers as width / 64."""

        def shape(width: int, layers: int) -> Config:
            heads = width // (64 if width >= 128 else 32)
            kv_heads = heads // 4 if width >= 1024 and heads % 4 == 0 else heads
            return cls(vocab_size=vocab_size, context_length=context_length, width=width, layers=layers, heads=heads, kv_heads=kv_heads)

        return nearest(shape, num_parameters, fewest=cls.position_free_every)  # fewer would have no layer without positions

    def num_parameters(self) -> int:
        """Number of weights of a model of this shape; a token uses those of few experts."""
        with torch.device("meta"):
            return Model(self).num_parameters()


class Attention(nn.Module):
    """Grouped-query self-attention: over a chunk with rotary positions, or over the whole text without any."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.config = layer, config
        self.rotary = config.has_positions(layer)
        D, H, G = config.head_width, config.heads, config.kv_heads
        self.q_proj = nn.Linear(config.width, H * D, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.width, G * D, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.width, G * D, bias=config.attention_bias)
        self.o_proj = nn.Linear(H * D, config.width, bias=config.attention_bias)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], context: Context) -> Tensor:
        config = self.config
        heads = (*x_BTD.shape[:2], -1, config.head_width)
        q, k, v = (project(x_BTD).view(heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.rotary:
            q, k = (rotate(x, rotary, interleaved=True) for x in (q, k))
            if config.query_key_norm:  # after the rotation, which keeps lengths, and without weights
                q, k = (F.rms_norm(x, (config.head_width,), eps=config.norm_epsilon) for x in (q, k))
        elif config.temperature_scale:
            q = (q * temperature(context.positions_BT, config)[:, :, None, None]).to(q.dtype)
        y_BTHD = context.attend(self.layer, q, k, v, chunk=config.chunk if self.rotary else None)
        return self.o_proj(y_BTHD.flatten(-2))  # type: ignore[no-any-return]


def temperature(positions_BT: Tensor, config: Config) -> Tensor:
    """What queries are multiplied by, 1 + scale · ln(1 + ⌊(position + 1) / floor⌋): (B, T) float32. Nakanishi 2025, arXiv:2501.19399.

    The more positions share a softmax, the flatter it gets; a query that grows with the logarithm of its position keeps it sharp.
    """
    return 1 + config.temperature_scale * torch.log1p(((positions_BT + 1) // config.temperature_floor).float())


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)). Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden_width, bias=False)
        self.up_proj = nn.Linear(width, hidden_width, bias=False)
        self.down_proj = nn.Linear(hidden_width, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))  # type: ignore[no-any-return]


class Experts(nn.Module):
    """SwiGLUs of one shape, their matrices stacked: (E, in, out), as they multiply from the right. Gate and up lie side by side."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(config.experts, config.width, 2 * config.hidden_width))
        self.down_proj = nn.Parameter(torch.empty(config.experts, config.hidden_width, config.width))

    def forward(self, x_EMW: Tensor, chosen_E: Tensor | None = None) -> Tensor:
        """Row e through expert e, or through expert ``chosen_E[e]``: (E, M, W)."""
        gate_up, down = (w if chosen_E is None else w[chosen_E] for w in (self.gate_up_proj, self.down_proj))
        gate, up = torch.bmm(x_EMW, gate_up).chunk(2, dim=-1)
        return torch.bmm(F.silu(gate) * up, down)


class Mixture(nn.Module):
    """The shared expert, plus the K experts that a router chooses for each token, each given the token times its own score.

    shared(x) + Σ_e expert_e(s_e · x), with s_e = sigmoid(r_e · x) for the K largest r_e · x and 0 for the others.

    Many tokens go through every expert, which gives 0 for a token of score 0: so the shapes do not depend on the data, the whole compiles
    into one graph, and a token's logits do not depend on what company it has. Transformers does the same. Few tokens, as in
    generation, fetch the matrices of their own experts: then those of the others are not read.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.experts = Experts(config)
        self.shared_expert = SwiGLU(config.width, config.hidden_width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_NW = x_BTD.flatten(0, -2)
        best_NK, chosen_NK = self.router(x_NW).topk(self.config.experts_per_token)
        scores_NK = best_NK.sigmoid().to(x_NW.dtype)
        if chosen_NK.numel() < self.config.experts:
            x_NKW = scores_NK[:, :, None] * x_NW[:, None]
            routed_NW = self.experts(x_NKW.flatten(0, 1)[:, None], chosen_NK.flatten()).view(x_NKW.shape).sum(1)
        else:
            scores_NE = scores_NK.new_zeros(len(x_NW), self.config.experts).scatter(1, chosen_NK, scores_NK)
            routed_NW = self.experts(scores_NE.T[:, :, None] * x_NW).sum(0)
        return self.shared_expert(x_BTD) + routed_NW.view_as(x_BTD)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Norm, attention, add; norm, experts or MLP, add."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.attention = Attention(config, layer)
        self.mlp_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.mlp = Mixture(config) if config.has_experts(layer) else SwiGLU(config.width, config.dense_hidden_width)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], context: Context) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), rotary, context)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))  # type: ignore[no-any-return]


class Model(model.Network):
    """The decoder: embed, blocks, norm, unembed."""

    KIND = "decoder"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False)
        self._frequencies: Tensor | None = None

    def initialize(self) -> None:
        """Draw fresh weights: normal with 0.02; what is added to the residual is scaled down by depth (GPT-2)."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 1:
                nn.init.ones_(parameter)
            else:
                adds = name.removesuffix(".weight").endswith(("o_proj", "down_proj"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.layers) if adds else 0.02)

    def hidden(self, ids_BT: Tensor, context: Context) -> Tensor:
        if self._frequencies is None or self._frequencies.device != ids_BT.device:
            self._frequencies = frequencies(self.config, ids_BT.device)
        rotary = rotary_table(context.positions_BT, self._frequencies)
        x_BTD = self.embed(ids_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, rotary, context)
        return self.norm(x_BTD)  # type: ignore[no-any-return]

    def unembed(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.embed.weight) if self.head is None else self.head(x_BTD)


def frequencies(config: Config, device: torch.device | None = None) -> Tensor:
    """Rotary frequencies θ^(-2i/D) of each pair, stretched where the config says so: (D / 2,) float32."""
    places = torch.arange(0, config.head_width, 2, device=device, dtype=torch.float32)
    plain: Tensor = 1.0 / (config.rope_theta ** (places / config.head_width))
    if (scaling := config.rope_scaling) is None:
        return plain
    # Waves longer than the first context (divided by the low factor) are stretched whole, short ones not at all, a ramp between.
    turns = scaling.original_context * plain / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    ramp = ((turns - low) / (high - low)).clamp(0, 1) if high > low else (turns >= low).float()
    return (1 - ramp) * plain / scaling.factor + ramp * plain


# One layer with positions and a plain MLP, one without and with experts; 24 positions are three chunks and six temperatures.
TINY = Config(
    vocab_size=64,
    width=32,
    layers=2,
    heads=4,
    kv_heads=2,
    hidden_width=24,
    experts=4,
    experts_per_token=2,
    mixture_every=2,
    position_free_every=2,
    chunk=8,
    temperature_floor=4,
    context_length=64,
)


# --- Foreign names: Hugging Face -------------------------------------------------------------------------------------

# "llama4" is the model that sees pictures, too: its text part is read, what belongs to pictures is left out.
HF_MODEL_TYPES = ("llama4_text", "llama4")
HF_TEXT, HF_PICTURES = "language_model.", ("vision_model.", "multi_modal_projector.")
HF_NAMES = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "blocks.{}.attention_norm": "model.layers.{}.input_layernorm",
    "blocks.{}.mlp_norm": "model.layers.{}.post_attention_layernorm",
    **{f"blocks.{{}}.attention.{part}": f"model.layers.{{}}.self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{f"blocks.{{}}.mlp.{part}": f"model.layers.{{}}.feed_forward.{part}" for part in ("gate_proj", "up_proj", "down_proj")},
    **{f"blocks.{{}}.mlp.{part}": f"model.layers.{{}}.feed_forward.{part}" for part in ("router", "experts")},
    **{
        f"blocks.{{}}.mlp.shared_expert.{part}": f"model.layers.{{}}.feed_forward.shared_expert.{part}"
        for part in ("gate_proj", "up_proj", "down_proj")
    },
}
HF_IGNORED = ("rotary_emb.inv_freq",)
# What is counted with before `Config` could be checked, field by field.
HF_WHOLE_NUMBERS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_local_experts",
    "num_experts_per_tok",
    "interleave_moe_layer_step",
    "no_rope_layer_interval",
)
# What a config.json that leaves a key out stands for.
HF_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size_mlp": 16384,
    "num_local_experts": 16,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "no_rope_layer_interval": 4,
    "attention_chunk_size": 8192,
    "use_qk_norm": True,
    "attn_temperature_tuning": True,
    "attn_scale": 0.1,
    "floor_scale": 8192,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
}


def config_from_hf(values: dict[str, Any]) -> Config:
    """Read a ``config.json``. `ValueError` names what this family cannot do."""
    values = {**HF_DEFAULTS, **(values["text_config"] if values["model_type"] == "llama4" else values)}
    rope = {**(values.get("rope_scaling") or {}), **(values.get("rope_parameters") or {})}
    for name in HF_WHOLE_NUMBERS:
        if type(values[name]) is not int:
            raise ValueError(f"{name} must be a whole number, not {values[name]!r:.50}")
    heads, width, layers = values["num_attention_heads"], values["hidden_size"], values["num_hidden_layers"]
    if (activation := values.get("hidden_act", "silu")) != "silu":
        raise ValueError(f"the activation {activation!r} is not one of this family (silu)")
    mixture_layers, rotary = _numbers(values, "moe_layers"), _numbers(values, "no_rope_layers") or None
    if rotary is not None and len(rotary) < layers:
        raise ValueError(f"no_rope_layers speaks of {len(rotary)} layers and there are {layers}")
    config = Config(
        vocab_size=values["vocab_size"],
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=values["num_key_value_heads"] or heads,
        head_width=values["head_dim"] or width // heads,
        hidden_width=values["intermediate_size"],
        dense_hidden_width=values["intermediate_size_mlp"],
        experts=values["num_local_experts"],
        experts_per_token=values["num_experts_per_tok"],
        mixture_every=values["interleave_moe_layer_step"],
        mixture_layers=None if mixture_layers is None else tuple(layer for layer in mixture_layers if layer < layers),
        position_free_every=values["no_rope_layer_interval"],
        # Their name says the opposite of what it holds: 1 stands for a layer with rotary positions.
        position_free_layers=None if rotary is None else tuple(layer for layer, turned in enumerate(rotary[:layers]) if not turned),
        chunk=values["attention_chunk_size"],
        query_key_norm=values["use_qk_norm"],
        temperature_scale=values["attn_scale"] if values["attn_temperature_tuning"] else 0.0,  # folders of 2025 say 4 for true
        temperature_floor=values["floor_scale"],
        attention_bias=values.get("attention_bias") or False,
        context_length=values["max_position_embeddings"],
        norm_epsilon=values["rms_norm_eps"],
        tied=values.get("tie_word_embeddings") or False,
        rope_theta=float(rope.get("rope_theta") or values.get("rope_theta") or 500_000.0),
        rope_scaling=_scaling_from_hf(rope),
    )
    if kinds := values.get("layer_types"):
        for layer, kind in enumerate(kinds[:layers]):
            if kind != ("chunked_attention" if config.has_positions(layer) else "full_attention"):
                raise ValueError(f"layer_types calls layer {layer} {kind!r}: layers with rotary positions see chunks here, the others all")
    return config


def _numbers(values: dict[str, Any], name: str) -> list[int] | None:
    found: list[int] | None = values.get(name)
    if found is not None and not (isinstance(found, list) and all(isinstance(number, int) for number in found)):
        raise ValueError(f"{name} must be a list of whole numbers, not {found!r:.50}")
    return found


def _scaling_from_hf(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"the rotary scaling {kind!r} is not supported (llama3)")
    return RopeScaling(
        float(rope["factor"]),
        float(rope["low_freq_factor"]),
        float(rope["high_freq_factor"]),
        int(rope["original_max_position_embeddings"]),
    )


def config_to_hf(config: Config) -> dict[str, Any] | None:
    """Write a ``config.json``; None without chunks, which transformers does not run."""
    if config.chunk is None:
        return None
    values: dict[str, Any] = {
        "architectures": ["Llama4ForCausalLM"],
        "model_type": "llama4_text",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden_width,
        "intermediate_size_mlp": config.dense_hidden_width,
        "num_local_experts": config.experts,
        "num_experts_per_tok": config.experts_per_token,
        "interleave_moe_layer_step": config.mixture_every,
        "moe_layers": [layer for layer in range(config.layers) if config.has_experts(layer)],
        "no_rope_layer_interval": config.position_free_every,
        "no_rope_layers": [int(config.has_positions(layer)) for layer in range(config.layers)],
        "attention_chunk_size": config.chunk,
        "use_qk_norm": config.query_key_norm,
        "attn_temperature_tuning": config.temperature_scale > 0,
        "attn_scale": config.temperature_scale,
        "floor_scale": config.temperature_floor,
        "attention_bias": config.attention_bias,
        "attention_dropout": 0.0,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "rope_theta": config.rope_theta,
        "hidden_act": "silu",
    }
    if (scaling := config.rope_scaling) is not None:
        values["rope_scaling"] = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_frequency_factor,
            "high_freq_factor": scaling.high_frequency_factor,
            "original_max_position_embeddings": scaling.original_context,
        }
    return values


def weights_from_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The text part where there is more, under the names it has alone; a tied head written twice is left out."""
    if any(name.startswith(HF_TEXT) for name in tensors):
        tensors = {name.removeprefix(HF_TEXT): tensor for name, tensor in tensors.items() if not name.startswith(HF_PICTURES)}
    return {name: tensor for name, tensor in tensors.items() if not (config.tied and name == "lm_head.weight")}


def weights_to_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:  # noqa: ARG001
    """Nothing is stored differently but the names."""
    return tensors
