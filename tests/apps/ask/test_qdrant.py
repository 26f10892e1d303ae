from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.apps.ask.animals import ANIMALS, Letters, drawn, tokenizer, write
from tests.apps.ask.qdrant_server import Server, serving

from llamarium.apps.ask import qdrant, vector_store
from llamarium.apps.ask.index import Index, build, open_index
from llamarium.apps.ask.qdrant import KEY, Qdrant, read_address
from llamarium.apps.ask.vector_store import add_vectors
from llamarium.apps.ask.vectors import Vectors, open_vectors
from llamarium.checkpoint import huggingface
from llamarium.ground.errors import BadFileError, MissingExtraError, NetworkError, UsageError
from llamarium.models import bert, llama

QUESTIONS = ("a humming mammal", "spit", "who climbs?", "Llamas hum.")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write(tmp_path / "docs")


@pytest.fixture
def out(docs: Path, tmp_path: Path) -> Path:
    build([docs], tmp_path / "index").close()
    return tmp_path / "index"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


@pytest.fixture
def at(server: Server) -> str:
    """Its address."""
    return server.address


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A sentence encoder."""
    huggingface.save_folder(tmp_path / "model", drawn(bert), tokenizer())
    return str(tmp_path / "model")


def fill(out: Path, encoder: Letters, at: str) -> int:
    """What ``index`` does, with an encoder that has no name."""
    with open_index(out) as index:
        found = index.recorded_vectors()
    with closing(Qdrant(at, found.collection if found is not None and found.store == at else "", name=str(out))) as place:
        return add_vectors(out, encoder, place)


def there(at: str, collection: str) -> set[int]:
    """The passages whose vectors are there."""
    with closing(Qdrant(at, collection, name="x")) as place:
        return set(place.numbers().tolist())


def nearest(index: Index, at: str | None = None, encoder: Letters | None = None) -> list[list[tuple[str, float]]]:
    vectors = Vectors(index, encoder or Letters(), at=at)
    return [[(found.path, round(found.rank, 2)) for found in vectors.nearest(question, limit=10)] for question in QUESTIONS]


def collection_of(out: Path) -> str:
    with open_index(out) as index:
        found = index.recorded_vectors()
    assert found is not None
    return found.collection


# --- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("qdrant://localhost", "qdrant://localhost:6333"),
        ("qdrant://LocalHost:7000/", "qdrant://localhost:7000"),
        ("qdrant+https://example.org/team_1", "qdrant+https://example.org:6333/team_1"),
        ("qdrant://[::1]:6334/a", "qdrant://[::1]:6334/a"),
    ],
)
def test_an_address_has_one_form(text: str, canonical: str) -> None:
    assert read_address(text) == canonical == read_address(canonical)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "localhost:6333",
            "http://localhost:6333",
            "qdrant:",
            "qdrant://",
            "qdrant:///",
            "qdrant:///tmp/a",
            "qdrant://host:99999",
            "qdrant://host:x",
        ),
        *("qdrant+https:///tmp/a", "qdrant://me:secret@host", "qdrant://host/a/b", "qdrant://host?a=1", "qdrant:///tmp/a#b"),
        *("qdrant://[::1", "qdrant://ho st", "qdrant+http://host", "QDRANT", "qdrant:///tmp/\x1b[2J"),
    ],
)
def test_what_is_no_address(text: str, docs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no address"):
        build([docs], tmp_path / "index", at=text)
    assert not (tmp_path / "index").exists()


# --- The same as in the file ------------------------------------------------------------------------------------------


def test_what_is_found_is_what_the_file_finds(out: Path, at: str, tmp_path: Path) -> None:
    assert add_vectors(out, Letters()) == 3
    with open_index(out) as index:
        in_file = Vectors(index, Letters())
        numbers = {held.path: held.number for held in index.documents()}
        some = [numbers["goat.txt"], numbers["camel.txt"]]
        expected = {question: in_file.nearest(question, limit=2) for question in QUESTIONS}
        expected_of_some = [in_file.nearest(question, limit=10, documents=some) for question in QUESTIONS]
    assert fill(out, Letters(), at) == 3
    with open_index(out) as index:
        vectors = Vectors(index, Letters(), at=at)
        for question, its in expected.items():
            found = vectors.nearest(question, limit=2)
            assert [passage.path for passage in found] == [passage.path for passage in its]
            assert [passage.rank for passage in found] == pytest.approx([passage.rank for passage in its], abs=2e-3)
        found_of_some = [vectors.nearest(question, limit=10, documents=some) for question in QUESTIONS]
        assert [[p.path for p in found] for found in found_of_some] == [[p.path for p in found] for found in expected_of_some]
        assert vectors.nearest("spit", documents=[]) == []
    with contextlib.closing(sqlite3.connect(out)) as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (0,)


def test_a_point_is_a_passage_its_vector_and_its_document(out: Path, server: Server) -> None:
    fill(out, Letters(), server.address)
    with open_index(out) as index:
        documents = {number: {"document": document} for number, document in index._rows("SELECT id, document FROM passages")}
    found, _ = server.client.scroll(collection_of(out), with_vectors=True)
    assert {point.id: point.payload for point in found} == documents
    assert [float(np.linalg.norm(np.array(point.vector))) for point in found] == pytest.approx([1] * 3)


def test_the_server_is_asked_exactly_and_for_nothing_else(out: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, " secret\n")
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(qdrant, "FLOATS", 2 * 16)
    monkeypatch.setattr(qdrant, "NUMBERS", 2)
    at = read_address(f"{server.address}/team")
    fill(out, Letters(), at)
    assert fill(out, Letters(), at) == 0
    with open_index(out) as index:
        Vectors(index, Letters(), at=at).nearest("spit", documents=[1])
    with closing(Qdrant(at, name="x")) as place:
        assert place._client.init_options["timeout"] == 60
    [collection] = server.collections
    assert re.fullmatch(r"team-[0-9a-f]{32}", collection)
    assert server.asked.pop()[1].endswith("/exists")
    assert {headers["api-key"] for _, _, headers, _ in server.asked} == {"secret"}
    steps = [f"{method} {path.replace(collection, 'C')}" for method, path, _, _ in server.asked]
    made = ["PUT /collections/C", "PUT /collections/C/index?wait=true"]
    put, exists = "PUT /collections/C/points?wait=true", "GET /collections/C/exists"
    scroll, query = "POST /collections/C/points/scroll", "POST /collections/C/points/query"
    assert steps == [exists, *made, put, put, exists, scroll, scroll, exists, query]
    bodies = [body for *_, body in server.asked]
    assert bodies[1]["vectors"] == {"size": 16, "distance": "Dot"}
    assert bodies[1]["hnsw_config"] == {"m": 0}
    assert bodies[-1]["params"] == {"exact": True}
    assert bodies[-1]["filter"] == {"must": [{"key": "document", "match": {"any": [1]}}]}
    assert b"secret" not in out.read_bytes()


# --- What has changed -------------------------------------------------------------------------------------------------


def test_only_new_passages_are_encoded_and_gone_ones_are_deleted(docs: Path, out: Path, at: str) -> None:
    encoder = Letters()
    fill(out, encoder, at)
    assert sorted(encoder.seen) == sorted(ANIMALS.values())
    assert fill(out, encoder, at) == 0
    collection = collection_of(out)
    (docs / "camel.txt").write_text("Camels sleep.")
    (docs / "goat.txt").unlink()
    (docs / "more.txt").write_text("More.")
    build([docs], out).close()  # not the server, which is not given
    with open_index(out) as index:
        [found, *_] = nearest(index, at)
        assert [path for path, _ in found] == ["llama.txt"]
    encoder.seen.clear()
    assert fill(out, encoder, at) == 2
    assert sorted(encoder.seen) == ["Camels sleep.", "More."]
    assert collection_of(out) == collection
    with open_index(out) as index:
        assert {path for path, _ in nearest(index, at)[0]} == {"llama.txt", "camel.txt", "more.txt"}
        numbers = set(index.numbers.tolist())
    assert there(at, collection) == numbers


def test_those_that_are_gone_take_nobodys_place(docs: Path, out: Path, at: str) -> None:
    """What a search finds at the server and the index has no more does not count against the limit."""
    for number in range(12):
        (docs / f"{number}.txt").write_text("Spit spit spit.")
    build([docs], out).close()
    fill(out, Letters(), at)
    for number in range(12):
        (docs / f"{number}.txt").unlink()
    build([docs], out).close()
    with open_index(out) as index:
        found = Vectors(index, Letters(), at=at).nearest("spit", limit=2)
        assert [passage.path for passage in found][:1] == ["camel.txt"]
        assert len(found) == 2


@pytest.mark.parametrize("moment", [1, 2])
def test_filling_goes_on_where_it_ended(moment: int, out: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Letters):
        def encode(self, texts: object) -> object:  # type: ignore[override]
            if len(self.seen) == moment:
                raise KeyboardInterrupt
            return super().encode(texts)  # type: ignore[arg-type]

    monkeypatch.setattr(vector_store, "TOGETHER", 1)
    with pytest.raises(KeyboardInterrupt):
        fill(out, Interrupted(), at)
    encoder = Letters()
    assert fill(out, encoder, at) == 3 - moment
    with open_index(out) as index:
        assert len(nearest(index, at)[0]) == 3


def test_those_of_another_encoder_are_made_anew(out: Path, at: str) -> None:
    fill(out, Letters(), at)
    collection = collection_of(out)
    with open_index(out) as index, pytest.raises(BadFileError, match="letters"):
        Vectors(index, Letters(sha256="1"), at=at)

    class Two(Letters):
        def encode(self, texts: object) -> object:  # type: ignore[override]
            return super().encode(texts)[:, :2]  # type: ignore[arg-type]

    assert fill(out, Two(sha256="1"), at) == 3
    assert collection_of(out) == collection
    with open_index(out) as index:
        assert len(nearest(index, at, Two(sha256="1"))[0]) == 3


def test_an_index_made_anew_trusts_no_point_of_the_one_before(docs: Path, out: Path, at: str) -> None:
    """Its numbers begin at 1 again, and mean other passages."""
    fill(out, Letters(), at)
    collection = collection_of(out)
    out.unlink()
    (docs / "aardvark.txt").write_text("Aardvarks dig.")
    build([docs], out).close()
    encoder = Letters()
    with closing(Qdrant(at, collection, name=str(out))) as place:
        assert add_vectors(out, encoder, place) == 4
    with open_index(out) as index:
        assert [found[0][0] for found in nearest(index, at)][-1] == "llama.txt"


# --- `index` and its options ------------------------------------------------------------------------------------------


def test_index_keeps_vectors_up_only_where_the_address_is_given_again(docs: Path, model: str, at: str, said: list[str]) -> None:
    out = docs.parent / "made"
    build([docs], out, vectors=model, at=at).close()
    (docs / "more.txt").write_text("Camels hum.")
    build([docs], out).close()
    assert said[-1] == f"new passages have no vectors: --store {at} makes them"
    with open_index(out) as index:
        vectors = open_vectors(index, at=at)
        assert vectors is not None
        assert {found.path for found in vectors.nearest("Camels hum.")} == set(ANIMALS)
    build([docs], out, at=at).close()
    with open_index(out) as index:
        vectors = open_vectors(index, at=f"{at}/")
        assert vectors is not None
        [found] = vectors.nearest("Camels hum.", limit=1)
        assert found.path == "more.txt"
        assert found.rank == pytest.approx(1, abs=1e-5)


def test_an_address_is_asked_only_where_the_operator_gives_it(docs: Path, model: str, server: Server, said: list[str]) -> None:
    out = docs.parent / "made"
    build([docs], out, vectors=model, at=server.address).close()
    num = len(server.asked)
    with open_index(out) as index:
        assert open_vectors(index) is None
        assert said[-1] == f"{out} has vectors from {server.address}, which is asked only with --store; words alone are compared"
        for other in ("qdrant://127.0.0.1:9", f"{server.address}/team"):
            with pytest.raises(UsageError, match="no vectors at") as error:
                open_vectors(index, at=other)
            assert error.value.hint == f"They are at {server.address}."
        with pytest.raises(UsageError, match="in the file"):
            Vectors(index, Letters(sha256=index.recorded_vectors().sha256), at=None)  # type: ignore[union-attr]
    for vectors in (None, "none"):
        with pytest.raises(UsageError, match="no vectors at"):
            build([docs], out, vectors=vectors, at="qdrant://127.0.0.1:9")
    build([docs], out).close()
    assert len(server.asked) == num
    with open_index(out) as index:
        assert open_vectors(index, at=server.address) is not None
    assert len(server.asked) == num + 1


def test_an_index_whose_vectors_are_in_the_file_or_nowhere(docs: Path, out: Path, model: str, at: str) -> None:
    with open_index(out) as index, pytest.raises(UsageError, match="no vectors at"):
        open_vectors(index, at=at)
    with pytest.raises(UsageError, match="no vectors at"):
        build([docs], out, at=at)
    build([docs], out, vectors=model).close()
    with open_index(out) as index, pytest.raises(UsageError, match="no vectors at") as error:
        open_vectors(index, at=at)
    assert "leave --store out" in error.value.hint
    with pytest.raises(UsageError):
        build([docs], out, at=at)


def test_to_a_server_and_back(docs: Path, model: str, at: str, said: list[str]) -> None:
    out = docs.parent / "made"
    build([docs], out, vectors=model).close()
    assert said == []
    build([docs], out, vectors=model, at=at).close()
    assert said == [f"the vectors of {out} are at {at} from now on"]
    collection = collection_of(out)
    said.clear()
    build([docs], out, vectors=model).close()
    stays = f"the collection {collection} stays at {at}: this index needs it no more"
    assert said == [f"the vectors of {out} are in the file from now on", stays]
    with open_index(out) as index:
        vectors = open_vectors(index)
        assert vectors is not None
        assert len(vectors.nearest("Camels")) == 3
        assert index.recorded_vectors().store == ""  # type: ignore[union-attr]


def test_none_deletes_the_collection_where_the_server_is_given(docs: Path, model: str, server: Server, said: list[str]) -> None:
    out = docs.parent / "made"
    build([docs], out, vectors=model, at=server.address).close()
    [collection] = server.collections
    build([docs], out, vectors="none", at=server.address).close()
    assert server.collections == []
    assert said == []
    build([docs], out, vectors=model, at=server.address).close()
    [another] = server.collections
    assert another != collection
    num = len(server.asked)
    build([docs], out, vectors="none").close()
    assert len(server.asked) == num
    assert server.collections == [another]
    assert said == [f"the collection {another} stays at {server.address}: this index needs it no more"]
    with open_index(out) as index:
        assert open_vectors(index) is None
        assert len(said) == 1


def test_a_language_model_needs_the_mean_of_all(docs: Path, tmp_path: Path, at: str) -> None:
    huggingface.save_folder(tmp_path / "model", drawn(llama), tokenizer())
    with pytest.raises(UsageError, match="mean"):
        build([docs], tmp_path / "made", vectors=str(tmp_path / "model"), at=at)
    assert not (tmp_path / "made").exists()


def test_a_model_and_its_vectors_at_an_address_are_both_asked_for(docs: Path, out: Path, at: str, said: list[str]) -> None:
    fill(out, Letters(kind="openai"), at)
    with contextlib.closing(sqlite3.connect(out)) as connection, connection:
        connection.execute("UPDATE state SET value = 'http://127.0.0.1:9/v1' WHERE name = 'vectors address'")
    for embeddings, place in ((None, at), ("http://127.0.0.1:9/v1", None), (None, None)):
        with open_index(out) as index:
            assert open_vectors(index, embeddings=embeddings, at=place) is None
    build([docs], out).close()
    build([docs], out, at=at).close()
    new = f"new passages have no vectors: --vectors letters --embeddings http://127.0.0.1:9/v1 --store {at} makes them"
    words = "words alone are compared"
    assert said == [
        f"{out} has vectors from http://127.0.0.1:9/v1, which is asked only with --embeddings; {words}",
        f"{out} has vectors from {at}, which is asked only with --store; {words}",
        f"{out} has vectors from {at}, which is asked only with --store; {words}",
        *(new, new),
    ]


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_nobody_there(docs: Path, model: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        at = f"qdrant://127.0.0.1:{bound.getsockname()[1]}"  # bound, and nobody listens
        out = docs.parent / "made"
        with pytest.raises(NetworkError, match=rf"^{at} gave no usable answer \(.*refused.*\)\.$") as error:
            build([docs], out, vectors=model, at=at)
        assert KEY in error.value.hint
        assert not out.exists()  # said before the work


def test_who_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant, "TIMEOUT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(NetworkError, match="timed out"):
        Qdrant(f"qdrant://127.0.0.1:{listening.getsockname()[1]}", name="x")


@pytest.mark.parametrize(
    "raw",
    [
        *((200, b""), (200, b"<html>"), (200, b"{}"), (200, b"[]"), (200, b'{"result": null}'), (200, b'{"result": {"points": 1}}')),
        *((200, b"\xff\xfe"), (200, b"[" * 100_000), (302, b""), (401, b"{}"), (403, b"no\nno"), (404, b"elsewhere"), (429, b"{}")),
        (500, b"{}"),
        (200, b'{"result": {"points": [' + b"1," * 100 + b"1]}}"),
    ],
)
def test_what_is_no_answer(raw: tuple[int, bytes], out: Path, server: Server) -> None:
    with closing(Qdrant(server.address, name=str(out))) as place:
        add_vectors(out, Letters(), place)
        server.raw = raw
        numbers = np.array([1], np.int64)
        vectors = np.ones((1, 16), np.float32)
        for ask in (
            lambda: place.nearest(vectors[0], limit=2),
            place.numbers,
            lambda: place.add(numbers, numbers, vectors),
            lambda: place.drop(numbers),
            place.clear,
            lambda: Qdrant(server.address, name="x"),
        ):
            with pytest.raises(NetworkError, match="no usable answer") as error:
                ask()
            assert "\n" not in error.value.message
            assert len(error.value.message) < 500


def test_scores_and_numbers_that_cannot_be_are_left_out(out: Path, server: Server) -> None:
    fill(out, Letters(), server.address)
    unknown = '{"id": 7000, "version": 1, "score": 3.0}, {"id": "c0ffee00-0000-4000-8000-000000000000", "version": 1, "score": 2.0}'
    entries = f'{unknown}, {{"id": 2, "version": 1, "score": NaN}}'
    with open_index(out) as index:
        vectors = Vectors(index, Letters(), at=server.address)
        server.raw = (200, f'{{"result": {{"points": [{entries}, {{"id": 1, "version": 1, "score": 0.5}}]}}}}'.encode())
        [found] = vectors.nearest("spit")
        assert (found.passage, found.rank) == (1, 0.5)


def test_a_collection_that_is_gone(docs: Path, out: Path, at: str) -> None:
    fill(out, Letters(), at)
    collection = collection_of(out)
    with open_index(out) as index:
        vectors = Vectors(index, Letters(), at=at)
        vectors._store._client.delete_collection(collection)  # type: ignore[attr-defined]
        with pytest.raises(BadFileError, match="no longer where") as error:
            vectors.nearest("spit")
        assert collection in error.value.hint
    with open_index(out) as index, pytest.raises(BadFileError, match="no longer where"):
        Vectors(index, Letters(), at=at).nearest("spit")
    assert fill(out, Letters(), at) == 3
    assert collection_of(out) == collection


def test_documents_without_a_word(tmp_path: Path, at: str) -> None:
    """There are no vectors, and so no collection: nothing is wrong with that."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text(" \n")
    build([tmp_path / "docs"], tmp_path / "index").close()
    assert fill(tmp_path / "index", Letters(), at) == 0
    with open_index(tmp_path / "index") as index:
        assert Vectors(index, Letters(), at=at).nearest("spit") == []


