"""LLaMA 1, 2, 3, 3.1, 3.2 and 3.3, and by configuration its relatives: SmolLM2, TinyLlama, Mistral, Qwen2 / 2.5 / 3, GLM-4.

Takes: token ids (B, T) and a `Context`.
Gives: logits (B, T, V); the names under which Hugging Face and GGUF know the same weights.
Does not know: files, caches, documents, devices.

Touvron et al. 2023 (arXiv:2302.13971, 2307.09288), Grattafiori et al. 2024 (arXiv:2407.21783).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamarium.models import model
from llamarium.models.model import Context
from llamarium.models.sizing import nearest
from llamarium.ops.reference import rotary_table, rotate


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for longer texts than the model was first trained on."""

    kind: Literal["linear", "llama3"]
    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf or self.original_context <= 0:
            raise ValueError(f"rotary scaling needs a factor and a context above 0, not {self.factor} and {self.original_context}")
        if not 0 < self.low_frequency_factor < self.high_frequency_factor < math.inf:
            raise ValueError(
                f"rotary scaling needs a low factor below the high one, not {self.low_frequency_factor} and {self.high_frequency_factor}"
            )


@dataclass(frozen=True)
class Config:
    """Shape of one model. `kv_heads`, `head_width` and `rope_width` follow from the others where they are 0."""

    vocab_size: int
    width: int = 384
    layers: int = 6
    heads: int = 6
    kv_heads: int = 0
    head_width: int = 0
    hidden_width: int = 0
    context_length: int = 2048
    norm_epsilon: float = 1e-5
    tied: bool = True
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    rope_width: int = 0  # numbers of each head that are turned; fewer than head_width: partial rotary
    rope_interleaved: bool = False  # GLM
    window: int | None = None  # Mistral: a position sees this many, itself included
    window_from: int = 0  # Qwen2: the first layer with a window
    qkv_bias: bool = False  # Qwen2
    output_bias: bool = False
    mlp_bias: bool = False
    query_key_norm: bool = False  # Qwen3
    sandwich_norm: bool = False  # GLM-4: a norm after attention and MLP, too

    def __post_init__(self) -> None:
        derived = {
            "kv_heads": self.kv_heads or self.heads,
            "head_width": self.head_width or self.width // self.heads,
            # 8/3 keeps the three matrices of SwiGLU as large as the two of a 4x MLP (Shazeer 2020).
            "hidden_width": self.hidden_width or 32 * round(self.width * 8 / 3 / 32),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "rope_width", self.rope_width or self.head_width)
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        if self.rope_width % 2 or self.rope_width > self.head_width:
            raise ValueError(f"rope_width {self.rope_width} must be even and at most the head width {self.head_width}")
        for name, value in asdict(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "window_from" and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, not {value}")

    @classmethod
    def sized(cls, num_parameters: float, *, vocab_size: int, context_length: int) -> Config:
        """The shape nearest to `num_parameters` (embeddings counted), with about as many layers as width / 64."""

        def shape(width: int, layers: int) -> Config:
            heads = width // (64 if width >= 128 else 32)
            kv_heads = heads // 4 if width >= 1024 and heads % 4 == 0 else heads
            return cls(vocab_size=vocab_size, context_length=context_length, width=width, layers=layers, heads=heads, kv_heads=kv_heads)

        return nearest(shape, num_parameters)

    def num_parameters(self) -> int:
        """Number of weights of a model of this shape."""
        with torch.device("meta"):
            return Model(self).num_parameters()


class Attention(nn.Module):
    """Grouped-query self-attention with rotary positions."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.layer, self.config = layer, config
        D, H, G = config.head_width, config.heads, config.kv_heads
        self.window = config.window if layer >= config.window_from else None
        self.q_proj = nn.Linear(config.width, H * D, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.width, G * D, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.width, G * D, bias=config.qkv_bias)
        self.o_proj = nn.Linear(H * D, config.width, bias=config.output_bias)
        if config.query_key_norm:
            self.q_norm = nn.RMSNorm(D, eps=config.norm_epsilon)
            self.k_norm = nn.RMSNorm(D, eps=config.norm_epsilon)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], context: Context) -> Tensor:
        heads = (*x_BTD.shape[:2], -1, self.config.head_width)
        q, k, v = (project(x_BTD).view(heads) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.config.query_key_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = (rotate(x, rotary, interleaved=self.config.rope_interleaved) for x in (q, k))
        y_BTHD = context.attend(self.layer, q, k, v, window=self.window)
        return self.o_proj(y_BTHD.flatten(-2))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)). Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.hidden_width, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.width, config.hidden_width, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.hidden_width, config.width, bias=config.mlp_bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Norm, attention, add; norm, MLP, add."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()

        def norm(wanted: bool = True) -> nn.Module:
            return nn.RMSNorm(config.width, eps=config.norm_epsilon) if wanted else nn.Identity()

        self.attention_norm = norm()
        self.attention = Attention(config, layer)
        self.attention_post_norm = norm(config.sandwich_norm)
        self.mlp_norm = norm()
        self.mlp = SwiGLU(config)
        self.mlp_post_norm = norm(config.sandwich_norm)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], context: Context) -> Tensor:
        x_BTD = x_BTD + self.attention_post_norm(self.attention(self.attention_norm(x_BTD), rotary, context))
        return x_BTD + self.mlp_post_norm(self.mlp(self.mlp_norm(x_BTD)))  # type: ignore[no-any-return]


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
                adds = name.endswith(("o_proj.weight", "down_proj.weight"))
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
    """Rotary frequencies θ^(-2i/R) of each pair, stretched where the config says so: (R / 2,) float32."""
    places = torch.arange(0, config.rope_width, 2, device=device, dtype=torch.float32)
    plain: Tensor = 1.0 / (config.rope_theta ** (places / config.rope_width))
    scaling = config.rope_scaling
    if scaling is None:
        return plain
    if scaling.kind == "linear":
        return plain / scaling.factor
    # LLaMA 3.1: waves longer than the first context are stretched whole, short ones not at all, a ramp between.
    turns = scaling.original_context * plain / (2 * math.pi)
    ramp = (turns - scaling.low_frequency_factor) / (scaling.high_frequency_factor - scaling.low_frequency_factor)
    ramp = ramp.clamp(0, 1)
    return (1 - ramp) * plain / scaling.factor + ramp * plain


TINY = Config(vocab_size=64, width=32, layers=2, heads=4, kv_heads=2, hidden_width=48, context_length=64)


# --- Foreign names: Hugging Face -------------------------------------------------------------------------------------

HF_MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "glm", "glm4")
HF_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "glm": "GlmForCausalLM",
    "glm4": "Glm4ForCausalLM",
}
HF_NAMES = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "blocks.{}.attention_norm": "model.layers.{}.input_layernorm",
    "blocks.{}.attention_post_norm": "model.layers.{}.post_self_attn_layernorm",
    "blocks.{}.mlp_norm": "model.layers.{}.post_attention_layernorm",
    "blocks.{}.mlp_post_norm": "model.layers.{}.post_mlp_layernorm",
    **{f"blocks.{{}}.attention.{part}": f"model.layers.{{}}.self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{f"blocks.{{}}.attention.{part}": f"model.layers.{{}}.self_attn.{part}" for part in ("q_norm", "k_norm")},
    **{f"blocks.{{}}.mlp.{part}": f"model.layers.{{}}.mlp.{part}" for part in ("gate_proj", "up_proj", "down_proj")},
}
HF_IGNORED = ("rotary_emb.inv_freq",)
# What a config.json that leaves a key out stands for, where the relatives differ.
_QWEN = {"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096, "max_window_layers": 28}
_GLM = {
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1.5625e-7,
    "attention_bias": True,
    "partial_rotary_factor": 0.5,
}
HF_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096},
    "qwen2": _QWEN,
    "qwen3": {**_QWEN, "head_dim": 128},
    "glm": _GLM,
    "glm4": _GLM,
}


def config_from_hf(values: dict[str, Any]) -> Config:
    """Read a ``config.json``. `ValueError` names what this family cannot do."""
    kind = values["model_type"]
    values = {**HF_DEFAULTS[kind], **values}
    rope = {**(values.get("rope_scaling") or {}), **(values.get("rope_parameters") or {})}
    heads, width = values["num_attention_heads"], values["hidden_size"]
    head_width = values.get("head_dim") or width // heads
    partial = rope.get("partial_rotary_factor") or values.get("partial_rotary_factor") if kind in ("glm", "glm4") else None
    if (activation := values.get("hidden_act", "silu")) != "silu":
        raise ValueError(f"the activation {activation!r} is not one of this family (silu)")
    window, window_from = _window_from_hf(values)
    bias = values.get("attention_bias") or False
    return Config(
        vocab_size=values["vocab_size"],
        width=width,
        layers=values["num_hidden_layers"],
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_width=head_width,
        hidden_width=values["intermediate_size"],
        context_length=values.get("max_position_embeddings", 2048),
        norm_epsilon=values.get("rms_norm_eps", 1e-6),
        tied=values.get("tie_word_embeddings") or False,
        rope_theta=float(rope.get("rope_theta") or values.get("rope_theta") or 10_000.0),
        rope_scaling=_scaling_from_hf(rope),
        rope_width=int(head_width * (partial or 1.0)),
        rope_interleaved=kind in ("glm", "glm4"),
        window=window,
        window_from=window_from,
        qkv_bias=kind == "qwen2" or (kind != "mistral" and bias),
        output_bias=kind in ("llama", "qwen3") and bias,
        mlp_bias=(kind == "llama" and values.get("mlp_bias")) or False,
        query_key_norm=kind == "qwen3",
        sandwich_norm=kind == "glm4",
    )


def _window_from_hf(values: dict[str, Any]) -> tuple[int | None, int]:
    """Size of the sliding window, and the first layer that has it."""
    kind, window = values["model_type"], values.get("sliding_window")
    if kind == "mistral":
        return window, 0
    if kind not in ("qwen2", "qwen3") or window is None or not values.get("use_sliding_window"):
        return None, 0
    if not (layers := values.get("layer_types")):
        return window, values["max_window_layers"]
    first = layers.index("sliding_attention") if "sliding_attention" in layers else len(layers)
    if set(layers[first:]) - {"sliding_attention"}:
        raise ValueError("layers with a sliding window must be the last ones")
    return window, first


def _scaling_from_hf(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling("linear", float(rope["factor"]))
    if kind == "llama3":
        return RopeScaling(
            "llama3",
            float(rope["factor"]),
            float(rope["low_freq_factor"]),
            float(rope["high_freq_factor"]),
            int(rope["original_max_position_embeddings"]),
        )
    raise ValueError(f"the rotary scaling {kind!r} is not supported (linear, llama3)")


def hf_model_type(config: Config) -> str:
    """The Hugging Face model type that can hold this shape."""
    if config.rope_interleaved:
        return "glm4" if config.sandwich_norm else "glm"
    if config.query_key_norm:
        return "qwen3"
    if config.qkv_bias and not config.output_bias:
        return "qwen2"
    return "llama" if config.window is None else "mistral"


def config_to_hf(config: Config) -> dict[str, Any] | None:
    """Write a ``config.json``; None for a shape that no relative has."""
    kind = hf_model_type(config)
    values: dict[str, Any] = {
        "architectures": [HF_ARCHITECTURES[kind]],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden_width,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "rope_theta": config.rope_theta,
        "hidden_act": "silu",
        "attention_bias": config.qkv_bias,
        "attention_dropout": 0.0,
    }
    if kind == "llama":
        values["mlp_bias"] = config.mlp_bias
    if kind in ("glm", "glm4"):
        values["partial_rotary_factor"] = config.rope_width / config.head_width
    if kind in ("qwen2", "qwen3"):
        values |= {"use_sliding_window": config.window is not None, "max_window_layers": config.window_from}
    if kind in ("mistral", "qwen2", "qwen3"):
        values["sliding_window"] = config.window
    if (scaling := config.rope_scaling) is not None:
        values["rope_scaling"] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            values["rope_scaling"] |= {
                "low_freq_factor": scaling.low_frequency_factor,
                "high_freq_factor": scaling.high_frequency_factor,
                "original_max_position_embeddings": scaling.original_context,
            }
    return values if config_from_hf(values) == config else None


def weights_from_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Undo what a relative stores differently; the names stay Hugging Face's. GLM keeps gate and up in one matrix."""
    result = {}
    for name, tensor in tensors.items():
        if name.endswith("mlp.gate_up_proj.weight") and tensor.ndim == 2 and len(tensor) % 2 == 0:
            gate, up = tensor.chunk(2, dim=0)
            result[name.replace("gate_up_proj", "gate_proj")] = gate.contiguous()
            result[name.replace("gate_up_proj", "up_proj")] = up.contiguous()
        elif not (config.tied and name == "lm_head.weight"):
            result[name] = tensor
    return result


def weights_to_hf(tensors: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The inverse of `weights_from_hf`."""
    if hf_model_type(config) not in ("glm", "glm4"):
        return tensors
    result = {}
    for name, tensor in tensors.items():
        if name.endswith("mlp.gate_proj.weight"):
            up = tensors[name.replace("gate_proj", "up_proj")]
            result[name.replace("gate_proj", "gate_up_proj")] = torch.cat((tensor, up))
        elif not name.endswith("mlp.up_proj.weight"):
            result[name] = tensor
    return result


# --- Foreign names: GGUF ---------------------------------------------------------------------------------------------

GGUF_ARCHITECTURES = ("llama", "qwen2", "qwen3")
GGUF_NAMES = {
    "embed": "token_embd",
    "norm": "output_norm",
    "head": "output",
    "blocks.{}.attention_norm": "blk.{}.attn_norm",
    "blocks.{}.mlp_norm": "blk.{}.ffn_norm",
    "blocks.{}.attention.q_proj": "blk.{}.attn_q",
    "blocks.{}.attention.k_proj": "blk.{}.attn_k",
    "blocks.{}.attention.v_proj": "blk.{}.attn_v",
    "blocks.{}.attention.o_proj": "blk.{}.attn_output",
    "blocks.{}.attention.q_norm": "blk.{}.attn_q_norm",
    "blocks.{}.attention.k_norm": "blk.{}.attn_k_norm",
    "blocks.{}.mlp.gate_proj": "blk.{}.ffn_gate",
    "blocks.{}.mlp.up_proj": "blk.{}.ffn_up",
    "blocks.{}.mlp.down_proj": "blk.{}.ffn_down",
}
GGUF_IGNORED = ("rope_freqs.weight",)


def config_from_gguf(metadata: dict[str, Any], shapes: dict[str, tuple[int, ...]], rope_factors: list[float] | None) -> Config:
    """Read GGUF metadata. `shapes` are those of the file's tensors, `rope_factors` its ``rope_freqs.weight``, if any."""
    kind = metadata["general.architecture"]

    def get(key: str, default: Any = None) -> Any:
        value = metadata.get(f"{kind}.{key}", default)
        if value is None:
            raise KeyError(f"{kind}.{key}")
        return value

    heads, width = get("attention.head_count"), get("embedding_length")
    head_width = get("attention.key_length", width // heads)
    scaling = None
    if get("rope.scaling.type", "none") not in ("none", "linear"):
        raise ValueError(f"the rotary scaling {get('rope.scaling.type')!r} is not supported (linear, llama3)")
    if get("rope.scaling.type", "none") == "linear":
        scaling = RopeScaling("linear", float(get("rope.scaling.factor")))
    config = Config(
        vocab_size=shapes["token_embd.weight"][0],
        width=width,
        layers=get("block_count"),
        heads=heads,
        kv_heads=get("attention.head_count_kv", heads),
        head_width=head_width,
        hidden_width=get("feed_forward_length"),
        context_length=get("context_length", 2048),
        norm_epsilon=get("attention.layer_norm_rms_epsilon", 1e-5),
        tied="output.weight" not in shapes,
        rope_theta=float(get("rope.freq_base", 10_000.0)),
        rope_scaling=scaling,
        rope_width=get("rope.dimension_count", head_width),
        window=metadata.get(f"{kind}.attention.sliding_window"),
        qkv_bias="blk.0.attn_q.bias" in shapes,
        output_bias="blk.0.attn_output.bias" in shapes,
        mlp_bias="blk.0.ffn_gate.bias" in shapes,
        query_key_norm="blk.0.attn_q_norm.weight" in shapes,
    )
    return config if rope_factors is None else replace(config, rope_scaling=_scaling_from_factors(config, rope_factors))


def _scaling_from_factors(config: Config, factors: list[float]) -> RopeScaling:
    """GGUF keeps LLaMA 3.1's scaling as one divisor a frequency; find the settings that give these divisors."""
    scaling = RopeScaling("llama3", float(max(factors)))
    expected = frequencies(replace(config, rope_scaling=None)) / frequencies(replace(config, rope_scaling=scaling))
    if len(factors) != len(expected) or not torch.allclose(expected, torch.tensor(factors), rtol=1e-3):
        raise ValueError("its rope_freqs are not those of LLaMA 3.1")
    return scaling


def weights_from_gguf(tensors: dict[str, Tensor], config: Config, metadata: dict[str, Any]) -> dict[str, Tensor]:
    """Undo GGUF's own order; the names stay GGUF's. The architecture "llama" stores rotary pairs side by side."""
    if metadata["general.architecture"] != "llama":
        return tensors
    result = dict(tensors)
    for name, tensor in tensors.items():
        if ".attn_q." in name or ".attn_k." in name:
            D = config.head_width
            pairs = tensor.reshape(-1, D // 2, 2, *tensor.shape[1:])
            result[name] = pairs.transpose(1, 2).reshape(tensor.shape).contiguous()
    return result
