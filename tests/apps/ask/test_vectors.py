from __future__ import annotations

import contextlib
import gzip
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.apps.ask.animals import ANIMALS, Letters, drawn, letters, tokenizer, write
from tokenizers import Regex
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Split

from llamarium.apps.ask import encoders, gloss, vector_rows, vector_store
from llamarium.apps.ask.encoders import KEY, AtAddress, open_encoder, pooled_states, reads_chinese
from llamarium.apps.ask.index import build, open_index
from llamarium.apps.ask.vector_store import add_vectors
from llamarium.apps.ask.vectors import Vectors, open_vectors
from llamarium.checkpoint import huggingface
from llamarium.ground.errors import BadFileError, NetworkError, NotFoundError, UsageError
from llamarium.models import bert, llama
from llamarium.tokens.tokenizer import Tokenizer


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write(tmp_path / "docs")


@pytest.fixture
def out(docs: Path, tmp_path: Path) -> Path:
    build([docs], tmp_path / "index").close()
    return tmp_path / "index"


def test_the_nearest_are_those_of_the_formula(out: Path) -> None:
    assert add_vectors(out, Letters()) == 3
    with open_index(out) as index:
        found = Vectors(index, Letters()).nearest("a humming mammal", limit=2)
        asked = np.array(letters("a humming mammal"))
        vectors = {name: np.array(letters(text)) for name, text in ANIMALS.items()}
        cosines = {name: float(v @ asked / np.linalg.norm(v) / np.linalg.norm(asked)) for name, v in vectors.items()}
        assert [passage.path for passage in found] == sorted(cosines, key=lambda name: -cosines[name])[:2]
        assert [passage.rank for passage in found] == pytest.approx([cosines[passage.path] for passage in found], abs=2e-3)


def test_only_new_passages_are_encoded_and_gone_ones_are_not_found(docs: Path, out: Path) -> None:
    encoder = Letters()
    add_vectors(out, encoder)
    assert sorted(encoder.seen) == sorted(ANIMALS.values())
    assert add_vectors(out, encoder) == 0
    (docs / "camel.txt").write_text("Camels sleep.")
    (docs / "goat.txt").unlink()
    encoder.seen.clear()
    with open_index(out) as index:
        vectors = Vectors(index, encoder)
        assert len(vectors.nearest("spit", limit=10)) == 3
        encoder.seen.clear()
        build([docs], out, vectors="none").close()  # another process, as it were
        assert vectors.nearest("spit", limit=10) == []
        build([docs], out).close()
        add_vectors(out, encoder)
        assert [passage.path for passage in vectors.nearest("sleep", limit=10)] == ["camel.txt", "llama.txt"]


def test_vectors_are_packed_and_stay_the_same(docs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_store, "TOGETHER", 1)
    monkeypatch.setattr(vector_rows, "ROWS", 2)
    for number in range(12):
        (docs / "more.txt").write_text(f"Number {number}.")
        with contextlib.suppress(NotFoundError):  # the texts are in, and then the name of the encoder is no MODEL
            build([docs], out).close()
        add_vectors(out, Letters())
    with open_index(out) as index, contextlib.closing(sqlite3.connect(out)) as connection:
        assert connection.execute("SELECT count(*), max(length(passages)) FROM vectors").fetchone()[0] <= 6
        numbers, vectors = vector_rows.read_vectors(connection)
        assert set(index.numbers.tolist()) <= set(numbers.tolist())
        assert vectors.dtype == np.float16
        assert [p.path for p in Vectors(index, Letters()).nearest("Number 11", limit=1)] == ["more.txt"]


def test_those_of_another_encoder_are_made_anew(out: Path) -> None:
    add_vectors(out, Letters())
    with open_index(out) as index, pytest.raises(BadFileError, match="letters"):
        Vectors(index, Letters(sha256="1"))
    assert add_vectors(out, Letters(sha256="1")) == 3
    with open_index(out) as index:
        assert Vectors(index, Letters(sha256="1")).nearest("spit", limit=1)


def test_an_index_without_vectors(out: Path) -> None:
    with open_index(out) as index:
        assert open_vectors(index) is None
        with pytest.raises(BadFileError, match="no vectors"):
            Vectors(index, Letters())


