// Draws the Ask page from the values of turns.py: a welcome, a message, or the turns of a thread. Every text goes in as a
// text node; nothing is read as markup. Streamlit calls this again on the same node whenever the values change: only what
// changed is drawn anew, so a footnote keeps the focus while the sentences after it arrive.

const parts = new WeakMap();
const MOST_MARKERS = 2; // shown on a sentence; the rest are behind "+n"
const MOST_NEAREST = 3; // passages shown where none answers
let opened = "cited"; // of which group the passage in the pane is; it stays open while one is on another page
const TOGETHER = 12; // letters at most that stay on one line with their footnotes

export default function ({ data, parentElement, setTriggerValue }) {
  let part = parts.get(parentElement);
  if (!part) {
    part = { root: element("div", "root answer"), turns: [], card: null, drawn: null };
    parentElement.append(part.root);
    parts.set(parentElement, part);
    part.onSource = (event) => showOpened(part, event.detail.number);
    document.addEventListener("footnote:source", part.onSource);
  }
  part.send = setTriggerValue;
  const drawn = JSON.stringify(data);
  if (drawn !== part.drawn) {
    part.drawn = drawn;
    if (data.kind === "talk") drawTalk(part, data);
    else drawPlain(part, data);
    showOpened(part, Number(document.documentElement.dataset.source ?? 0));
  }
  return () => {
    document.removeEventListener("footnote:source", part.onSource);
    parts.delete(parentElement);
    part.root.remove();
  };
}

// Python hears of it as one event. `at` makes it another than the last: the same footnote can be clicked twice.
function tell(part, what, value) {
  part.send("do", { what, value, at: Date.now() });
}

// Nothing asked yet

function drawPlain(part, data) {
  part.turns = [];
  const body = element("article", `plain ${data.kind}`);
  body.append(element("h1", "", data.title));
  for (const line of data.text ? data.text.split("\n") : []) body.append(element("p", "text", line));
  if (data.questions?.length) body.append(questionList(part, data.questions));
  if (data.links?.length) body.append(linkRow(part, data.links));
  if (data.choices?.length) body.append(choiceRow(part, data.choices));
  part.root.replaceChildren(body);
}

function questionList(part, questions) {
  const list = element("ul", "questions");
  list.setAttribute("aria-label", "Questions to begin with");
  for (const question of questions) {
    const item = element("li");
    const ask = () => {
      part.suggested = true;
      tell(part, "ask", question);
    };
    item.append(button("question", question, "", ask));
    list.append(item);
  }
  return list;
}

function choiceRow(part, names) {
  const row = element("p", "actions");
  for (const name of names) row.append(button("quiet", `Open ${name}`, "", () => tell(part, "choose", name)));
  return row;
}

function linkRow(part, links) {
  const row = element("p", "actions");
  for (const link of links) row.append(linkTo(part, link));
  return row;
}

// A link that can be opened in another tab; a plain click goes there without loading the page again.
function linkTo(part, link) {
  const node = element("a", "quiet", link.text);
  node.href = link.href;
  node.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    tell(part, "go", link);
  });
  return node;
}

// The turns

function drawTalk(part, { turns, at }) {
  if (!part.turns.length) part.root.replaceChildren();
  for (const turn of part.turns.splice(turns.length)) turn.node.remove();
  turns.forEach((view, i) => {
    if (part.turns[i] && part.turns[i].question !== view.question) {
      for (const turn of part.turns.splice(i)) turn.node.remove(); // another thread
    }
    if (!part.turns[i]) {
      part.turns[i] = makeTurn(i);
      part.root.append(part.turns[i].node);
    }
    drawTurn(part, part.turns[i], view, i === turns.length - 1);
  });
  const last = Math.max(turns.findLastIndex((view) => view.kind !== "waiting"), 0); // what waits is below, and stays there
  const newest = `${last} ${turns[last].question} ${at}`;
  if (newest !== part.newest) showTurn(part, part.turns[at ?? last]);
  part.newest = newest;
}

