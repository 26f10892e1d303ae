"""Safetensors files that lie are refused before anything is claimed for them; good ones come back as they were written."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llamarium.checkpoint import safetensors_file
from llamarium.checkpoint.safetensors_file import read_header, read_safetensors
from llamarium.ground.errors import BadFileError, NotFoundError


def file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], start: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


GOOD = {"t": entry([2, 2], 0, 16)}

# what is wrong -> the file, the byte to name (None: any), and words of the sentence
MALFORMED: dict[str, tuple[bytes, int | None, str]] = {
    "empty": (b"", 0, "not a safetensors file"),
    "seven bytes": (b"1234567", 0, "not a safetensors file"),
    "header longer than the file": (file(GOOD, bytes(16), 10_000), 0, "claims a header of 10,000 bytes"),
    "header of 2**63": (file(GOOD, bytes(16), 2**63), 0, "claims a header of 9,223,372,036,854,775,808"),
    "header cut": (file(GOOD)[:30], 0, "only 22 are left"),
    "not JSON": (file(b'{"t": nothing}'), 14, "not valid JSON"),
    "not UTF-8": (file(b'{"t\xff": 1}'), None, "not valid JSON"),
    "JSON in UTF-16": (file(json.dumps(GOOD).encode("utf-16"), bytes(16)), None, "not valid JSON"),
    "a list": (file([GOOD], bytes(16)), 8, "not a JSON object"),
    "lists 100,000 deep": (file(b"[" * 100_000 + b"]" * 100_000), 8, "not valid JSON"),
    "objects 100,000 deep": (file(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), 8, "not valid JSON"),
    "a number of 10,000 digits": (file(b'{"t":' + b"9" * 10_000 + b"}"), 8, "not valid JSON"),
    "the same name twice": (file(b'{"t":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"t":1}'), 8, "same name twice"),
    "metadata that are numbers": (file({"__metadata__": {"a": 1}}), 8, "not texts"),
    "no shape": (file({"t": {"dtype": "F32", "data_offsets": [0, 0]}}), 9, "without dtype, shape"),
    "an entry that is text": (file({"t": "F32"}), 9, "without dtype, shape"),
    "unknown type": (file({"t": entry([1], 0, 4, "F128")}, bytes(4)), 9, "'F128'"),
    "a type that is a list": (file({"t": entry([1], 0, 4, [])}, bytes(4)), 9, "of the type"),
    "negative shape": (file({"t": entry([-1, -4], 0, 16)}, bytes(16)), 9, "with the shape"),
    "a shape of fractions": (file({"t": entry([2.0, 2], 0, 16)}, bytes(16)), 9, "with the shape"),
    "a shape of truth values": (file({"t": entry([True], 0, 4)}, bytes(4)), 9, "with the shape"),
    "a million dimensions": (file({"t": entry([1] * 1_000_000, 0, 4)}, bytes(4)), 9, "with the shape"),
    "three offsets": (file({"t": {**entry([1], 0, 4), "data_offsets": [0, 4, 4]}}, bytes(4)), 9, "at [0, 4, 4]"),
    "offsets backwards": (file({"t": entry([0], 16, 0)}, bytes(16)), 9, "in -16 bytes"),
    "less than the shape needs": (file({"t": entry([2, 3], 0, 16)}, bytes(16)), 9, "need 24"),
    "a shape whose product overflows": (file({"t": entry([2**62, 4], 0, 0)}), 9, "its shape and type need"),
    "beyond the file": (file({"t": entry([2, 2], 0, 16)}, bytes(12)), None, "has 12 bytes of data"),
    "far beyond the file": (file({"t": entry([2**60], 0, 2**62)}, bytes(12)), None, "accounts for 4,611,686,018,427,387,904"),
    "overlap": (file({"t": entry([4], 0, 16), "u": entry([4], 8, 24)}, bytes(24)), 71, "'u' begin at 8"),
    "the same bytes twice": (file({"t": entry([4], 0, 16), "u": entry([4], 0, 16)}, bytes(16)), 71, "'u' begin at 0"),
    "a gap": (file({"t": entry([4], 0, 16), "u": entry([4], 20, 36)}, bytes(36)), 71, "'u' begin at 20"),
    "bytes that belong to nothing": (file(GOOD, bytes(17)), None, "has 17 bytes of data"),
    "a name that is half a character": (file(b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)), None, ""),
}


@pytest.mark.parametrize("wrong", MALFORMED)
def test_a_malformed_file_is_refused_at_once(wrong: str, tmp_path: Path) -> None:
    content, offset, words = MALFORMED[wrong]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(BadFileError) as caught:
        read_safetensors(path)
    assert time.perf_counter() - start < 2
    assert words in caught.value.reason
    assert caught.value.offset == offset or offset is None
    assert caught.value.path == str(path)


def test_the_files_above_are_good_but_for_one_thing(tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    header = {"u": entry([0, 7], 16, 16), "t": entry([2, 2], 0, 16), "s": entry([], 16, 18, "BF16"), "__metadata__": {"a": "b"}}
    path.write_bytes(file(header, np.arange(4, dtype="<f4").tobytes() + b"\x80\x3f"))
    found = read_safetensors(path)
    assert found["t"].tolist() == [[0, 1], [2, 3]]
    assert (found["u"].shape, found["s"].item()) == ((0, 7), 1)
    assert read_header(path) == header


@pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "control"])
def test_a_header_of_nothing_but_signs_is_refused_before_it_is_parsed(
    bounded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each empty list of two signs becomes an object of 56 bytes."""
    parsed: list[Any] = []

    def parse(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        parsed.append(pairs)
        return dict(pairs)

    monkeypatch.setattr(safetensors_file, "MAX_SIGNS", 1000 if bounded else 1 << 40)
    monkeypatch.setattr(safetensors_file, "_without_repeats", parse)
    path = tmp_path / "signs.safetensors"
    path.write_bytes(file(b'{"t":[' + b"[]," * 1000 + b"[]]}"))
    with pytest.raises(BadFileError) as caught:
        read_header(path)
    assert ("more entries" in caught.value.reason) is bounded
    assert (parsed == []) is bounded


def test_a_long_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as sparse:
        sparse.write(struct.pack("<Q", 1 << 33))
        sparse.truncate(1 << 34)
    with pytest.raises(BadFileError, match="more than 100,000,000 are refused"):
        read_header(path)


def test_tensors_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    written = {
        "a": torch.randn(3, 4),
        "模型": torch.arange(5),
        "b": torch.randn(2).to(torch.bfloat16),
        "c": torch.tensor([True, False]),
        "d": torch.randn(2).to(torch.float8_e4m3fn),
    }
    save_file(written, path, metadata={"format": "pt"})
    before = path.read_bytes()
    found = read_safetensors(str(path))
    assert found.keys() == written.keys()
    for name, tensor in written.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8))
    found["a"].zero_()  # training writes into what it loaded, never into the file
    assert path.read_bytes() == before
    header = read_header(path)
    assert header["a"]["shape"] == [3, 4]
    assert header["__metadata__"] == {"format": "pt"}


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_safetensors(tmp_path / "none.safetensors")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe", "a\0b"):
        with pytest.raises(BadFileError):
            read_safetensors(tmp_path / name)


def test_reading_a_header_needs_no_torch() -> None:
    program = "import sys; import llamarium.checkpoint.safetensors_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("seed", range(2))
def test_any_damage_is_refused_or_harmless(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    path = tmp_path / "damaged.safetensors"
    save_file({"a": torch.zeros(3, 4), "b": torch.arange(6), "c": torch.zeros(2, 2, dtype=torch.float16)}, path)
    content = path.read_bytes()
    results = {"refused": 0, "read": 0}
    for _ in range(200):
        changed = bytearray(content if random.random() < 0.8 else content[: random.integers(0, len(content))])
        for _ in range(random.integers(0, 3)):
            if changed:
                changed[random.integers(0, len(changed))] = random.integers(0, 256)
        path.write_bytes(changed)
        try:
            tensors = read_safetensors(path)
            assert sum(tensor.nbytes for tensor in tensors.values()) < len(content)
            results["read"] += 1
        except BadFileError:
            results["refused"] += 1
    assert min(results.values()) > 10