@pytest.mark.parametrize("change", ["vectors = x'00'", "passages = x'0011'", "vectors = 1"])
def test_vectors_that_cannot_be(change: str, out: Path) -> None:
    add_vectors(out, Letters())
    with contextlib.closing(sqlite3.connect(out)) as connection, connection:
        connection.execute(f"UPDATE vectors SET {change}")
    with open_index(out) as index, pytest.raises(BadFileError):
        Vectors(index, Letters()).nearest("spit")


# --- A language model's states ----------------------------------------------------------------------------------------


def test_pooled_states_do_not_depend_on_the_neighbours() -> None:
    model, words = drawn(llama), tokenizer()
    texts = [*ANIMALS.values(), "", "Llamas hum . Camels spit ."]
    together = pooled_states(model, words, texts)
    assert together.shape == (5, model.config.width)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, together, strict=True):
        [alone] = pooled_states(model, words, [text])
        assert np.allclose(alone, vector, atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-2)


@pytest.mark.parametrize(("family", "kind"), [(llama, "llama"), (bert, "encoder")])
def test_a_model_of_ones_own(family: Any, kind: str, docs: Path, tmp_path: Path) -> None:
    """What a passage says is nearest to itself; later runs of `index` know what made the vectors; another model is noticed."""
    model, out = tmp_path / "model", tmp_path / "index"
    huggingface.save_folder(model, drawn(family), tokenizer())
    build([docs], out, vectors=str(model)).close()
    (docs / "more.txt").write_text("Camels hum.")
    build([docs], out).close()
    with open_index(out) as index:
        vectors = open_vectors(index)
        assert vectors is not None
        found = index.recorded_vectors()
        assert found is not None
        assert (found.kind, found.name) == (kind, str(model))
        for text in (*ANIMALS.values(), "Camels hum."):
            [nearest] = vectors.nearest(text, limit=1)
            assert index.text(nearest.document) == text
            assert nearest.rank == pytest.approx(1, abs=2e-3)
        (model / "config.json").write_text((model / "config.json").read_text() + " ")
        with pytest.raises(BadFileError, match="not the"):
            open_vectors(index)


def test_only_the_documents_asked_are_compared(out: Path) -> None:
    add_vectors(out, Letters())
    with open_index(out) as index:
        numbers = {held.path: held.number for held in index.documents()}
        vectors = Vectors(index, Letters())
        everything = vectors.nearest("a humming mammal", limit=10)
        some = vectors.nearest("a humming mammal", limit=10, documents=[numbers["goat.txt"], numbers["camel.txt"]])
        assert some == [passage for passage in everything if passage.path != "llama.txt"]
        assert vectors.nearest("a humming mammal", limit=10, documents=[]) == []


def characters(known: Sequence[str]) -> Tokenizer:
    """A vocabulary of single characters, the unknown one first."""
    backend = Backend(WordLevel({word: number for number, word in enumerate(["[UNK]", "[END]", *known])}, unk_token="[UNK]"))
    backend.pre_tokenizer = Split(Regex("."), "isolated")
    backend.add_special_tokens(["[END]", "[UNK]"])
    return Tokenizer(backend.to_str(), {"eos_token": "[END]", "unk_token": "[UNK]"})


def test_who_reads_chinese() -> None:
    assert reads_chinese(characters(list(encoders.COMMON_CHARACTERS)))
    assert not reads_chinese(characters(["a", "b"]))  # all of it is unknown
    bytes_alone = Backend(BPE({char: number for number, char in enumerate(ByteLevel.alphabet())}, []))
    bytes_alone.pre_tokenizer = ByteLevel(add_prefix_space=False)
    assert not reads_chinese(Tokenizer(bytes_alone.to_str(), {}))


