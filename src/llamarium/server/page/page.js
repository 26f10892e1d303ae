// The page: what was asked, what was answered, and where it stands.
//
// Whatever a model, a document or a file name says becomes the text of a text node and nothing else: there is no other way in
// this file for a string to come onto the page, and the server's Content-Security-Policy (trusted types among it) allows none.
"use strict";

const byId = (id) => document.getElementById(id);
const SEEN_AROUND = 20000; // characters of a document that are shown on either side of a passage
const LARGEST_FILE = 24 * 1024 * 1024;
const MODES = ["ask", "chat", "both"];

const state = {
  language: "en", mode: "ask", documents: [], total: 0, left: new Set(),
  conversation: [], running: null, opener: null, viewed: null,
};

// --- words

const say = (name, values = {}) => WORDS[state.language][name].replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
const number = (value) => value.toLocaleString(state.language);

function speak(language) {
  state.language = language;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = say("name");
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say, node.values);
  for (const node of document.querySelectorAll("[data-say-label]")) node.setAttribute("aria-label", say(node.dataset.sayLabel));
  for (const node of document.querySelectorAll("[data-say-placeholder]")) node.placeholder = say(node.dataset.sayPlaceholder);
  const other = byId("language");
  [other.textContent, other.lang] = language === "zh" ? ["English", "en"] : ["中文", "zh-CN"];
  other.setAttribute("aria-label", other.textContent);
  showMode();
  showDocuments();
  if (state.viewed) noteOf(state.viewed);
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* a browser that keeps nothing is as good */ }
}

function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

// --- building

/** An element with a class and children; strings become text. */
function make(kind, className, ...children) {
  const node = document.createElement(kind);
  if (className) node.className = className;
  node.append(...children.map((child) => (typeof child === "string" ? document.createTextNode(child) : child)));
  return node;
}

/** An element whose text follows the language. */
function said(kind, className, name, values = {}) {
  const node = make(kind, className, say(name, values));
  node.dataset.say = name;
  node.values = values;
  return node;
}

/** Said to those who listen; `shown`, also to those who look, for a while. */
function announce(text, { shown = false } = {}) {
  const status = byId("status");
  status.textContent = text;
  status.classList.toggle("shown", shown);
  clearTimeout(state.fading);
  if (shown) state.fading = setTimeout(() => status.classList.remove("shown"), 8000);
}

// --- the server

class Refused extends Error {}

async function call(path, { body, signal } = {}) {
  const options = body === undefined ? { signal } : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(say("failed"));
  }
  if (response.ok) return response;
  if (response.status === 429) throw new Refused(say("isBusy"));
  const told = await response.json().catch(() => ({}));
  throw new Refused(told.error?.message ?? say("failed"));
}

const addressOf = (name) => "/documents/" + name.split("/").map(encodeURIComponent).join("/");