@pytest.mark.parametrize("collection", ["production", "llamarium", "../x", "llamarium-" + "0" * 31, ""])
def test_an_index_cannot_name_what_is_somebody_elses(collection: str, out: Path, server: Server) -> None:
    fill(out, Letters(), server.address)
    with contextlib.closing(sqlite3.connect(out)) as connection, connection:
        connection.execute("UPDATE state SET value = ? WHERE name = 'vectors collection'", (collection,))
    num = len(server.asked)
    with open_index(out) as index, pytest.raises(BadFileError):
        Vectors(index, Letters(), at=server.address).nearest("spit")
    if collection:
        with pytest.raises(BadFileError, match="cannot be"):
            fill(out, Letters(), server.address)
        assert len(server.asked) == num


def test_an_address_that_would_write_on_the_terminal(docs: Path, out: Path, server: Server) -> None:
    fill(out, Letters(), server.address)
    with contextlib.closing(sqlite3.connect(out)) as connection, connection:
        connection.execute("UPDATE state SET value = 'qdrant:///tmp/\x1b[2J' WHERE name = 'vectors store'")
    with open_index(out) as index, pytest.raises(BadFileError, match="addresses that cannot be"):
        open_vectors(index)


def test_tls_is_spoken_where_it_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a server that does not speak it there is no talk, and the key does not go out as it is."""
    monkeypatch.setenv(KEY, "secret")
    with pytest.raises(NetworkError, match=r"(?i)ssl"):
        Qdrant(server.address.replace("qdrant", "qdrant+https"), name="x")
    assert server.asked == []


def test_nobody_is_asked_whom_the_server_names(server: Server) -> None:
    with serving() as other:
        server.raw, server.elsewhere = (302, b""), f"http{other.address.removeprefix('qdrant')}/collections/x/exists"
        with pytest.raises(NetworkError):
            Qdrant(server.address, name="x")
        assert server.asked
        assert other.asked == []


@pytest.mark.parametrize("key", ["two\nlines", "umläute", "a b"])
def test_what_is_no_key_is_not_printed(key: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, key)
    with pytest.raises(UsageError, match="no key") as error:
        Qdrant(server.address, name="x")
    assert key not in f"{error.value.message} {error.value.hint}"
    assert server.asked == []


def test_vectors_that_went_while_the_index_was_open(out: Path, server: Server) -> None:
    fill(out, Letters(), server.address)
    with open_index(out) as index:
        vectors = Vectors(index, Letters(), at=server.address)
        assert vectors.nearest("spit")
        with closing(Qdrant(server.address, collection_of(out), name=str(out))) as place:
            vector_store.remove_vectors(out, place)
        assert vectors.nearest("spit") == []


def test_without_the_package(docs: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingExtraError, match="--store needs the package qdrant") as error:
        build([docs], tmp_path / "made", vectors=model, at="qdrant://127.0.0.1:9")
    assert error.value.hint == "pip install 'llamarium[qdrant]'"
    assert not (tmp_path / "made").exists()


def test_the_package_is_imported_only_where_it_is_needed() -> None:
    code = "import sys, llamarium.apps.ask.vectors; sys.exit('qdrant_client' in sys.modules or 'httpx' in sys.modules)"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0
