"""The quickstart's report: text, tokenizer, ladder, speak, ask, on one page that a newcomer can read in five minutes.

Takes: the results of a quickstart, a plain object as ``quickstart.json`` keeps it.
Gives: one HTML page. Whatever came from a document or a model is escaped; the page asks nobody for anything.
Does not know: how a result was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llamarium.cli._quickstart.words import Voice, number, share
from llamarium.ground.errors import MissingExtraError
from llamarium.ground.page import Html, bar, details, element, page, picture, table, tiles
from llamarium.ground.picture import line_chart
from llamarium.ground.progress import size

Results = dict[str, Any]

MOST_BAD_FILES = 100
PACKERS = ("gzip", "xz")
COUNTS = ("bigram", "5-gram")
WIDE, NARROW = (860, 420), (400, 380)  # pixels


def render(results: Results) -> str:
    """The page for `results`, in the language they name::

    language, version, date, minutes; machine {processor, threads, torch, precision}; phases [{name, seconds}]
    text {source, documents_in, documents_out, characters_out, train_bytes, valid_bytes, dropped {reason: count},
          examples {reason: [text]}, languages {code: count}, leak, bad_files [{path, reason}]}
    tokenizer {vocab_size, bytes_per_token, pieces [text]}
    ladder {references [{key, name, bits_per_byte, seconds, note}], overtakes [{over: key, minute or null}],
            own {name, parameters, curve [{minutes, bits_per_byte}], bits_per_byte, tokens, seconds},
            catalogue {name, parameters, before, after, seconds, tokens_scored} or null, catalogue_missing}
    speak {prompt, text, tokens_per_second, repetition}
    ask [{question, kind: answerable or unanswerable, alone {model, text} or null, found, answer,
          citations [{document, start, end, quote, score, highlights [[start, end] in the quote]}]}]
    network {bytes_sent or null, how}; next [command]
    """
    voice = Voice(results["language"])
    body = [
        *_top(results, voice),
        *_text(results["text"], voice),
        *_tokenizer(results["tokenizer"], voice),
        *_ladder(results, voice),
        *_speak(results, voice),
        *_ask(results, voice),
        *_foot(results, voice),
    ]
    return page(f"{voice('title')} · Llamarium", Html("\n").join(body), language=voice.language, style=_STYLE)


def _heading(step: int, title: str) -> Html:
    return element("h2", element("span", step, class_="step"), title)


def _top(results: Results, voice: Voice) -> list[Html]:
    text, ladder = results["text"], results["ladder"]
    catalogue, own, sent = ladder["catalogue"], ladder["own"], results["network"]["bytes_sent"]
    seconds = sum(phase["seconds"] for phase in results["phases"])
    claim = "claim" if catalogue else "claim_without_catalogue"
    entries = [
        (voice("top_text"), number(text["documents_out"]), voice("of", number=number(text["documents_in"]))),
        (voice("top_own"), number(own["bits_per_byte"], digits=3), voice("bits_per_byte")),
    ]
    if catalogue:
        before = number(catalogue["before"], digits=3)
        entries.append((voice("top_catalogue"), number(catalogue["after"], digits=3), voice("top_catalogue_note", before=before)))
    quotes = sum(len(asked["citations"]) for asked in results["ask"])
    entries.append((voice("top_quotes"), number(quotes), voice("top_quotes_note") if quotes else ""))
    entries.append((voice("top_sent"), number(sent), voice("not_measured" if sent is None else "top_sent_note")))
    return [
        element("p", voice("quickstart"), class_="eyebrow"),
        element("h1", voice("title")),
        element("p", voice(claim, time=voice.time(seconds), size=size(text["train_bytes"] + text["valid_bytes"])), class_="lead"),
        tiles(entries),
    ]


# --- 1 ---


def _text(text: Results, voice: Voice) -> list[Html]:
    read, kept, valid = number(text["documents_in"]), number(text["documents_out"]), size(text["valid_bytes"])
    parts = [
        _heading(1, voice("text")),
        element("p", voice("text_lead", source=voice.known("source", text["source"]), kept=kept, read=read, valid=valid)),
        tiles(
            [
                (voice("documents"), kept, voice("of", number=read)),
                (voice("characters"), voice.short(text["characters_out"]), number(text["characters_out"])),
                (voice("to_train"), size(text["train_bytes"]), ""),
                (voice("to_validate"), size(text["valid_bytes"]), ""),
            ]
        ),
        element("h3", voice("dropped")),
    ]
    dropped = sorted(((count, reason) for reason, count in text["dropped"].items() if count), reverse=True)
    rows = [(voice.known("reason", reason), number(count), bar(count / dropped[0][0])) for count, reason in dropped]
    parts.append(table(rows, (voice("reason"), voice("documents"), ""), numbers=(1,)) if rows else element("p", voice("dropped_none")))
    for reason, examples in text["examples"].items():
        if examples:
            quoted = [element("blockquote", example) for example in examples]
            parts.append(details(voice("examples", reason=voice.known("reason", reason)), *quoted))
    languages = sorted(text["languages"].items(), key=lambda item: (-item[1], item[0]))
    named = voice("and").join(f"{voice.known('language', code)} {number(count)}" for code, count in languages)
    parts.append(element("p", voice("languages", list=named or voice("none"))))
    parts.append(element("p", _leak(text["leak"], voice)))
    if bad := text["bad_files"]:
        more = [element("li", "…")] if len(bad) > MOST_BAD_FILES else []
        listed = [element("li", element("code", file["path"]), " ", element("span", file["reason"], class_="soft")) for file in bad]
        parts.append(details(voice("bad_files", number=number(len(bad))), element("ul", *listed[:MOST_BAD_FILES], *more)))
    return parts


def _leak(leak: float | None, voice: Voice) -> str:
    if leak is None:
        return voice("leak_unknown")
    return voice("leak", share=share(leak)) if leak > 0 else voice("leak_none")


# --- 2 ---


def _tokenizer(tokenizer: Results, voice: Voice) -> list[Html]:
    pieces, average = number(tokenizer["vocab_size"]), number(tokenizer["bytes_per_token"], digits=2)
    parts = [_heading(2, voice("tokenizer")), element("p", voice("tokenizer_lead", pieces=pieces, bytes=average))]
    if tokenizer["pieces"]:
        chips = [element("span", piece.replace("\r", "").replace("\n", "↵").replace("\t", "⇥") or "∅") for piece in tokenizer["pieces"]]
        parts += [element("p", voice("tokenizer_pieces"), class_="soft"), element("div", *chips, class_="pieces")]
    return parts


# --- 3 ---


def _ladder(results: Results, voice: Voice) -> list[Html]:
    ladder = results["ladder"]
    return [
        _heading(3, voice("ladder")),
        element("p", voice("ladder_lead")),
        _chart(ladder, voice),
        *_before_after(ladder, voice),
        _rungs(ladder, voice),
        *_overtakes(results, voice),
    ]


def _own_name(ladder: Results, voice: Voice) -> str:
    return voice.known("who", ladder["own"]["name"])


def _chart(ladder: Results, voice: Voice) -> Html:
    """The ladder as a picture: our own model on its way, the others as levels; values first, since a long name is cut off."""

    def named(bits: float, name: str) -> str:
        return f"{bits:.3f}  {name}"

    own, catalogue = ladder["own"], ladder["catalogue"]
    drawn = [rung for rung in ladder["references"] if rung["key"] in (*PACKERS, *COUNTS)]
    levels = {named(rung["bits_per_byte"], rung["name"]): rung["bits_per_byte"] for rung in drawn}
    curve = [(point["minutes"], point["bits_per_byte"]) for point in own["curve"]] or [(own["seconds"] / 60, own["bits_per_byte"])]
    series = {named(own["bits_per_byte"], _own_name(ladder, voice)): curve}
    if catalogue:
        before, after = catalogue["before"], catalogue["after"]
        levels[named(before, catalogue["name"])] = before
        series[named(after, voice("chart_after"))] = [(0.0, before), (catalogue["seconds"] / 60, after)]

    def draw(width: int, height: int) -> str:
        return line_chart(
            series,
            title=voice("chart_title"),
            x_label=voice("chart_x"),
            y_label=voice("chart_y"),
            references=levels,
            from_zero=True,
            width=width,
            height=height,
        )

    try:
        return picture(draw(*WIDE), draw(*NARROW))
    except MissingExtraError as error:
        return element("p", f"{voice('no_picture')} {error.message} {error.hint}", class_="warn")


def _before_after(ladder: Results, voice: Voice) -> list[Html]:
    """What reading the user's text did to a real model: the strongest thing this page has to show."""
    catalogue = ladder["catalogue"]
    if catalogue is None:
        missing = element("p", element("b", voice("catalogue_missing")), " ", ladder["catalogue_missing"])
        return [element("div", missing, class_="card aside")]
    before, after = catalogue["before"], catalogue["after"]
    better = after < before
    values = {"name": catalogue["name"], "parameters": voice.short(catalogue["parameters"])}
    told = voice("gained", **values, share=share((before - after) / before)) if better else voice("gained_nothing", **values)

    def side(words: str, bits: float, kind: str) -> Html:
        return element("div", element("small", words), element("strong", number(bits, digits=3)), class_=kind)

    arrow = element("div", "→", class_="arrow", aria_hidden="true")
    change = element("div", f"{'−' if better else '+'}{share(abs(before - after) / before)}", class_="change") if before else ""
    numbers = element(
        "div",
        side(voice("before"), before, "before"),
        arrow,
        side(voice("after", time=voice.time(catalogue["seconds"])), after, "after"),
        change,
        class_="numbers",
    )
    scored = element("p", voice("scored", tokens=number(catalogue["tokens_scored"])), class_="soft")
    return [element("div", element("h3", voice("before_after")), numbers, element("p", told), scored, class_="card before-after")]


