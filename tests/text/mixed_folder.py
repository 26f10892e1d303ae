"""A folder as people have them: thirty files of more than ten formats, two of them broken, two made to do harm."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import zstandard
from tests.text import files

BROKEN = ("notes/cut-off.pdf", "notes/half.json")
HOSTILE = ("archive/bomb.txt.gz", "letters/entities.docx")
BAD = frozenset(BROKEN + HOSTILE)

_ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
_ANIMALS = ("llama", "alpaca", "vicuña", "guanaco", "camel", "dromedary")
_CHINESE = ("羊驼", "骆驼", "绵羊", "山羊", "牦牛", "马")


def english(number: int) -> str:
    """A short text that is like no other: words, not noise."""
    animal = _ANIMALS[number % len(_ANIMALS)]
    lines = [
        f"The {animal} of farm number {number} wakes before the sun and walks {number + 2} miles to the river.",
        f"There it drinks, waits for the {_ANIMALS[(number + 1) % len(_ANIMALS)]}, and eats grass until noon.",
        f"In winter the farmer brings {3 * number + 4} bales of hay, and the {animal} sleeps in the barn beside the mill.",
        f"Nobody remembers who bought the first {animal}, but letter {number} in the town hall tells of a fair in 18{number:02}.",
    ]
    return "\n\n".join(lines)


def chinese(number: int) -> str:
    """A short Chinese text that is like no other."""
    animal, other = _CHINESE[number % len(_CHINESE)], _CHINESE[(number + 1) % len(_CHINESE)]
    lines = [
        f"第{number}号农场的{animal}天不亮就醒了，走{number + 2}里路到河边喝水。它在那里等{other}，一直吃草到中午。",
        f"冬天，农夫送来{3 * number + 4}捆干草，{animal}睡在磨坊旁边的仓库里。村里没有人记得是谁买来了第一头{animal}。",
    ]
    return "\n\n".join(lines)


def build(folder: Path) -> list[str]:
    """Write the folder; the names of its files, '/' between."""
    contents = {
        "readme.txt": english(0).encode(),
        "windows.txt": english(1).replace("\n", "\r\n").encode("utf-8-sig"),
        "utf16.txt": english(2).encode("utf-16"),
        "guobiao.txt": chinese(3).encode("gb18030"),
        "notes/plain.text": chinese(4).encode(),
        "notes/list.md": f"# Farm\n\n* one\n* two\n\n{english(5)}\n".encode(),
        "notes/草.markdown": f"# 农场\n\n**{chinese(6)}**\n".encode(),
        "notes/page.html": _page(english(7)),
        "notes/chinese.htm": _page(chinese(8)),
        "notes/tool.py": f'"""{english(9)}"""\n\n\ndef eat() -> None:\n    """Eat the hay of the second farm."""\n'.encode(),
        "notes/report.pdf": files.pdf([english(10), english(11)]),
        "notes/open.pdf": files.encrypted_pdf(files.pdf([english(12)]), ""),
        "notes/cut-off.pdf": files.pdf([english(13)])[:-200],
        "notes/half.json": json.dumps([{"text": english(14)}]).encode()[:-10],
        "letters/letter.docx": files.docx("".join(map(files.paragraph, english(15).split("\n\n")))),
        "letters/信.docx": files.docx(files.paragraph(chinese(16))),
        "letters/letter.odt": files.odt("".join(f"<text:p>{part}</text:p>" for part in english(17).split("\n\n"))),
        "letters/entities.docx": files.archive({"word/document.xml": f'<!DOCTYPE d [<!ENTITY e0 "ha">{_ENTITIES}]><d>&e9;</d>'}),
        "letters/book.epub": files.epub({"one.xhtml": f"<p>{english(18)}</p>", "two.xhtml": f"<p>{chinese(19)}</p>"}),
        "data/records.json": json.dumps([{"text": english(20)}, {"text": english(21)}]).encode(),
        "data/records.jsonl": b"".join(json.dumps({"text": chinese(n)}).encode() + b"\n" for n in (22, 23)),
        "data/questions.ndjson": json.dumps({"question": "What does the llama eat?", "answer": english(24)}).encode(),
        "data/table.csv": f'number,text\n1,"{english(25)}"\n2,"{english(26)}"\n'.encode(),
        "data/table.tsv": f"number\ttext\n1\t{chinese(27).replace(chr(10), ' ')}\n".encode(),
        "data/module.pyi": f'"""{english(28)}"""\n'.encode(),
        "archive/old.txt.gz": gzip.compress(english(29).encode(), mtime=0),
        "archive/old.jsonl.zst": zstandard.compress(json.dumps({"text": english(30)}).encode()),
        "archive/docs.zip": files.archive({"a.txt": english(31), "inner/b.docx": files.docx(files.paragraph(english(32)))}),
        "archive/log.txt.zst": zstandard.compress(chinese(33).encode()),
        "archive/bomb.txt.gz": gzip.compress(b"A llama. " * 2_000_000, mtime=0),
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return list(contents)


def _page(text: str) -> bytes:
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n\n"))
    menu = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/about'>About</a></li></ul></nav>"
    head = "<head><meta charset='utf-8'><title>The farm</title></head>"
    return f"<!DOCTYPE html><html>{head}<body>{menu}<main><article>{paragraphs}</article></main></body></html>".encode()