/** The data of each event of a stream. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    const parts = waiting.split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(event.error.message);
      yield event;
    }
  }
}

// --- documents

async function loadDocuments() {
  try {
    const answer = await (await call("/documents")).json();
    [state.documents, state.total] = [answer.documents, answer.total];
  } catch (error) {
    announce(error.message, { shown: true });
  }
  showDocuments();
}

const shownName = (listed) => (listed.dropped ? listed.document.replace(/^dropped\//, "") : listed.document);

function showDocuments() {
  const wanted = byId("filter").value.trim().toLowerCase();
  byId("filter").hidden = state.documents.length < 12;
  const rows = state.documents.filter((listed) => listed.document.toLowerCase().includes(wanted)).map((listed) => {
    const box = make("input");
    box.type = "checkbox";
    box.checked = !state.left.has(listed.document);
    box.setAttribute("aria-label", shownName(listed));
    box.addEventListener("change", () => {
      if (box.checked) state.left.delete(listed.document); else state.left.add(listed.document);
      countDocuments();
    });
    const link = make("a", "", shownName(listed));
    link.href = hashOf(listed.document);
    const row = make("li", "", make("label", "check", box), link);
    if (listed.dropped) row.append(said("small", "", "dropped"));
    return row;
  });
  if (state.total > state.documents.length && !wanted) {
    rows.push(said("li", "more", "notListed", { more: number(state.total - state.documents.length) }));
  }
  byId("list").replaceChildren(...rows);
  countDocuments();
}

function chosen() {
  return state.documents.map((listed) => listed.document).filter((name) => !state.left.has(name));
}

function countDocuments() {
  const values = { chosen: number(chosen().length + (state.left.size ? 0 : state.total - state.documents.length)), total: number(state.total) };
  byId("chosen").textContent = state.total ? say("chosen", values) : "";
  byId("open-documents").textContent = state.total ? say("asked", values) : say("askedNone");
  document.body.classList.toggle("empty", state.total === 0);
  showMode();
}

async function add(files) {
  for (const file of files) {
    if (file.size > LARGEST_FILE) {
      announce(say("tooLarge", { name: file.name }), { shown: true });
      continue;
    }
    announce(say("reading", { name: file.name }), { shown: true });
    try {
      const listed = await (await call("/documents", { body: { name: file.name, content: await inBase64(file) } })).json();
      state.left.delete(listed.document);
      announce(say("added", { name: file.name }), { shown: true });
    } catch (error) {
      announce(`${file.name}: ${error.message}`, { shown: true });
      continue;
    }
    await loadDocuments();
  }
}

function inBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.addEventListener("error", () => reject(new Refused(String(reader.error.message))));
    reader.readAsDataURL(file);
  });
}

// --- the document beside

const hashOf = (name, start, end) =>
  "#" + new URLSearchParams(start === undefined ? { document: name } : { document: name, start, end }).toString();

async function openViewer(name, start, end) {
  const cited = Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end;
  const from = cited ? Math.max(0, start - SEEN_AROUND) : 0;
  let told;
  try {
    told = await (await call(`${addressOf(name)}?start=${from}&end=${cited ? end + SEEN_AROUND : 2 * SEEN_AROUND}`)).json();
  } catch (error) {
    announce(error.message, { shown: true });
    return;
  }
  const points = Array.from(told.text); // offsets count code points, strings count halves of them
  state.viewed = { ...told, num: points.length, start, end, cited, mark: null };
  const text = byId("viewer-text");
  if (cited) {
    state.viewed.mark = make("mark", "", points.slice(start - from, end - from).join(""));
    text.replaceChildren(points.slice(0, start - from).join(""), state.viewed.mark, points.slice(end - from).join(""));
  } else {
    text.replaceChildren(told.text);
  }
  byId("viewer-name").textContent = shownName(told);
  noteOf(state.viewed);
  byId("viewer").hidden = false;
  document.body.classList.add("viewing");
  if (state.viewed.mark) {
    state.viewed.mark.scrollIntoView({ block: "center" });
  } else {
    text.scrollTop = 0;
  }
  byId("viewer-name").focus({ preventScroll: true });
}

function noteOf(viewed) {
  const parts = [];
  if (viewed.cited) {
    const quote = state.quotes?.get(hashOf(viewed.document, viewed.start, viewed.end));
    const holds = quote === undefined || quote === viewed.mark.textContent;
    parts.push(say(holds ? "verified" : "moved", { start: number(viewed.start), end: number(viewed.end) }));
  }
  if (viewed.num < viewed.characters) {
    parts.push(say("shown", { start: number(viewed.offset), end: number(viewed.offset + viewed.num), total: number(viewed.characters) }));
  } else if (!viewed.cited) {
    parts.push(say("whole", { total: number(viewed.characters) }));
  }
  byId("viewer-note").textContent = parts.join(" ");
}

function followHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("document")) {
    const place = (name) => (asked.has(name) ? Number(asked.get(name)) : undefined);
    openViewer(asked.get("document"), place("start"), place("end"));
  } else if (!byId("viewer").hidden) {
    byId("viewer").hidden = true;
    state.viewed = null;
    document.body.classList.remove("viewing");
    (state.opener?.isConnected ? state.opener : byId("message")).focus();
  }
}

function closeViewer() {
  history.pushState(null, "", location.pathname);
  followHash();
}

// --- answers

/** A quote and the link that opens it in its document. */
function cite(citation, place) {
  state.quotes ??= new Map();
  const hash = hashOf(citation.document, citation.start, citation.end);
  state.quotes.set(hash, citation.quote);
  const link = make("a", "citation", make("span", "mark", String(place)), make("span", "document", citation.document.replace(/^dropped\//, "")));
  link.append(said("span", "place", "place", { start: number(citation.start), end: number(citation.end) }));
  link.href = hash;
  return make("figure", "quote", make("blockquote", "", citation.quote), make("figcaption", "", link));
}

/** The model's words; [1] in them leads to where the first quote stands. */
function phrase(told) {
  const parts = told.answer.split(/\s*\[(\d{1,2})\]/).map((part, place) => {
    const citation = place % 2 ? told.citations[part - 1] : null;
    if (!citation) return place % 2 ? `[${part}]` : part;
    const link = make("a", "mark", part);
    link.href = hashOf(citation.document, citation.start, citation.end);
    return link;
  });
  return make("p", "phrased", ...parts);
}

function showAnswer(box, told, { phrased }) {
  const parts = [];
  if (told.found) {
    if (told.sure === false) parts.push(said("p", "label", "notSure"));
    if (phrased) parts.push(phrase(told), said("p", "label", "inWords"));
    const quotes = told.citations.map((citation, place) => cite(citation, place + 1));
    // What the answer is made of comes first; what else fits is quieter.
    const isMore = (citation) => !phrased && !told.answer.includes(citation.quote);
    const more = quotes.filter((_, place) => isMore(told.citations[place]));
    parts.push(...quotes.filter((quote) => !more.includes(quote)));
    if (more.length) parts.push(said("p", "label", "also"), make("div", "nearest", ...more));
  } else {
    parts.push(said("p", "not-found", "notFound"));
    if (told.nearest?.length) {
      const nearest = make("div", "nearest", ...told.nearest.map((citation, place) => cite(citation, place + 1)));
      parts.push(make("details", "", said("summary", "", "nearest"), nearest));
      parts.at(-1).open = true;
    }
  }
  box.replaceChildren(...parts);
}

/** Ask; with `plain`, the answer in quotes, for one in the model's words, which is shown only where there is one. */
async function ask(box, question, { plain, signal }) {
  if (state.total && !chosen().length) throw new Refused(say("noneChosen"));
  const body = { question, nearest: true, phrase: plain !== undefined };
  if (state.left.size) body.documents = chosen();
  const told = await (await call("/ask", { body, signal })).json();
  if (told.answer !== plain) showAnswer(box, told, { phrased: plain !== undefined });
  return told;
}

async function chat(box, messages, { signal }) {
  const text = document.createTextNode("");
  box.replaceChildren(make("p", "spoken", text));
  const body = { messages, stream: true, temperature: 0.7, top_p: 0.95 };
  const response = await call("/v1/chat/completions", { body, signal });
  let ended = null;
  try {
    for await (const event of events(response)) {
      const choice = event.choices[0];
      if (choice?.delta.content) {
        const follow = isAtEnd();
        text.appendData(choice.delta.content);
        if (follow) scrollToEnd();
      }
      ended = choice?.finish_reason ?? ended;
    }
  } finally {
    box.classList.remove("waiting");
    text.parentNode?.classList.add("whole");
  }
  if (ended === "length") box.append(said("p", "label", "cutShort"));
  return text.data;
}

const scroller = () => byId("main");
const isAtEnd = () => scroller().scrollHeight - scroller().scrollTop - scroller().clientHeight < 80;
function scrollToEnd() {
  scroller().scrollTop = scroller().scrollHeight;
}

const answerBox = () => make("div", "answer waiting", said("span", "dots", "thinking"));

/** Do `work` for a box; what goes wrong is said in it. Gives what `work` gives, or null. */
async function fill(box, work) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") {
      box.querySelector(".dots")?.remove();
      box.append(said("p", "label stopped", "stopped"));
    } else {
      box.querySelector(".dots")?.remove();
      box.append(make("p", "wrong", error instanceof Refused ? error.message : say("failed")));
      if (!(error instanceof Refused)) console.error(error);
    }
    return null;
  } finally {
    box.classList.remove("waiting");
  }
}

