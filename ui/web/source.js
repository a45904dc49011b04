// Draws the source pane from the values of sources.py. Every text goes in as a text node; nothing is read as markup.
// It stays mounted while closed, so that it knows which footnote or passage it was opened from and gives the focus back.

const panes = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let pane = panes.get(parentElement);
  if (!pane) {
    pane = makePane(parentElement);
    parentElement.append(pane.root);
    panes.set(parentElement, pane);
    listen(pane);
  }
  pane.send = (what, value) => setTriggerValue("do", { what, value: value ?? null });
  show(pane, data.source);
  return () => {
    pane.stop();
    panes.delete(parentElement);
    pane.root.remove();
    pane.host.removeAttribute("data-open");
    tell(0);
  };
}

function makePane(parentElement) {
  const pane = { host: parentElement.getRootNode().host ?? parentElement, source: null, drawn: null, origin: null };
  pane.root = element("div", "root source");
  pane.node = element("aside", "pane");
  pane.node.hidden = true;
  pane.node.setAttribute("aria-label", "Source");
  pane.title = element("h2");
  pane.title.tabIndex = -1;
  pane.place = element("p", "place");
  const step = (by) => () => {
    const to = pane.source.number + by;
    if (to >= 1 && to <= pane.source.of) pane.send("go", to);
  };
  pane.back = button("quiet", "‹", "Previous passage", step(-1));
  pane.on = button("quiet", "›", "Next passage", step(1));
  pane.count = element("span", "count");
  const walk = element("div", "walk");
  walk.append(pane.back, pane.count, pane.on, button("quiet close", "✕", "Close the source", () => close(pane)));
  const names = element("div", "names");
  names.append(pane.title, pane.place);
  const head = element("header");
  head.append(names, walk);
  pane.note = element("p", "say since"); // beside what scrolls: a mark may stand far below
  pane.note.setAttribute("role", "note");
  pane.text = element("div", "document");
  pane.text.tabIndex = 0;
  pane.text.setAttribute("role", "region");
  pane.file = element("a", "quiet", "Open the file");
  pane.file.target = "_blank";
  pane.file.rel = "noopener";
  const foot = element("footer");
  foot.append(
    copyButton("Copy the quote", () => pane.source.quote),
    button("quiet", "More like this", "Find passages like this one", () => pane.send("like")),
    pane.file,
  );
  pane.node.append(head, pane.note, pane.text, foot);
  pane.root.append(pane.node);
  return pane;
}

// What has the focus, or was clicked last, outside of the pane: where it was opened from. Safari does not focus buttons.
function listen(pane) {
  const remember = (event) => {
    const path = event.composedPath();
    if (path.includes(pane.root)) return;
    const from = path.find((node) => node instanceof Element && node.matches("button, a, [tabindex], canvas"));
    if (from) pane.origin = from;
  };
  const onKey = (event) => {
    if (event.key !== "Escape" || !pane.source || event.defaultPrevented) return;
    event.preventDefault();
    close(pane);
  };
  document.addEventListener("click", remember, true);
  document.addEventListener("focusin", remember, true);
  document.addEventListener("keydown", onKey);
  pane.stop = () => {
    document.removeEventListener("click", remember, true);
    document.removeEventListener("focusin", remember, true);
    document.removeEventListener("keydown", onKey);
  };
}

function show(pane, source) {
  const drawn = JSON.stringify(source ?? null);
  if (drawn === pane.drawn) return;
  const wasOpen = Boolean(pane.source);
  pane.drawn = drawn;
  if (!source) return hide(pane);
  pane.source = source;
  pane.node.hidden = false;
  pane.host.setAttribute("data-open", "");
  fill(pane, source);
  const within = pane.root.getRootNode().activeElement;
  if (!wasOpen || !within || !pane.node.contains(within)) pane.title.focus({ preventScroll: true });
  keepOriginInSight(pane);
  tell(source.number);
}

