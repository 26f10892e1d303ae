from __future__ import annotations

import subprocess
import sys

import gguf
import numpy as np
import pytest

from llamarium.ground.errors import NotFoundError
from llamarium.ops import formats
from llamarium.ops.formats import bf16, q4_1


def test_finds_a_format_by_its_number() -> None:
    assert formats.by_type(3) is q4_1
    assert formats.by_type(30) is bf16


def test_an_unknown_number_names_the_known_formats() -> None:
    with pytest.raises(NotFoundError, match="number 12") as caught:
        formats.by_type(12)
    assert "q4_0" in caught.value.hint


def test_needs_no_torch() -> None:
    program = "import sys; from llamarium.ops import formats; formats.by_type(8); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_bf16_keeps_what_is_no_number() -> None:
    """Rounding adds to the bits: without care the NaN with the largest payload would become zero, and a small one infinite."""
    bits = np.array([[0x7FFFFFFF], [0xFFFFFFFF], [0x7F800001], [0x7FC00000], [0x7F800000], [0xFF800000]], np.uint32)
    values = bits.view(np.float32)
    expected = gguf.quantize(values, gguf.GGMLQuantizationType.BF16)
    np.testing.assert_array_equal(bf16.pack(values), expected)
    np.testing.assert_array_equal(bf16.unpack(bf16.pack(values)), values)