def _rungs(ladder: Results, voice: Voice) -> Html:
    """Everyone on the ladder, the best first."""
    own, catalogue = ladder["own"], ladder["catalogue"]
    rungs = [(r["bits_per_byte"], r["name"], r["seconds"], r["note"] or voice.known("note", r["key"]), "") for r in ladder["references"]]
    note = voice("own_note", parameters=voice.short(own["parameters"]), tokens=voice.short(own["tokens"]))
    rungs.append((own["bits_per_byte"], _own_name(ladder, voice), own["seconds"], note, "one"))
    if catalogue:
        note = voice("before_note", parameters=voice.short(catalogue["parameters"]))
        rungs.append((catalogue["before"], voice("who_before", name=catalogue["name"]), None, note, "two"))
        rungs.append((catalogue["after"], voice("who_after", name=catalogue["name"]), catalogue["seconds"], voice("after_note"), "two"))
    rungs.sort(key=lambda rung: rung[0])
    most = max(bits for bits, *_ in rungs) or 1.0
    rows = []
    for bits, name, seconds, note, kind in rungs:
        who = element("div", element("b", name) if kind else name, element("small", note))
        rows.append((who, number(bits, digits=3), bar(bits / most, kind=kind), voice.time(seconds)))
    return table(rows, (voice("who"), voice("bits_per_byte"), "", voice("time")), numbers=(1, 3))