function fill(pane, source) {
  const before = pane.filled;
  pane.filled = source;
  pane.title.textContent = source.title;
  pane.place.textContent = source.place;
  pane.count.textContent = `${source.number} of ${source.of}`;
  pane.back.setAttribute("aria-disabled", String(source.number === 1));
  pane.on.setAttribute("aria-disabled", String(source.number === source.of));
  pane.text.setAttribute("aria-label", source.title);
  pane.text.className = `document ${source.kind ?? ""} ${source.pages && !source.as_text ? "pictured" : ""}`;
  pane.file.hidden = !source.file;
  if (source.file) pane.file.href = source.file; // an address of ours, made by pane.py
  pane.note.textContent = source.note ?? "";
  pane.note.hidden = !source.note;
  const kept = before && same(before, source) ? placeOfReader(pane) : null;
  const parts = [];
  if (source.unshown) parts.push(element("p", "say", source.unshown));
  if (source.lost) parts.push(element("p", "say", source.lost), element("blockquote", "", source.quote));
  if (source.pages) parts.push(pageTools(pane, source));
  if (source.pages && !source.as_text) parts.push(...source.pages.map((page) => drawPage(source, page)));
  if (source.fields?.length) parts.push(drawFields(source.fields));
  parts.push(drawText(pane, source));
  pane.text.replaceChildren(...parts);
  if (kept) keepPlace(pane, kept);
  else scrollToMark(pane, source);
}

function same(before, source) {
  return before.number === source.number && before.title === source.title && before.quote === source.quote;
}

// The text: elements of these names only, whatever the values say
const TAGS = {
  h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6", h6: "h6", p: "p", plain: "p", item: "p", line: "div", pre: "pre", rule: "div",
  ul: "ul", ol: "ol", li: "li", quote: "blockquote", table: "table", thead: "thead", tbody: "tbody", row: "tr", th: "th", td: "td",
  field: "td", em: "em", strong: "strong", s: "s", code: "code", link: "span", image: "span",
};
const SHOWN_AS = new Set(["marker", "address", "raw", "name", "break"]);

function drawText(pane, source) {
  const text = element("div", "text");
  if (source.above) text.append(more(pane, "above", "Show what stands above"));
  for (const node of source.nodes) text.append(drawNode(node));
  if (source.below) text.append(more(pane, "below", "Show more"));
  return text;
}

function more(pane, what, words) {
  const node = button("quiet further", words, "", () => pane.send(what));
  node.dataset.at = what;
  return node;
}

function drawNode(node) {
  if ("text" in node) return drawLeaf(node);
  if (!Object.hasOwn(TAGS, node.tag)) {
    const all = document.createDocumentFragment();
    for (const child of node.of) all.append(drawNode(child));
    return all;
  }
  const made = element(TAGS[node.tag], node.tag);
  if (node.page) made.dataset.page = node.page; // drawn by the style sheet: no text of ours among the document's
  if (node.line) made.dataset.line = node.line;
  if (node.depth) made.style.marginLeft = `${node.depth * 20}px`;
  for (const child of node.of) made.append(drawNode(child));
  if (node.tag !== "table") return made;
  const around = element("div", "wide"); // a table wider than the pane scrolls by itself
  around.append(made);
  return around;
}

function drawLeaf(leaf) {
  let node = document.createTextNode(leaf.text);
  const around = [
    [SHOWN_AS.has(leaf.as), "span", leaf.as],
    [leaf.mark, "mark", ""],
    [leaf.hidden, "span", "hidden"],
  ];
  for (const [wanted, tag, name] of around) {
    if (!wanted) continue;
    const outer = element(tag, name);
    outer.append(node);
    node = outer;
  }
  return node;
}

function drawFields(fields) {
  const list = element("dl", "fields");
  for (const [name, value] of fields) list.append(element("dt", "", name), element("dd", "", value));
  return list;
}

// Pages of a PDF: the picture, and the characters of the passage as boxes over it

function pageTools(pane, source) {
  const node = element("div", "pages");
  const turn = (by) => () => {
    const to = by < 0 ? source.page - 1 : source.last + 1;
    if (to >= 1 && to <= source.n_pages) pane.send("page", to);
  };
  const back = button("quiet", "‹", "Previous page", turn(-1));
  const on = button("quiet", "›", "Next page", turn(1));
  back.setAttribute("aria-disabled", String(source.page <= 1));
  on.setAttribute("aria-disabled", String(source.last >= source.n_pages));
  const here = source.last > source.page ? `Pages ${source.page} and ${source.last}` : `Page ${source.page}`;
  const count = element("span", "count", `${here} of ${source.n_pages}`);
  const text = button("quiet as-text", source.as_text ? "Show the page" : "Show the text", "", () => pane.send("text"));
  for (const [made, at] of [[back, "back"], [on, "on"], [text, "as-text"]]) made.dataset.at = at;
  node.append(back, count, on, text);
  return node;
}