function makeTurn(i) {
  const node = element("article", "turn");
  const [title, rewritten, text, rest] = [element(i ? "h2" : "h1"), element("p", "rewritten"), element("div", "text"), element("div", "rest")];
  title.tabIndex = -1;
  text.setAttribute("aria-live", "polite"); // it stays one node, so that what comes into it is read out
  const paragraph = element("p", "answer-text");
  text.append(paragraph);
  node.append(title, rewritten, text, rest);
  return { node, title, rewritten, text, paragraph, rest, sentences: [], drawn: null, index: i };
}

function drawTurn(part, turn, view, isLast) {
  turn.node.classList.toggle("last", isLast);
  const drawn = JSON.stringify([view, isLast]);
  if (drawn === turn.drawn) return;
  Object.assign(turn, { drawn, view, question: view.question });
  turn.node.dataset.kind = view.kind;
  turn.title.textContent = view.question;
  turn.rewritten.textContent = view.rewritten ? `Asked as: ${view.rewritten}` : "";
  turn.rewritten.hidden = !view.rewritten;
  const busy = view.kind === "running" || view.kind === "waiting";
  turn.text.setAttribute("aria-busy", String(busy));
  drawSentences(part, turn, view.sentences ?? []);
  drawSaid(turn, view.text);
  turn.rest.replaceChildren(...restOf(part, turn, view, isLast));
}

// What is said in place of sentences: that there is no answer, or why.
function drawSaid(turn, text) {
  if (!turn.said && text) turn.text.append((turn.said = element("p", "said")));
  if (turn.said) turn.said.hidden = !text;
  if (text && turn.said.textContent !== text) turn.said.textContent = text;
}

function restOf(part, turn, view, isLast) {
  const rest = [];
  if (view.status) rest.push(statusLine(part, view));
  if (view.near) rest.push(nearMiss(part, turn, view.near));
  if (view.kind === "fault") rest.push(...faultActions(part, turn, isLast));
  for (const note of view.notes ?? []) rest.push(element("p", "remark", note));
  if (view.note) rest.push(element("p", "note", view.note));
  if (view.sources?.length && view.kind !== "running") rest.push(sourceList(part, turn, view));
  if (view.links?.length) rest.push(linkRow(part, view.links));
  if (view.remark) rest.push(element("p", "remark", view.remark));
  if (view.again) rest.push(againRow(part, view.again));
  if (view.kind === "answer" || view.kind === "abstained") rest.push(actionsOf(part, turn, view, isLast));
  return rest;
}

function statusLine(part, view) {
  const line = element("p", "status");
  const words = element("span", "", view.status);
  words.setAttribute("role", "status");
  line.append(words);
  if (view.kind === "running") line.append(button("quiet stop", "Stop", "", () => tell(part, "stop")));
  return line;
}

function faultActions(part, turn, isLast) {
  const row = element("p", "actions");
  row.append(button("quiet", "Try again", "", () => tell(part, "again", turn.index)));
  if (isLast) row.append(button("quiet", "Answer with quotes only", "", () => tell(part, "quotes")));
  return [element("p", "remark", "Your question is kept."), row];
}

function againRow(part, words) {
  const row = element("p", "actions");
  row.append(button("quiet", words, "", () => tell(part, "again")));
  return row;
}

function actionsOf(part, turn, view, isLast) {
  const row = element("p", "actions");
  if (view.kind === "answer") row.append(copyButton("Copy with footnotes", () => withFootnotes(view)));
  row.append(button("quiet", "Export", "Export this answer or the thread", () => tell(part, "export", turn.index)));
  row.append(copyButton("Copy link", () => new URL(view.link, document.baseURI).href, "Copy a link that opens this answer"));
  if (isLast) row.append(button("quiet", "New question", "", () => tell(part, "fresh")));
  return row;
}