def _overtakes(results: Results, voice: Voice) -> list[Html]:
    """When our own model went past the others; where it did not, an honest word about why."""
    ladder = results["ladder"]
    names = {rung["key"]: rung["name"] for rung in ladder["references"]}
    rows = []
    for overtake in ladder["overtakes"]:
        minute = overtake["minute"]
        passed = voice("overtook", minute=f"{minute:.1f}") if minute is not None else voice("overtook_not")
        rows.append((names.get(overtake["over"], overtake["over"]), element("span", passed, class_="soft" if minute is None else "done")))
    ahead = {overtake["over"] for overtake in ladder["overtakes"] if overtake["minute"] is None}
    time = voice.time(ladder["own"]["seconds"])
    reasons = []
    if "5-gram" in ahead:
        reasons.append(voice("why_counts", size=size(results["text"]["train_bytes"]), time=time))
    if ahead.intersection(PACKERS):
        reasons.append(voice("why_packers", time=time))
    if not rows:
        return []
    return [element("h3", voice("overtakes")), table(rows, ()), *(element("p", reason) for reason in reasons)]


# --- 4 ---


def _speak(results: Results, voice: Voice) -> list[Html]:
    speak = results["speak"]
    return [
        _heading(4, voice("speak")),
        element("p", voice("speak_lead", time=voice.time(results["ladder"]["own"]["seconds"]))),
        element("blockquote", element("b", speak["prompt"]), speak["text"], class_="speech"),
        tiles(
            [
                (voice("speed"), number(speak["tokens_per_second"]), ""),
                (voice("repetition"), share(speak["repetition"]), voice("repetition_note")),
            ]
        ),
    ]