async function send(question) {
  const mode = state.mode;
  const stop = new AbortController();
  state.running = stop;
  showRunning();
  const log = byId(`turns-${mode}`);
  log.setAttribute("aria-busy", "true");
  const turn = make("article", "turn", make("h3", "asked", said("span", "unseen", "you"), make("span", "", question)));
  log.append(turn);
  showMode();
  const { signal } = stop;
  if (mode === "ask") {
    const box = answerBox();
    turn.append(box);
    turn.scrollIntoView({ block: "start" });
    await fill(box, () => ask(box, question, { signal }));
  } else if (mode === "chat") {
    const box = answerBox();
    turn.append(box);
    scrollToEnd();
    const messages = [...state.conversation, { role: "user", content: question }];
    const answer = await fill(box, () => chat(box, messages, { signal }));
    const spoken = answer ?? box.querySelector(".spoken")?.textContent;
    if (spoken) state.conversation = [...messages, { role: "assistant", content: spoken }];
  } else {
    const [alone, together] = [answerBox(), answerBox()];
    const column = (box, name, note, className) =>
      make("section", className, make("h4", "", said("span", "", name), said("small", "", note)), box);
    turn.append(make("div", "columns", column(alone, "alone", "aloneNote", "alone"), column(together, "withDocuments", "withNote", "together")));
    turn.scrollIntoView({ block: "start" });
    // Quotes need no model and are there at once; the model speaks alone first, then over them.
    const told = await fill(together, () => ask(together, question, { signal }));
    await fill(alone, () => chat(alone, [{ role: "user", content: question }], { signal }));
    if (told?.found && !signal.aborted) await fill(together, () => ask(together, question, { plain: told.answer, signal }));
  }
  log.removeAttribute("aria-busy");
  announce(signal.aborted ? say("stopped") : say("done"));
  if (state.running === stop) state.running = null;
  showRunning();
}