// A question that is new comes to the top of the window; the first one is there already.
function showTurn(part, turn) {
  const scroller = scrollerOf(part.root);
  scroller.scrollTop += turn.index ? turn.node.getBoundingClientRect().top - 80 : -scroller.scrollTop;
  if (part.suggested) turn.title.focus({ preventScroll: true }); // what was clicked has gone, and the focus with it
  part.suggested = false;
}

// The sentences

function drawSentences(part, turn, sentences) {
  for (const sentence of turn.sentences.splice(sentences.length)) sentence.node.remove();
  sentences.forEach((view, i) => {
    if (!turn.sentences[i]) {
      turn.sentences[i] = makeSentence();
      turn.paragraph.append(turn.sentences[i].node);
    }
    drawSentence(part, turn, turn.sentences[i], view);
  });
  turn.paragraph.hidden = !sentences.length;
}

function makeSentence() {
  const [node, head, together, tail, notes] = ["sentence", "", "together", "", ""].map((name) => element("span", name));
  together.append(tail, notes);
  node.append(head, together);
  return { node, head, tail, notes, together, words: null, marks: null };
}

function drawSentence(part, turn, sentence, view) {
  const words = JSON.stringify([view.text, view.short, view.supported]);
  const marks = JSON.stringify([view.markers, view.markers.map((marker) => sourceOf(turn, marker)?.label)]);
  if (words !== sentence.words) {
    sentence.words = words;
    const end = endOf(view.text); // it stays on one line with its footnotes
    for (const [node, from, to] of [[sentence.head, 0, end], [sentence.tail, end, view.text.length]]) {
      node.className = view.supported ? "" : "unsupported";
      node.replaceChildren(...wordsOf(view, from, to));
    }
    sentence.remark?.remove();
    sentence.remark = view.supported ? null : element("span", "no-source", " (no source says this)");
    if (sentence.remark) sentence.node.append(sentence.remark);
    sentence.node.append(" ");
  }
  if (marks !== sentence.marks) {
    sentence.marks = marks;
    sentence.notes.replaceChildren(...notesOf(part, turn, view.markers));
  }
}

// Where the last word begins, or the last letters of one that is long: addresses, and scripts without spaces.
function endOf(text) {
  const last = Array.from(text.slice(text.lastIndexOf(" ") + 1));
  return text.length - last.slice(-TOGETHER).join("").length;
}

// The words from one offset to another, those of the short answer strong. Offsets count code points, as Python does.
function wordsOf(view, from, to) {
  const points = Array.from(view.text);
  const [start, end] = view.short ?? [0, 0];
  const strongFrom = points.slice(0, start).join("").length;
  const strongTo = points.slice(0, end).join("").length;
  const edges = [from, ...[strongFrom, strongTo].filter((edge) => edge > from && edge < to), to];
  return edges.slice(1).map((edge, i) => {
    const text = view.text.slice(edges[i], edge);
    const isShort = edges[i] >= strongFrom && edge <= strongTo && strongTo > strongFrom;
    return isShort ? element("strong", "short", text) : document.createTextNode(text);
  });
}

function notesOf(part, turn, markers) {
  const shown = markers.slice(0, MOST_MARKERS).map((marker) => footnote(part, turn, marker));
  const more = markers.slice(MOST_MARKERS);
  if (more.length) {
    const rest = button("footnote more", `+${more.length}`, `${more.length} more footnotes`, () => {
      const all = more.map((marker) => footnote(part, turn, marker));
      rest.replaceWith(...all);
      all[0].focus();
    });
    shown.push(rest);
  }
  return shown;
}

function sourceOf(turn, number) {
  return turn.view.sources?.find((source) => source.number === number);
}

