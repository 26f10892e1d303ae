"""The shape of a family that has about a wanted number of weights.

Takes: how a family makes a config of a width and a number of layers.
Gives: the config that comes nearest.
Does not know: families, what the numbers in between are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Sized(Protocol):
    """A config that can say how many weights its model has."""

    def num_parameters(self) -> int:
        """Number of weights."""


C = TypeVar("C", bound=Sized)

WIDTHS = (32, 64, 96, *range(128, 8192 + 1, 64))  # heads of 64 numbers, where there is room for two


def nearest(
    shape: Callable[[int, int], C], num_parameters: float, *, fewest: int = 2, widths_a_layer: float = 64, widths: Sequence[int] = WIDTHS
) -> C:
    """The config ``shape(width, layers)`` nearest to `num_parameters`, with at least `fewest` and about width / `widths_a_layer` layers.

    A layer costs the same wherever it stands, so two shapes of each width tell the size of all.
    `ValueError` where nothing comes within a factor of two.
    """
    best: tuple[float, float, C | None] = (math.inf, 0, None)
    for width in widths:
        first, second = (float(shape(width, layers).num_parameters()) for layers in (1, 2))
        if first > num_parameters and best[2] is not None:  # and so has every wider shape
            break
        layers = max(fewest, 1 + round((num_parameters - first) / (second - first)))
        size = first + (layers - 1) * (second - first)
        # A size twice as wrong weighs as much as seven times too many or too few layers for the width.
        wrong = abs(math.log(size / num_parameters)) + 0.36 * abs(math.log(layers / max(fewest, width / widths_a_layer)))
        best = min(best, (wrong, size, shape(width, layers)), key=lambda found: found[0])
    _, size, config = best
    if config is None or not num_parameters / 2 <= size <= num_parameters * 2:
        raise ValueError(f"no shape has about {num_parameters:,.0f} weights")
    return config