// --- what is shown

function showMode() {
  document.body.dataset.mode = state.mode;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const here = tab.dataset.mode === state.mode;
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
  }
  for (const mode of MODES) byId(`turns-${mode}`).hidden = mode !== state.mode;
  const fresh = !byId(`turns-${state.mode}`).hasChildNodes();
  byId("welcome").hidden = !fresh;
  byId("anew").hidden = fresh;
  const name = "welcome" + state.mode[0].toUpperCase() + state.mode.slice(1);
  byId("welcome").querySelector("h2").textContent = say(name);
  byId("welcome").querySelector("p").textContent = state.total || state.mode === "chat" ? say(name + "Text") : say("welcomeEmpty");
  const message = byId("message");
  message.placeholder = say(state.mode === "chat" ? "messageChat" : "messageAsk");
  message.setAttribute("aria-label", message.placeholder);
}

function showRunning() {
  const running = state.running !== null;
  byId("stop").hidden = !running;
  byId("send").hidden = running;
  byId("main").setAttribute("aria-busy", String(running));
}

function grow() {
  const message = byId("message");
  message.rows = 1;
  const line = parseFloat(getComputedStyle(message).lineHeight);
  message.rows = Math.min(8, Math.max(1, Math.round((message.scrollHeight - 20) / line)));
}

function choose(mode) {
  state.mode = mode;
  showMode();
}

// --- events

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("message").value.trim();
  if (!question || state.running) return;
  byId("message").value = "";
  grow();
  send(question);
});

byId("message").addEventListener("input", grow);
byId("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("composer").requestSubmit();
  }
});

byId("stop").addEventListener("click", () => {
  state.running?.abort();
  byId("message").focus();
});

byId("anew").addEventListener("click", () => {
  state.running?.abort();
  byId(`turns-${state.mode}`).replaceChildren();
  if (state.mode === "chat") state.conversation = [];
  showMode();
  byId("message").focus();
});

for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => choose(tab.dataset.mode));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    choose(MODES[(MODES.indexOf(state.mode) + step + MODES.length) % MODES.length]);
    byId(`tab-${state.mode}`).focus();
  });
}

byId("language").addEventListener("click", () => {
  speak(state.language === "zh" ? "en" : "zh");
  remember("language", state.language);
});

byId("all").addEventListener("click", () => { state.left.clear(); showDocuments(); });
byId("none").addEventListener("click", () => {
  for (const listed of state.documents) state.left.add(listed.document);
  showDocuments();
});
byId("filter").addEventListener("input", showDocuments);
byId("files").addEventListener("change", async (event) => {
  const files = [...event.target.files];
  await add(files);
  event.target.value = "";
});
document.querySelector(".drop").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    byId("files").click();
  }
});

const showDrawer = (open) => document.body.classList.toggle("drawer", open);
byId("open-documents").addEventListener("click", () => {
  showDrawer(true);
  byId("close-documents").focus();
});
byId("close-documents").addEventListener("click", () => {
  showDrawer(false);
  byId("open-documents").focus();
});
byId("close-viewer").addEventListener("click", closeViewer);

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='#document']");
  if (!link) return;
  state.opener = link;
  showDrawer(false);
  if (link.hash === location.hash) followHash(); // no change, so the browser would say nothing
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (document.body.classList.contains("drawer")) byId("close-documents").click();
  else if (!byId("viewer").hidden) closeViewer();
  else state.running?.abort();
});

const bringsFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  byId("dropping").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("dropping").hidden = true;
});
document.addEventListener("drop", (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  byId("dropping").hidden = true;
  add([...event.dataTransfer.files]);
});
window.addEventListener("hashchange", followHash);

// --- the beginning

async function begin() {
  const kept = remembered("language");
  speak(kept in WORDS ? kept : navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  showRunning();
  await Promise.all([
    loadDocuments(),
    call("/v1/models").then((response) => response.json()).then((told) => { byId("model").textContent = told.data[0].id; })
      .catch((error) => announce(error.message, { shown: true })),
  ]);
  if (!state.total) choose("chat");
  followHash();
  if (matchMedia("(hover: hover)").matches && !location.hash) byId("message").focus();
}

begin();