function footnote(part, turn, number) {
  const label = sourceOf(turn, number)?.label ?? "";
  const node = opener(part, turn, number, "footnote", String(number), `Footnote ${number}: ${label}. Open the source.`);
  const show = () => showCard(part, node, sourceOf(turn, number));
  const hide = () => part.card?.remove();
  node.addEventListener("mouseenter", show);
  node.addEventListener("focus", () => node.matches(":focus-visible") && show());
  for (const name of ["mouseleave", "blur", "click"]) node.addEventListener(name, hide);
  return node;
}

// A button that opens a passage: of the thread by its number, or of an answer that abstains, by its number among those.
function opener(part, turn, number, className, text, label) {
  const group = turn.view.kind === "abstained" ? `near ${turn.index}` : "cited";
  const node = button(className, text, label, () => {
    opened = group;
    tell(part, "open", { turn: turn.index, number, near: group !== "cited" });
  });
  Object.assign(node.dataset, { number, group });
  node.setAttribute("aria-pressed", "false");
  return node;
}

function showOpened(part, number) {
  for (const node of part.root.querySelectorAll("[data-number]")) {
    const isOpen = number > 0 && node.dataset.group === opened && Number(node.dataset.number) === number;
    node.setAttribute("aria-pressed", String(isOpen));
  }
}

function showCard(part, at, source) {
  part.card?.remove();
  if (!source) return;
  part.card = element("div", "card");
  part.card.setAttribute("aria-hidden", "true"); // the button's own label says where it leads; the list holds the quote
  part.card.append(element("span", "quote", source.quote), element("span", "where", source.label));
  part.root.append(part.card);
  const [box, spot, card] = [part.root, at, part.card].map((node) => node.getBoundingClientRect());
  const left = Math.min(Math.max(spot.left - box.left - 24, 0), Math.max(box.width - card.width, 0));
  const above = spot.top - card.height - 8;
  part.card.style.left = `${left}px`;
  part.card.style.top = `${(above > 64 ? above : spot.bottom + 8) - box.top}px`;
}

// The sources

function sourceList(part, turn, view) {
  const list = element("ol", "sources");
  const cited = view.kind === "answer";
  list.setAttribute("aria-label", cited ? "Sources" : "Nearest passages");
  for (const source of view.sources) {
    const label = `${cited ? `Source ${source.number}` : "Passage"}: ${source.label}. Open it.`;
    const node = opener(part, turn, source.number, "source", "", label);
    const where = element("span", "where");
    where.append(element("span", "path", source.source));
    if (source.place) where.append(element("span", "place", source.place));
    if (cited) node.append(element("span", "number", String(source.number)));
    node.append(where, element("span", "quote", source.quote));
    const item = element("li");
    item.append(node);
    list.append(item);
  }
  if (!cited) fold(list, MOST_NEAREST);
  return list;
}

// All but the first items are behind one button.
function fold(list, shown) {
  const rest = [...list.children].slice(shown);
  if (!rest.length) return;
  for (const item of rest) item.hidden = true;
  const item = element("li");
  item.append(
    button("quiet", `${rest.length} more`, `${rest.length} more passages`, () => {
      item.remove();
      for (const one of rest) one.hidden = false;
      rest[0].querySelector("button").focus();
    }),
  );
  list.append(item);
}

function nearMiss(part, turn, near) {
  const node = element("div", "near");
  node.append(element("p", "remark", "What they do say:"));
  const passage = opener(part, turn, near.number, "source", "", `Passage: ${near.label}. Open it.`);
  passage.append(element("span", "said-there", near.quote), element("span", "where", near.label));
  node.append(passage);
  return node;
}

function withFootnotes(view) {
  const marks = (sentence) => sentence.markers.map((marker) => `[${marker}]`).join("");
  const ofSentence = (sentence) => sentence.text + (sentence.supported ? marks(sentence) : " (no source says this)");
  const notes = view.sources.map((source) => `[${source.number}] ${source.label}: “${source.quote}”`);
  return `${view.question}\n\n${view.sentences.map(ofSentence).join(" ")}\n\n${notes.join("\n")}\n`;
}