# --- 5 ---


def _ask(results: Results, voice: Voice) -> list[Html]:
    parts = [_heading(5, voice("ask")), element("p", voice("ask_lead"))]
    for asked in results["ask"]:
        note = element("p", voice("question_unanswerable"), class_="soft") if asked["kind"] == "unanswerable" else ""
        columns = element("div", _alone(asked["alone"], voice), _quoted(asked, voice), class_="columns")
        parts.append(element("section", element("h3", asked["question"], class_="question"), note, columns))
    return parts


def _alone(alone: Results | None, voice: Voice) -> Html:
    head = element(
        "p", voice("alone"), " ", element("span", voice("alone_badge"), class_="badge doubt") if alone else "", class_="column-head"
    )
    if alone is None:
        return element("div", head, element("p", voice("alone_none"), class_="soft"), class_="column")
    said = element("blockquote", alone["text"], class_="doubtful")
    return element("div", head, said, element("p", element("small", alone["model"])), class_="column")


def _quoted(asked: Results, voice: Voice) -> Html:
    citations = asked["citations"] if asked["found"] else []
    expected = asked["kind"] != "unanswerable"
    head = element(
        "p", voice("with_documents"), " ", element("span", voice("quoted_badge"), class_="badge") if citations else "", class_="column-head"
    )
    parts: list[Html] = []
    if asked["found"]:
        if _says_more(asked["answer"], citations):
            parts.append(element("p", asked["answer"], class_="answer"))
        parts += [_citation(citation, voice) for citation in citations]
        if not expected:
            parts.append(element("p", voice("found_unexpected"), class_="warn"))
    else:
        parts.append(element("p", voice("not_found"), class_="not-found"))
        parts.append(element("p", voice("not_found_unexpected" if expected else "not_found_lead"), class_="warn" if expected else "soft"))
    return element("div", head, *parts, class_="column")


def _says_more(answer: str, citations: Sequence[Results]) -> bool:
    """Whether the answer is more than its quotes one after the other, which stand below it anyway."""
    for citation in citations:
        answer = answer.replace(citation["quote"].strip(), "", 1)
    return bool(answer.strip())


def _citation(citation: Results, voice: Voice) -> Html:
    place = element("code", element("bdi", citation["document"]), f":{citation['start']}–{citation['end']}")
    check = element("span", "✓ ", voice("checked"), class_="done")
    return element(
        "figure",
        element("blockquote", *highlighted(citation["quote"], citation.get("highlights") or [])),
        element("figcaption", place, " ", check),
        class_="citation",
    )


def highlighted(quote: str, spans: Iterable[Sequence[int]]) -> list[str]:
    """`quote` in pieces, with `spans` (code points in it, in any order, overlapping or beyond its ends) inside ``<mark>``.

    >>> highlighted("the llama eats", [[4, 9]])
    ['the ', '<mark>llama</mark>', ' eats']
    """
    pieces: list[str] = []
    done = 0
    for start, end in sorted((max(0, start), min(len(quote), end)) for start, end in spans):
        start = max(start, done)
        if end > start:
            pieces += [quote[done:start]] if start > done else []
            pieces.append(element("mark", quote[start:end]))
            done = end
    return [*pieces, quote[done:]] if done < len(quote) else pieces


# --- the foot ---