function drawPage(source, page) {
  const sheet = element("div", "sheet");
  if (matchMedia("(max-width: 899px)").matches) {
    sheet.tabIndex = 0; // it scrolls sideways there
    sheet.setAttribute("role", "region");
    sheet.setAttribute("aria-label", `Page ${page.number}`);
  }
  const node = element("figure", "page");
  node.style.setProperty("--zoom", String(zoomOf(page.boxes)));
  const image = element("img");
  image.src = page.source; // a picture made by pdf.py
  image.width = page.width;
  image.height = page.height;
  image.alt = `Page ${page.number} as it is printed. Its text follows.`;
  node.append(image);
  for (const [left, top, width, height] of page.boxes) {
    const box = element("span", "box");
    const sides = { left, top, width, height };
    for (const [side, share] of Object.entries(sides)) box.style[side] = `${share * 100}%`;
    node.append(box);
  }
  sheet.append(node);
  if (source.inexact) sheet.append(element("p", "say", "Where the passage stands on this page cannot be told exactly; its text has it marked."));
  return sheet;
}

// How much wider than a narrow pane a page is drawn there: as large as it may be with the marked lines whole.
function zoomOf(boxes) {
  const wide = Math.max(...boxes.map(([left, , width]) => left + width)) - leftOf(boxes);
  return boxes.length ? Math.min(Math.max(0.92 / wide, 1), 2) : 2;
}

const leftOf = (boxes) => Math.min(...boxes.map(([left]) => left));

// Where to scroll to: its own scroll, not the page's. A box is as a rule a whole line, so its beginning is what is wanted.

function scrollToMark(pane, source) {
  const box = pane.text.querySelector(".box") ?? (source.pages && !source.as_text ? null : firstShownMark(pane));
  const top = box ? box.getBoundingClientRect().top - pane.text.getBoundingClientRect().top + pane.text.scrollTop : 0;
  pane.text.scrollTop = Math.max(top - pane.text.clientHeight / 4, 0);
  const sheet = box?.closest(".sheet");
  if (!sheet) return;
  const lefts = [...sheet.querySelectorAll(".box")].map((one) => one.getBoundingClientRect().left);
  sheet.scrollLeft += Math.min(...lefts) - sheet.getBoundingClientRect().left - 0.04 * sheet.clientWidth;
}

function firstShownMark(pane) {
  return [...pane.text.querySelectorAll("mark")].find((mark) => mark.getClientRects().length);
}

// Text that is added above must not move what is being read.
function placeOfReader(pane) {
  const mark = firstShownMark(pane);
  const at = pane.root.getRootNode().activeElement?.dataset?.at;
  return { mark: mark && mark.getBoundingClientRect().top, top: pane.text.scrollTop, at };
}

function keepPlace(pane, kept) {
  const mark = firstShownMark(pane);
  const turned = ["back", "on", "as-text"].includes(kept.at);
  if (turned) scrollToMark(pane, pane.source);
  else if (mark && kept.mark) pane.text.scrollTop += mark.getBoundingClientRect().top - kept.mark;
  else pane.text.scrollTop = kept.top;
  const again = kept.at && pane.text.querySelector(`[data-at="${kept.at}"]`);
  if (again) again.focus({ preventScroll: true });
  else if (kept.at) pane.text.focus({ preventScroll: true });
}

function close(pane) {
  const origin = pane.origin;
  pane.drawn = "null";
  hide(pane); // at once; Python hears of it and agrees
  pane.send("go", 0);
  if (origin?.isConnected) origin.focus({ preventScroll: true });
}

function hide(pane) {
  pane.source = pane.filled = null;
  pane.node.hidden = true;
  pane.host.removeAttribute("data-open");
  pane.text.replaceChildren();
  tell(0);
}

// The parts beside mark the footnote or passage that is open; they are not redrawn for it.
function tell(number) {
  document.documentElement.dataset.source = String(number); // for a part that is drawn later
  document.dispatchEvent(new CustomEvent("footnote:source", { detail: { number } }));
}

// On a narrow window the pane is a sheet over the lower half: what it was opened from is moved above it.
function keepOriginInSight(pane) {
  if (getComputedStyle(pane.node).position !== "fixed" || !pane.origin?.isConnected) return;
  const at = pane.origin.getBoundingClientRect();
  const limit = pane.node.getBoundingClientRect().top - 24;
  if (at.bottom > limit || at.top < 72) scrollerOf(pane.host).scrollTop += at.bottom - limit / 2;
}
