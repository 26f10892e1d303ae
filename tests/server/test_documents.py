"""Questions and documents over HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.apps.ask import qdrant_server
from tests.apps.ask.animals import drawn, tokenizer
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from llamarium.apps.ask.answer import ask
from llamarium.apps.ask.index import build, build_in_memory, open_index
from llamarium.checkpoint import huggingface
from llamarium.engine.language_model import LanguageModel
from llamarium.ground.errors import BadFileError, NetworkError, UsageError
from llamarium.models import bert
from llamarium.server import library as module
from llamarium.server.library import Library, check_name
from llamarium.server.refusal import refused
from llamarium.text.document import read
from llamarium.tokens.tokenizer import Tokenizer

Start = Callable[..., Any]
BARN = "Where does a llama sleep?"
BEASTS = "Which beasts of burden hum?"  # so that words alone do not hold it


def drop(served: Any, name: str, text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return served.post("/documents", {"name": name, "content": base64.b64encode(data).decode()})


def test_ask_gives_what_the_command_prints(serving: Start, echo: LanguageModel, docs: Path) -> None:
    told = serving(echo, docs=docs).post("/ask", {"question": BARN}).json()
    with build_in_memory([docs]) as index:
        expected = ask(index, BARN)
    assert list(told) == ["found", "answer", "citations", "seconds"]
    assert (told["found"], told["answer"]) == (True, expected.answer)
    assert [list(citation) for citation in told["citations"]] == [["document", "start", "end", "quote", "score"]] * len(expected.citations)
    for citation in told["citations"]:
        assert read(docs / citation["document"]).text[citation["start"] : citation["end"]] == citation["quote"]


def test_nothing_found_says_so_and_names_the_nearest_where_asked(serving: Start, echo: LanguageModel, docs: Path) -> None:
    served = serving(echo, docs=docs)
    told = served.post("/ask", {"question": "Who built the great bridge over the river?"}).json()
    assert (told["found"], told["answer"], told["citations"]) == (False, "", [])
    assert "nearest" not in told
    assert "sure" not in told
    told = served.post("/ask", {"question": "Who built the great bridge over the river?", "nearest": True}).json()
    assert told["found"] is told["sure"] is False
    assert told["nearest"] == []
    told = served.post("/ask", {"question": "How old does a llama become?", "nearest": True}).json()
    assert told["sure"] is False


def test_only_the_chosen_documents_are_asked(serving: Start, echo: LanguageModel, docs: Path) -> None:
    served = serving(echo, docs=docs)
    assert served.post("/ask", {"question": BARN, "documents": ["guides/oven.md", "豆腐.md"]}).json()["found"] is False
    told = served.post("/ask", {"question": BARN, "documents": ["llamas.txt"]}).json()
    assert {citation["document"] for citation in told["citations"]} == {"llamas.txt"}
    assert served.post("/ask", {"question": BARN, "documents": ["../llamas.txt"]}).status_code == 404
    assert served.post("/ask", {"question": BARN, "documents": []}).status_code == 400


def test_a_chosen_document_is_found_behind_many_better_ones(serving: Start, echo: LanguageModel, tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}.txt").write_text("A llama sleeps in the barn. " * 2)
    (tmp_path / "last.txt").write_text(
        "Long ago, some say, there was a llama that would sleep in a tree beside the river, and nobody minded. " * 2
    )
    told = serving(echo, docs=tmp_path).post("/ask", {"question": "Where does the llama sleep?", "documents": ["last.txt"]}).json()
    assert [citation["document"] for citation in told["citations"]] == ["last.txt"]


def test_vectors_of_the_index_are_asked_too(docs: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "encoder", tmp_path / "index"
    torch.manual_seed(0)
    words = Backend(WordLevel({"[UNK]": 0, "[END]": 1, "llama": 2, "sleep": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.add_special_tokens(["[END]", "[UNK]"])
    tokenizer = Tokenizer(words.to_str(), {"eos_token": "[END]", "unk_token": "[UNK]"})
    huggingface.save_folder(model, bert.Model(replace(bert.TINY, vocab_size=4)), tokenizer)
    build([docs], out, vectors=str(model)).close()
    library = Library(lambda: open_index(out))
    try:
        assert asyncio.run(library.ask(BARN, documents=["llamas.txt"])).found
    finally:
        library.close()
    (model / "config.json").write_text((model / "config.json").read_text() + " ")
    with pytest.raises(BadFileError, match="not the"):
        Library(lambda: open_index(out))


def test_vectors_at_another_server(docs: Path, tmp_path: Path, said: list[str]) -> None:
    """It is asked where its address was given; a client is not told what it is."""
    model, out = tmp_path / "encoder", tmp_path / "index"
    huggingface.save_folder(model, drawn(bert), tokenizer())
    with qdrant_server.serving() as other:
        build([docs], out, vectors=str(model), at=other.address).close()
        num = len(other.asked)
        with contextlib.closing(Library(lambda: open_index(out))) as library:
            asyncio.run(library.ask(BEASTS, documents=["llamas.txt"]))
        assert len(other.asked) == num
        assert "words alone" in said[-1]
        with contextlib.closing(Library(lambda: open_index(out), at=other.address)) as library:
            asyncio.run(library.ask(BEASTS, documents=["llamas.txt"]))
            assert other.asked[-1][1].endswith("/points/query")
            other.raw = (500, b"{}")
            with pytest.raises(NetworkError) as error:
                asyncio.run(library.ask(BEASTS))
        told = refused(error.value)
        assert told.status == 503
        assert other.address not in told.message
        assert other.address in said[-1]


def test_documents_are_listed_and_their_text_is_what_offsets_count_in(serving: Start, echo: LanguageModel, docs: Path) -> None:
    served = serving(echo, docs=docs)
    listed = served.client.get("/documents").json()
    assert [each["document"] for each in listed["documents"]] == ["guides/oven.md", "llamas.txt", "豆腐.md"]
    assert listed["total"] == 3
    for each in listed["documents"]:
        told = served.client.get(f"/documents/{each['document']}").json()
        assert told["text"] == read(docs / each["document"]).text
        assert len(told["text"]) == each["characters"] == told["characters"]
        part = served.client.get(f"/documents/{each['document']}?start=3&end=9").json()
        assert (part["text"], part["offset"]) == (told["text"][3:9], 3)
        beyond = served.client.get(f"/documents/{each['document']}?start=10000").json()
        assert (beyond["text"], beyond["offset"]) == ("", each["characters"])


@pytest.mark.parametrize("path", ["nothing.txt", "../docs/llamas.txt", "..%2f..%2fetc%2fpasswd", "%00", "llamas.txt/", "/etc/passwd"])
def test_no_path_leads_out_of_the_index(serving: Start, echo: LanguageModel, docs: Path, path: str) -> None:
    served = serving(echo, docs=docs)
    assert served.client.get(f"/documents/{path}").status_code == 404


@pytest.mark.parametrize("query", ["start=-1", "end=x", "start=1.5", "start=99999999999999999999", "start=%D9%A1"])
def test_a_place_is_a_number(serving: Start, echo: LanguageModel, docs: Path, query: str) -> None:
    assert serving(echo, docs=docs).client.get(f"/documents/llamas.txt?{query}").status_code == 400


def test_a_dropped_file_is_asked_beside_the_index(serving: Start, echo: LanguageModel, docs: Path) -> None:
    served = serving(echo, docs=docs)
    made = drop(served, "bread.md", "# Bread\n\nRye bread rests for nine hours.\n")
    assert (made.status_code, made.json()["document"], made.json()["dropped"]) == (201, "dropped/bread.md", True)
    told = served.post("/ask", {"question": "How long does rye bread rest?"}).json()
    assert told["citations"][0]["document"] == "dropped/bread.md"
    assert served.post("/ask", {"question": BARN}).json()["citations"][0]["document"] == "llamas.txt"
    text = served.client.get("/documents/dropped/bread.md").json()["text"]
    [citation] = told["citations"]
    assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_a_dropped_file_replaces_one_of_its_name(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo)
    drop(served, "bread.txt", "Rye bread rests for nine hours.")
    drop(served, "milk.txt", "Milk is kept at four degrees.")
    assert drop(served, "bread.txt", "Rye bread rests for twelve hours.").status_code == 201
    assert "twelve" in served.post("/ask", {"question": "How long does rye bread rest?"}).json()["answer"]
    # What cannot be read leaves things as they were.
    assert drop(served, "bread.txt", b"\x00\x01\x02\xff\xfe" * 100).status_code == 400
    assert "twelve" in served.post("/ask", {"question": "How long does rye bread rest?"}).json()["answer"]
    assert served.client.get("/documents").json()["total"] == 2


@pytest.mark.parametrize("first", [True, False])
def test_a_file_that_cannot_be_read_says_why_and_not_where(serving: Start, echo: LanguageModel, first: bool) -> None:
    served = serving(echo)
    if not first:
        drop(served, "good.txt", "All is well.")
    error = drop(served, "photo.png", b"\x89PNG").json()["error"]
    assert error["message"] == "no reader for .png"
    assert served.client.get("/documents").json()["total"] == (0 if first else 1)


def test_what_was_dropped_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    library = Library()
    asyncio.run(library.add("a.txt", b"Llamas hum."))
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["a.txt"]
    library.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_has_a_limit(serving: Start, echo: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DROPPED", 2)
    served = serving(echo)
    assert [drop(served, f"{name}.txt", "Llamas hum.").status_code for name in "aba"] == [201, 201, 201]
    assert drop(served, "c.txt", "Llamas hum.").status_code == 400
    monkeypatch.setattr(module, "MOST_DROPPED", 9)
    monkeypatch.setattr(module, "MOST_BYTES", 30)
    assert drop(served, "c.txt", "Llamas hum.").status_code == 400


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b.txt", "a\\b.txt", "a\x00.txt", "a\n.txt", "\u202etxt.a", " a.txt", "x" * 201]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_an_index_is_only_read(serving: Start, echo: LanguageModel, docs: Path, tmp_path: Path) -> None:
    import asyncio

    path = tmp_path / "made.index"
    build([docs], path).close()
    before = path.read_bytes()
    library = Library(lambda: open_index(path))
    asyncio.run(library.add("bread.txt", b"Rye bread rests for nine hours."))
    found = asyncio.run(library.ask("How long does rye bread rest?"))
    assert found.citations[0].document == "dropped/bread.txt"
    library.close()
    assert path.read_bytes() == before


def test_an_index_that_is_none_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no index")
    with pytest.raises(BadFileError):
        Library(lambda: open_index(tmp_path / "x"))


def test_words_of_the_model_are_kept_only_where_quotes_bear_them(serving: Start, echo: LanguageModel, docs: Path) -> None:
    served = serving(echo, docs=docs)
    plain = served.post("/ask", {"question": BARN}).json()
    echo.model.says = "Llamas live on 7 moons of Jupiter."  # type: ignore[assignment]
    told = served.post("/ask", {"question": BARN, "phrase": True}).json()
    assert echo.model.steps > 0  # type: ignore[operator]
    assert told | {"seconds": 0} == plain | {"seconds": 0}
    echo.model.says = "The llama sleeps in the barn. [1]"  # type: ignore[assignment]
    told = served.post("/ask", {"question": BARN, "phrase": True}).json()
    assert told["answer"].startswith("The llama sleeps in the barn. [1]")
    assert told["citations"] == plain["citations"]


def test_who_leaves_while_the_model_phrases_frees_the_place(serving: Start, echo: LanguageModel, docs: Path) -> None:
    import httpx

    served = serving(echo, docs=docs)
    echo.model.pause = 0.02  # type: ignore[assignment]
    with httpx.Client(base_url=served.url, trust_env=False) as leaving, pytest.raises(httpx.ReadTimeout):
        leaving.post("/ask", json={"question": BARN, "phrase": True}, timeout=0.3)
    assert served.until(lambda: not served.application.busy, seconds=1)
    assert echo.model.steps < 60  # type: ignore[operator]


def test_without_documents_there_is_nothing_to_ask(serving: Start, echo: LanguageModel) -> None:
    refused = serving(echo).post("/ask", {"question": BARN})
    assert refused.status_code == 400
    assert "Drop files in" in refused.json()["error"]["message"]


def test_errors_have_openais_form_everywhere(serving: Start, echo: LanguageModel) -> None:
    served = serving(echo)
    for answer in (served.client.get("/nothing"), served.client.put("/ask", json={}), served.client.get("/ask")):
        assert answer.status_code in (404, 405)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
