"""Our reader of GGUF agrees with the `gguf` package on good files, and refuses bad ones at once, naming the byte."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf as peer
import numpy as np
import pytest

from llamarium.checkpoint import gguf
from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.ops import formats

UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
F32, Q4_0, Q4_1, Q4_K = 0, 2, 3, 12

# --- Files written by hand, so that they can lie ---


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + items


def tensor(name: bytes, dimensions: list[int], kind: int = F32, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


def file(
    keys: list[bytes],
    tensors: list[bytes],
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    num_tensors: int | None = None,
    num_keys: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = struct.pack("<QQ", len(tensors) if num_tensors is None else num_tensors, len(keys) if num_keys is None else num_keys)
    head = magic + struct.pack("<I", version) + counts + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def nested(depth: int) -> bytes:
    return b"".join(array(ARRAY, 1) for _ in range(depth)) + array(UINT32, 1, bytes(4))


FIRST = 24  # the byte after the header
ONE = [key(b"a", UINT32, bytes(4))]
FOUR = np.arange(4, dtype="<f4").tobytes()

# what is wrong -> the file, the byte to name, and words of the sentence
MALFORMED: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 0, "not a GGUF file"),
    "other magic": (file(ONE, [], magic=b"GGML"), 0, "not a GGUF file"),
    "three bytes": (b"GGU", 0, "claims 4 bytes, and only 3"),
    "header cut in the version": (file(ONE, [])[:6], 4, "only 2 bytes"),
    "header cut in the counts": (file(ONE, [])[:20], 16, "only 4 bytes"),
    "version 1": (file(ONE, [], version=1), 4, "version 1"),
    "version 99": (file(ONE, [], version=99), 4, "version 99"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), 4, "big-endian"),
    "2**62 tensors": (file(ONE, [], num_tensors=2**62), 8, "tensors, and only"),
    "2**62 keys": (file(ONE, [], num_keys=2**62), 16, "metadata keys, and only"),
    "more keys than are there": (
        file([key(b"a", STRING, text(b"x" * 40))], [], num_keys=2, alignment=1),
        FIRST + 61,
        "a string should begin",
    ),
    "key longer than the file": (file([text(b"a", 2**63)], []) + bytes(32), FIRST, "claims a string of 9,223,372,036,854,775,808"),
    "key too long": (file([key(b"a" * 70_000, UINT32, bytes(4))], []), FIRST, "too long"),
    "key not UTF-8": (file([key(b"ab\xff", UINT32, bytes(4))], []), FIRST + 10, "not UTF-8"),
    "same key twice": (file([*ONE, *ONE], []), FIRST + 17, "'a' twice"),
    "unknown kind of value": (file([key(b"a", 13, bytes(8))], []), FIRST + 9, "unknown kind 13"),
    "string longer than the file": (file([key(b"a", STRING, text(b"xy", 1000))], []), FIRST + 13, "claims a string of 1,000"),
    "string not UTF-8": (file([key(b"a", STRING, text(b"x\xc3"))], []), FIRST + 22, "not UTF-8"),
    "truth value 2": (file([key(b"a", BOOL, b"\x02")], []), FIRST + 13, "neither 0 nor 1"),
    "truth values 1 2": (file([key(b"a", ARRAY, array(BOOL, 2, b"\x01\x02"))], []), FIRST + 26, "neither 0 nor 1"),
    "2**40 numbers": (file([key(b"a", ARRAY, array(FLOAT32, 2**40))], []), FIRST + 17, "1,099,511,627,776 numbers"),
    "2**61 numbers, whose bytes overflow": (file([key(b"a", ARRAY, array(FLOAT32, 2**61 + 1))], []), FIRST + 17, "numbers, and only"),
    "2**40 strings": (file([key(b"a", ARRAY, array(STRING, 2**40))], []), FIRST + 17, "1,099,511,627,776 strings"),
    "2**40 arrays": (file([key(b"a", ARRAY, array(ARRAY, 2**40))], []), FIRST + 17, "1,099,511,627,776 arrays"),
    "more strings than are there": (
        file([key(b"a", ARRAY, array(STRING, 3, text(b"x" * 30)))], [], alignment=1),
        FIRST + 63,
        "string should",
    ),
    "array of an unknown kind": (file([key(b"a", ARRAY, array(77, 0))], []), FIRST + 13, "unknown kind 77"),
    "arrays 10,000 deep": (file([key(b"a", ARRAY, nested(10_000))], []), FIRST + 13 + 36, "more than 3 deep"),
    "alignment 0": (file([key(b"general.alignment", UINT32, struct.pack("<I", 0))], []), FIRST, "power of two"),
    "alignment 48": (file([key(b"general.alignment", UINT32, struct.pack("<I", 48))], []), FIRST, "power of two"),
    "alignment 2**31": (file([key(b"general.alignment", UINT32, struct.pack("<I", 2**31))], []), FIRST, "power of two"),
    "alignment in words": (file([key(b"general.alignment", STRING, text(b"32"))], []), FIRST, "power of two"),
    "tensor cut": (file([], [tensor(b"t", [4])[:-6]], alignment=1), FIRST + 25, "only 2 bytes"),
    "tensor of 2**31 dimensions": (file([], [text(b"t") + struct.pack("<I", 2**31)], bytes(64)), FIRST, "2,147,483,648 dimensions"),
    "dimensions whose product overflows": (file([], [tensor(b"t", [2**33] * 4)], FOUR), FIRST, "end at byte"),
    "dimensions whose product is 0 in 64 bits": (file([], [tensor(b"t", [2**32, 2**32])], FOUR), FIRST, "end at byte"),
    "a dimension of 0": (file([], [tensor(b"t", [0, 2**60])], FOUR), FIRST, "whole blocks"),
    "rows that are not whole blocks": (file([], [tensor(b"t", [48, 2], Q4_0)], bytes(54)), FIRST, "whole blocks of 32"),
    "no such format": (file([], [tensor(b"t", [4], 31)], FOUR), FIRST, "does not exist (31)"),
    "tensor beyond the file": (file([], [tensor(b"t", [4], offset=2**40)], FOUR), FIRST, "end at byte 1,099,511,627,856"),
    "offset whose sum overflows": (file([], [tensor(b"t", [4], offset=2**64 - 32)], FOUR), FIRST, "end at byte"),
    "tensor longer than the file": (file([], [tensor(b"t", [5])], FOUR), FIRST, "end at byte 84; the file has 80"),
    "offset not aligned": (file([], [tensor(b"t", [2], offset=8)], FOUR), FIRST, "no multiple of 32"),
    "same tensor twice": (file([], [tensor(b"t", [4]), tensor(b"t", [4], offset=32)], FOUR * 3), FIRST + 33, "'t' twice"),
    "tensors that overlap": (file([], [tensor(b"t", [4]), tensor(b"u", [4])], FOUR), FIRST + 33, "'u' overlap 't'"),
    "tensor name not UTF-8": (file([], [tensor(b"\xff", [4])], FOUR), FIRST + 8, "not UTF-8"),
}


@pytest.mark.parametrize("wrong", MALFORMED)
def test_a_malformed_file_is_refused_at_once(wrong: str, tmp_path: Path) -> None:
    content, offset, words = MALFORMED[wrong]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(BadFileError) as caught:
        gguf.read_gguf(path)
    assert time.perf_counter() - start < 1
    assert words in caught.value.reason
    assert caught.value.offset == offset
    assert caught.value.path == str(path)


def test_the_files_above_are_good_but_for_one_thing(tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    keys = [*ONE, key(b"n", ARRAY, nested(2)), key(b"general.alignment", UINT32, struct.pack("<I", 64))]
    path.write_bytes(file(keys, [tensor(b"t", [2, 2]), tensor(b"u", [4], offset=64)], FOUR + bytes(48) + FOUR, alignment=64))
    found = gguf.read_gguf(path)
    assert found.metadata["n"] == [[np.array([0], np.uint32)]]
    assert found.tensor("t").tolist() == [[0, 1], [2, 3]]
    assert found.tensors["u"].offset % 64 == 0
    assert found.tensor("u").tolist() == [0, 1, 2, 3]


# --- What each bound is for: with it the file is refused, without it something is claimed that the file does not have ---


def outcome(path: Path) -> str:
    """What reading everything in `path` comes to: "refused", "read", or what went wrong."""
    tracemalloc.start()
    try:
        found = gguf.read_gguf(path)
        tensors = [found.tensor(name) for name in found.tensors]
        peak = max(tracemalloc.get_traced_memory()[1], sum(values.nbytes for values in tensors))
    except BadFileError:
        return "refused" if tracemalloc.get_traced_memory()[1] < 5_000_000 else "refused, after a lot of memory"
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        return type(error).__name__
    finally:
        tracemalloc.stop()
    # 32 four-bit values in 18 bytes are the densest that any format can be.
    return "read" if peak < 10 * path.stat().st_size + 1_000_000 else "more memory than the file accounts for"


def no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf._Cursor, "claim", lambda *_: None)


def no_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_DEPTH", 1 << 30)


def no_limit_of_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_ITEMS", dict.fromkeys(gguf.MAX_ITEMS, 1 << 62))


def no_limit_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_TEXT", 1 << 62)


def no_block_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "_num_bytes", lambda cursor, start, name, shape, ggml_type: 0)


HOSTILE: dict[str, tuple[bytes, Callable[[pytest.MonkeyPatch], None]]] = {
    "2**40 numbers": (MALFORMED["2**40 numbers"][0], no_claim),
    "arrays 10,000 deep": (MALFORMED["arrays 10,000 deep"][0], no_depth),
    "many arrays": (file([key(b"a", ARRAY, array(ARRAY, 70_000, array(STRING, 0) * 70_000))], []), no_limit_of_items),
    "one text that is most of the file": (file([key(b"a", STRING, text(b"a" * (1 << 26)))], []), no_limit_of_text),
    "tensor larger than the file": (MALFORMED["tensor longer than the file"][0], no_block_check),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("bounded", [True, False], ids=["bounded", "control"])
def test_every_bound_is_needed(name: str, bounded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, unbind = HOSTILE[name]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    if bounded:
        assert outcome(path) == "refused"
    else:
        unbind(monkeypatch)
        assert outcome(path) != "refused"


# --- Good files ---


def write_small(path: Path) -> dict[str, np.ndarray]:
    """A small valid file, made by the `gguf` package. Returns the tensors before packing."""
    random = np.random.default_rng(3)
    writer = peer.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_float32("llama.rope.freq_base", 1e5)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_uint64("big", 2**63)
    writer.add_int16("negative", -3)
    writer.add_name("小模型 🦙")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "é", "模", "", "▁x"])
    writer.add_token_types([1, 1, 1, 3, 6])
    writer.add_array("scores", [0.5, -1.25])
    writer.add_array("flags", [True, False])
    values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in {"w": (3, 64), "v": (2, 3, 32), "b": (5,)}.items()}
    for name, data in values.items():
        for kind in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0") if name != "b" else ("F32",):
            number = peer.GGMLQuantizationType[kind]
            writer.add_tensor(f"{name}.{kind}", peer.quantize(data, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_small(path)
    return path


def test_metadata_are_those_that_were_written(small: Path) -> None:
    metadata = gguf.read_gguf(small).metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["general.name"] == "小模型 🦙"
    assert (metadata["llama.block_count"], metadata["big"], metadata["negative"]) == (2, 2**63, -3)
    assert metadata["llama.rope.freq_base"] == 1e5
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["tokenizer.ggml.tokens"] == ["a", "é", "模", "", "▁x"]
    assert metadata["tokenizer.ggml.token_type"].tolist() == [1, 1, 1, 3, 6]
    assert metadata["scores"].tolist() == [0.5, -1.25]
    assert metadata["flags"].tolist() == [True, False]


def test_agrees_with_the_gguf_package(small: Path) -> None:
    ours, theirs = gguf.read_gguf(small), peer.GGUFReader(small)
    assert ours.version == 3
    assert list(ours.tensors) == [each.name for each in theirs.tensors]
    for each in theirs.tensors:
        info = ours.tensors[each.name]
        assert (info.ggml_type, info.offset, info.num_bytes) == (each.tensor_type, each.data_offset, each.n_bytes)
        assert info.shape == tuple(reversed(each.shape.tolist()))
        assert ours.raw(each.name).tobytes() == each.data.tobytes()
        expected = peer.dequantize(each.data.view(np.uint8), each.tensor_type).reshape(info.shape)
        np.testing.assert_array_equal(ours.tensor(each.name), expected)
    for name, values in theirs.fields.items():
        if not name.startswith("GGUF."):
            found = ours.metadata[name]
            assert (found.tolist() if isinstance(found, np.ndarray) else found) == values.contents()


def test_tensors_are_new_arrays_and_the_file_is_not_written_to(small: Path) -> None:
    before = small.read_bytes()
    found = gguf.read_gguf(small)
    found.tensor("w.F32")[:] = 7
    assert found.tensor("w.F32").max() < 7
    assert not found.raw("w.F32").flags.writeable
    assert small.read_bytes() == before


def test_version_2_has_the_same_layout(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<I", 2) + small.read_bytes()[8:])
    assert gguf.read_gguf(path).version == 2


def test_a_format_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "k.gguf"
    path.write_bytes(file([], [tensor(b"t", [256], Q4_K)], bytes(144)))
    found = gguf.read_gguf(path)
    assert found.tensors["t"].num_bytes == len(found.raw("t")) == 144
    with pytest.raises(BadFileError, match="Q4_K") as caught:
        found.tensor("t")
    assert "q4_1" in caught.value.hint


def test_every_format_that_gguf_knows_has_its_sizes() -> None:
    for kind, sizes in peer.GGML_QUANT_SIZES.items():
        if kind in gguf._LISTED:
            assert gguf._LISTED[kind] == (kind.name, *sizes)
        else:
            assert kind == formats.by_type(kind).GGML_TYPE


def test_a_file_without_tensors_may_end_with_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(file(ONE, [], alignment=1))
    assert gguf.read_gguf(path).tensors == {}


def test_a_tensor_that_is_not_there(small: Path) -> None:
    with pytest.raises(BadFileError, match="no tensor 'x'"):
        gguf.read_gguf(small).tensor("x")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        gguf.read_gguf(tmp_path / "none.gguf")
    (tmp_path / "file").write_bytes(b"GGUF")
    with pytest.raises(NotFoundError):
        gguf.read_gguf(tmp_path / "file" / "none.gguf")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe", "a\0b"):
        with pytest.raises(BadFileError):
            gguf.read_gguf(tmp_path / name)


def test_needs_no_torch() -> None:
    program = "import sys; import llamarium.checkpoint.gguf; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- Any damage ---


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """`content` with a few bytes changed, or cut; mostly in the head, where the structure is."""
    if random.random() < 0.2:
        return content[: random.integers(0, len(content))]
    changed = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = random.integers(0, len(content) if random.random() < 0.1 else 1400)
        changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF, changed[place] ^ (1 << int(random.integers(8))), int(random.integers(256))])
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_is_refused_or_harmless(seed: int, small: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    content, path = small.read_bytes(), tmp_path / "damaged.gguf"
    results = {"refused": 0, "read": 0}
    for _ in range(150):
        path.write_bytes(damaged(content, random))
        results[outcome(path)] += 1
    assert min(results.values()) > 10