def test_chinese_is_read_by_a_dictionary_where_the_encoder_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = tmp_path / "cedict.txt.gz"
    entries.write_bytes(gzip.compress("羊駝 羊驼 [yang2 tuo2] /Llamas/\n哼 哼 [heng1] /to hum/\n".encode()))
    monkeypatch.setattr(gloss, "installed", lambda: None)
    folder = tmp_path / "model"
    huggingface.save_folder(folder, drawn(bert), tokenizer())
    alone = open_encoder(str(folder))
    monkeypatch.setattr(gloss, "installed", lambda: entries)
    glossed = open_encoder(str(folder))
    assert (glossed.kind, glossed.name) == (alone.kind, alone.name)
    assert glossed.sha256 != alone.sha256
    assert np.array_equal(glossed.encode(["羊駝哼"]), alone.encode(["Llamas hum"]))
    assert np.array_equal(glossed.encode(["Camels spit"]), alone.encode(["Camels spit"]))
    assert not np.allclose(alone.encode(["羊駝哼"]), alone.encode(["Llamas hum"]), atol=1e-3)
    assert [alone.reads("羊駝哼"), alone.reads("Llamas hum"), glossed.reads("羊駝哼")] == [False, True, True]
    entries.write_bytes(gzip.compress(b"another"))
    assert open_encoder(str(folder)).sha256 not in (glossed.sha256, alone.sha256)


def test_nothing_is_near_a_question_that_the_encoder_cannot_read(out: Path) -> None:
    add_vectors(out, Letters())
    with open_index(out) as index:
        vectors = Vectors(index, Letters())
        assert vectors.nearest("Who hums?")
        assert vectors.nearest("Who hums?!") == []


def test_a_name_that_is_no_model() -> None:
    with pytest.raises(NotFoundError):
        open_encoder("no-such-model")


# --- An address -------------------------------------------------------------------------------------------------------


@dataclass
class Address:
    """An OpenAI-compatible server; `answer` makes its answer of a request."""

    url: str
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    status: int = 200

    def answer(self, body: dict[str, Any]) -> Any:
        entries = [{"index": number, "embedding": letters(text)} for number, text in enumerate(body["input"])]
        return {"data": entries[::-1]}


@pytest.fixture
def address() -> Iterator[Address]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.requests.append((dict(self.headers), body))
            data = json.dumps(served.answer(body)).encode()
            self.send_response(served.status)
            if served.status == 302:
                self.send_header("Location", served.url + "/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:  # where a redirect would lead
            served.requests.append((dict(self.headers), {}))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Address(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def test_an_address_is_asked_only_where_the_operator_gives_it(
    docs: Path, out: Path, address: Address, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    monkeypatch.setattr(encoders, "AT_ONCE", 2)
    build([docs], out, vectors="small", embeddings=address.url).close()
    assert [len(body["input"]) for _, body in address.requests] == [2, 1]
    headers, body = address.requests[0]
    assert (headers["Authorization"], body["model"]) == ("Bearer secret", "small")
    num = len(address.requests)
    with open_index(out) as index:
        assert open_vectors(index) is None
        assert any(address.url in line for line in said)
        assert len(address.requests) == num
        vectors = open_vectors(index, embeddings=address.url)
        assert vectors is not None
        assert [passage.path for passage in vectors.nearest("spit camel", limit=1)] == ["camel.txt"]
    (docs / "more.txt").write_text("More.")
    num = len(address.requests)
    build([docs], out).close()
    assert len(address.requests) == num
    assert b"secret" not in out.read_bytes()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": []},
        {"data": [{"index": 0, "embedding": "x"}]},
        {"data": [{"index": 0, "embedding": [float("nan")]}]},
        {"data": [{"index": 0, "embedding": []}]},
        [],
        "data",
        {"data": [{"embedding": [1.0]}]},
    ],
)
def test_an_answer_that_holds_no_vectors(answer: Any, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "answer", lambda body: answer)
    with pytest.raises(NetworkError):
        AtAddress("small", address.url).encode(["Llamas hum."])


@pytest.mark.parametrize("status", [302, 401, 500])
def test_an_address_that_refuses_or_sends_elsewhere(status: int, address: Address) -> None:
    address.status = status
    with pytest.raises(NetworkError):
        AtAddress("small", address.url).encode(["Llamas hum."])
    assert len(address.requests) == 1


def test_nobody_there() -> None:
    with pytest.raises(NetworkError, match="gave no vectors"):
        AtAddress("small", "http://127.0.0.1:9/v1").encode(["Llamas hum."])


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "file:///etc/passwd", "ftp://host/"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError):
        AtAddress("small", url)


def test_an_address_without_a_model(docs: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="--embeddings"):
        build([docs], out, embeddings="http://127.0.0.1:9/v1")