def _foot(results: Results, voice: Voice) -> list[Html]:
    machine, phases, network = results["machine"], results["phases"], results["network"]
    sent = network["bytes_sent"]
    longest = max((phase["seconds"] for phase in phases), default=0) or 1.0
    rows = [(voice.known("phase", phase["name"]), voice.time(phase["seconds"]), bar(phase["seconds"] / longest)) for phase in phases]
    rows.append((element("b", voice("phase_sum")), element("b", voice.time(sum(phase["seconds"] for phase in phases))), Html()))
    told = network["how"] or (voice("network_unknown") if sent is None else voice("network_line", bytes=number(sent)))
    version = voice("version_line", version=results["version"], date=results["date"], minutes=f"{results['minutes']:g}")
    return [
        element("h2", voice("next")),
        *(element("pre", command, class_="command") for command in results["next"]),
        element("h2", voice("phases")),
        table(rows, (), numbers=(1,)),
        element(
            "footer",
            element("p", element("b", voice("machine")), " ", voice("machine_line", **machine)),
            element("p", element("b", voice("network")), " ", told),
            element("p", version),
        ),
    ]


_STYLE = """\
.eyebrow { color: var(--accent); font-weight: 600; margin: 0 0 .5rem; }
.step { display: inline-grid; place-items: center; width: 1.9rem; height: 1.9rem; margin-right: .7rem; border-radius: 50%;
  background: var(--accent-wash); color: var(--accent); font-size: 1rem; font-variant-numeric: tabular-nums; }
td small { display: block; line-height: 1.4; } .done { color: var(--accent); }
.card { border: 1px solid var(--line); border-radius: .8rem; padding: 1.25rem 1.5rem; margin: 1.5rem 0; }
.card h3 { margin-top: 0; } .card p:last-child { margin-bottom: 0; } .aside { background: var(--card); }
.before-after { background: var(--accent-wash); border-color: transparent; }
.numbers { display: flex; flex-wrap: wrap; align-items: end; gap: .25rem 1.5rem; margin: .5rem 0 1rem; }
.numbers small { display: block; }
.numbers strong { font-size: clamp(2rem, 6vw, 3.1rem); line-height: 1.15; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.numbers .before strong { color: var(--soft); font-weight: 450; } .numbers .after strong { color: var(--accent); }
.arrow { font-size: 1.8rem; line-height: 1.9; color: var(--soft); }
.change { margin: 0 0 .6rem auto; padding: .2rem .8rem; border-radius: 2rem; font-weight: 600;
  background: var(--accent); color: var(--paper); }
.pieces { font-size: 1.02rem; line-height: 2.1; }
.pieces span { display: inline-block; max-width: 100%; line-height: 1.5;
  white-space: pre-wrap; padding: .2rem .1rem; border-radius: .25rem; margin-right: 2px;
  background: var(--card); box-shadow: inset 0 -2px var(--line); }
.pieces span:nth-child(even) { background: var(--accent-wash); }
.speech { font-family: ui-serif, Georgia, "Songti SC", "Noto Serif CJK SC", serif; font-size: 1.08rem; padding: 1rem 1.25rem; }
.speech b { color: var(--accent); font-weight: 600; }
section { margin: 1.5rem 0 2.25rem; } .question { font-size: 1.15rem; margin-bottom: .35rem; }
.columns { display: grid; grid-template-columns: 1fr 2fr; gap: 1.25rem; }
@media (max-width: 40rem) { .columns { grid-template-columns: 1fr; } }
.column { min-width: 0; } .column-head { font-weight: 600; margin-bottom: .5rem; }
.badge { display: inline-block; padding: .05rem .6rem; border-radius: 1rem; font-size: .8rem; font-weight: 500;
  background: var(--accent-wash); color: var(--accent); }
.badge.doubt { background: var(--warn-wash); color: var(--warn); }
.doubtful { background: none; border: 1px dashed var(--warn); margin-bottom: .3rem; }
.citation { margin: 0 0 1rem; } .citation figcaption { font-size: .86rem; line-height: 1.5; }
.citation blockquote { font-size: .93rem; border-left: 3px solid var(--accent); border-radius: 0 .5rem .5rem 0; margin-bottom: .3rem; }
.answer { font-weight: 500; } .not-found { font-size: 1.3rem; font-weight: 600; color: var(--accent); margin: .25rem 0; }
.command { margin: .4rem 0; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; color: var(--soft); font-size: .92rem; }
"""
