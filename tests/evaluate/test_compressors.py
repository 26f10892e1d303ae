"""What compressors need for a text they have, or have not, seen before."""

from __future__ import annotations

import doctest
import gzip
import lzma
from typing import Literal

import numpy as np
import pytest

from llamarium.evaluate import compressors
from llamarium.evaluate.compressors import compressed_bits_per_byte

Method = Literal["gzip", "xz"]
every_method = pytest.mark.parametrize("method", ["gzip", "xz"])


def noise(num_bytes: int, *, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(num_bytes)


@every_method
def test_noise_needs_eight_bits(method: Method) -> None:
    for train in (b"", noise(50_000, seed=1)):
        assert compressed_bits_per_byte(train, noise(50_000), method=method) == pytest.approx(8, rel=0.01)


@every_method
def test_letters_of_equal_chance_need_a_little_more_than_their_entropy(method: Method) -> None:
    letters = bytes(b"abcd"[byte % 4] for byte in noise(50_000))
    assert 2.0 <= compressed_bits_per_byte(b"", letters, method=method) < 2.5


@every_method
def test_what_was_read_just_before_is_nearly_free(method: Method) -> None:
    assert compressed_bits_per_byte(noise(10_000), noise(10_000), method=method) < 0.2


def test_xz_sees_all_of_train_and_gzip_only_its_window() -> None:
    valid = noise(10_000)
    train = valid + noise(100_000, seed=1)
    assert compressed_bits_per_byte(train, valid, method="xz") < 1
    assert compressed_bits_per_byte(train, valid, method="gzip") > 7.9


def test_the_dictionary_is_what_xz_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressors, "XZ_DICTIONARY", (1 << 12, 1 << 14))
    valid = noise(10_000)
    assert compressed_bits_per_byte(valid + noise(100_000, seed=1), valid, method="xz") > 7.9


def test_it_is_what_the_files_weigh() -> None:
    text = b" ".join(b"the of and to a in that is was he for it with as his on".split()[byte % 16] for byte in noise(20_000))
    train, valid = text[:40_000], text[40_000:]
    files = {
        "gzip": [len(gzip.compress(data, 9)) for data in (train, train + valid)],
        "xz": [len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) for data in (train, train + valid)],
    }
    assert compressed_bits_per_byte(train, valid, method="gzip") == 8 * (files["gzip"][1] - files["gzip"][0]) / len(valid)
    assert compressed_bits_per_byte(train, valid, method="xz") == 8 * (files["xz"][1] - files["xz"][0]) / len(valid)


def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="no bytes"):
        compressed_bits_per_byte(b"abc", b"", method="xz")
    with pytest.raises(ValueError, match="zip'; known"):
        compressed_bits_per_byte(b"abc", b"abc", method="zip")  # type: ignore[arg-type]  # what is being tested


def test_doctests() -> None:
    results = doctest.testmod(compressors)
    assert results.attempted
    assert not results.failed
