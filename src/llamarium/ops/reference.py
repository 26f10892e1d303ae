"""The arithmetic of the models in plain PyTorch: what every kernel must agree with.

Takes: tensors. Gives: tensors.
Does not know: models, caches or documents.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 256  # positions, up to which all scores of a row are made at once on a CPU


def attention(
    q_BTHD: Tensor,
    k_BSGD: Tensor,
    v_BSGD: Tensor,
    *,
    scale: float | None = None,
    causal: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention, softmax(q·kᵀ·scale + mask)·v: (B, T, H, D). Vaswani et al. 2017, eq. 1.

    Each group of H/G query heads shares a key/value head (grouped queries, Ainslie et al. 2023).
    `causal` needs T = S; `mask` broadcasts to (B, H, T, S), bool (True: may see) or added to the scores.
    """
    T, S = q_BTHD.shape[1], k_BSGD.shape[1]
    if q_BTHD.device.type == "cpu" and 1 < T <= SHORT and S <= SHORT:
        return _short_attention(q_BTHD, k_BSGD, v_BSGD, scale=scale, causal=causal, mask=mask)
    q_BHTD, k_BGSD, v_BGSD = q_BTHD.transpose(1, 2), k_BSGD.transpose(1, 2), v_BSGD.transpose(1, 2)
    B, H = q_BHTD.shape[:2]
    G = k_BGSD.shape[1]
    if T == 1 and mask is None and H != G:
        # One query position: the heads of a group differ only in their query, so they can stand in as positions.
        y = F.scaled_dot_product_attention(q_BHTD.reshape(B, G, H // G, -1), k_BGSD, v_BGSD, scale=scale)
        return y.reshape(B, 1, H, -1)
    if H != G:
        k_BGSD, v_BGSD = (x.repeat_interleave(H // G, dim=1) for x in (k_BGSD, v_BGSD))
    y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BGSD, v_BGSD, attn_mask=mask, is_causal=causal and T > 1, scale=scale)
    return y_BHTD.transpose(1, 2)


def _short_attention(q_BTHD: Tensor, k_BSGD: Tensor, v_BSGD: Tensor, *, scale: float | None, causal: bool, mask: Tensor | None) -> Tensor:
    """The formula as it stands: two batched products and a softmax. On a CPU, short texts are three times faster so, forward and back.

    The heads of a group are stacked as positions: keys and values need no copies, and the products are larger.
    """
    B, T, H, D = q_BTHD.shape
    S, G = k_BSGD.shape[1:3]
    R = H // G
    q = q_BTHD * (D**-0.5 if scale is None else scale)
    q = q.view(B, T, G, R, D).permute(0, 2, 3, 1, 4).reshape(B * G, R * T, D)
    k = k_BSGD.permute(0, 2, 3, 1).reshape(B * G, D, S)
    v = v_BSGD.transpose(1, 2).reshape(B * G, S, -1)
    scores = torch.bmm(q, k).view(B, G, R, T, S)
    if causal:
        mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril()
    elif mask is not None and mask.ndim == 4:
        mask = mask[:, :, None] if mask.shape[1] == 1 else mask.view(-1, G, R, *mask.shape[2:])
    elif mask is not None and mask.ndim == 3:
        mask = mask.view(G, R, *mask.shape[1:]) if mask.shape[0] == H else mask[:, None]
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    working = torch.float64 if scores.dtype == torch.float64 else torch.float32
    weights = torch.softmax(scores, -1, dtype=working).to(v.dtype)
    y = torch.bmm(weights.view(B * G, R * T, S), v)
    return y.view(B, G, R, T, -1).permute(0, 3, 1, 2, 4).reshape(B, T, H, -1)


def visible(queries_BT: Tensor, keys_BS: Tensor, *, causal: bool = True, window: int | None = None, chunk: int | None = None) -> Tensor:
    """Which key positions each query position may see, by their positions: bool (B, 1, T, S)."""
    distance = queries_BT[:, :, None] - keys_BS[:, None, :]
    seen = torch.ones_like(distance, dtype=torch.bool)
    if causal:
        seen &= distance >= 0
    if window is not None:
        seen &= distance < window
    if chunk is not None:
        seen &= (queries_BT // chunk)[:, :, None] == (keys_BS // chunk)[:, None, :]
    return seen[:, None]


def rotary_table(positions_BT: Tensor, frequencies_R: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position x frequency: two (B, T, 1, R) in float32. Su et al. 2021, eq. 34."""
    angle = positions_BT[:, :, None, None].float() * frequencies_R
    return angle.cos(), angle.sin()


def rotate(x_BTHD: Tensor, table: tuple[Tensor, Tensor], *, interleaved: bool = False) -> Tensor:
    """Turn the first 2R numbers of each head by the rotary angles; the rest pass unchanged (partial rotary).

    Number i is paired with i+R (half-split, as Hugging Face stores LLaMA) or 2i with 2i+1 (interleaved, GLM and Meta).
    """
    cos, sin = (part.to(x_BTHD.dtype) for part in table)
    R = cos.shape[-1]
    turned, rest = x_BTHD[..., : 2 * R], x_BTHD[..., 2 * R :]
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        y = torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
    else:
        a, b = turned[..., :R], turned[..., R:]
        y = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return torch.cat((y, rest), dim=-1) if rest.shape[-1] else y
