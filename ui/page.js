// Draws the page from the values of render.py. Every text goes in as a text node; nothing is read as markup.
// `page` holds what lives between two calls: Streamlit calls this again on the same node whenever the values change.

const pages = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let page = pages.get(parentElement);
  if (!page) {
    const root = element("div", "page");
    const [body, title, text, rest] = [element("article"), element("h1"), element("div", "text"), element("div")];
    text.setAttribute("aria-live", "polite"); // it stays one node, so that what comes into it is read out
    body.append(title, text, rest);
    root.append(body);
    page = { root, body, title, text, rest, pane: null, drawn: null, asked: null, returnTo: null, walking: false };
    parentElement.append(page.root);
    pages.set(parentElement, page);
    page.keys = (event) => onKey(page, event);
    document.addEventListener("keydown", page.keys);
    focusQuestionBox(40);
  }
  page.open = (number) => {
    if (page.pane && page.source.number === number) {
      page.pane.title.focus({ preventScroll: true });
      return;
    }
    page.asked = number;
    setTriggerValue("open", number);
  };
  const view = JSON.stringify(data.view);
  if (view !== page.drawn) {
    page.drawn = view;
    page.returnTo = null;
    drawBody(page, data.view);
    scrollerOf(page.root).scrollTop = 0;
  }
  drawPane(page, data.source);
  return () => {
    document.removeEventListener("keydown", page.keys);
    pages.delete(parentElement);
    page.root.remove();
  };
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function button(className, text, label, onClick) {
  const node = element("button", className, text);
  node.type = "button";
  if (label) node.setAttribute("aria-label", label);
  node.addEventListener("click", onClick);
  return node;
}

function questionBox() {
  return document.querySelector('[data-testid="stChatInputTextArea"]');
}

// On arrival. The box is drawn beside us, perhaps a moment later; whoever has the focus by then keeps it.
function focusQuestionBox(tries) {
  if (document.activeElement && document.activeElement !== document.body) return;
  const box = questionBox();
  if (box && !box.disabled) box.focus();
  else if (tries) setTimeout(focusQuestionBox, 50, tries - 1);
}

function scrollerOf(node) {
  for (let at = node; at; at = at.parentNode ?? at.host) {
    if (at instanceof Element && /auto|scroll/.test(getComputedStyle(at).overflowY) && at !== node) return at;
  }
  return document.scrollingElement;
}

function onKey(page, event) {
  const inField = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "Escape" && page.pane && !event.defaultPrevented) {
    closePane(page);
  } else if (event.key === "/" && !inField && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    questionBox()?.focus();
  }
}

// The answer

function drawBody(page, view) {
  page.body.className = `body ${view.kind}`;
  page.body.setAttribute("aria-busy", String(view.kind === "waiting"));
  page.title.textContent = view.title;
  page.text.replaceChildren(
    ...(view.kind === "answer" ? [paragraph(page, view)] : view.text.split("\n").map((line) => element("p", "", line))),
  );
  const rest = [];
  if (view.command) rest.push(element("pre", "command", view.command));
  if (view.note) rest.push(element("p", "note", view.note));
  if (view.sources?.length) rest.push(sourceList(page, view));
  if (view.kind === "answer") rest.push(copyButton("Copy with footnotes", () => withFootnotes(view)));
  page.rest.replaceChildren(...rest);
}

function paragraph(page, view) {
  const node = element("p", "answer-text");
  for (const sentence of view.sentences) {
    // The last word and its footnotes stay on one line.
    const lastWord = sentence.text.lastIndexOf(" ") + 1;
    const text = element("span", sentence.supported ? "" : "unsupported", sentence.text.slice(0, lastWord));
    const end = element("span", "together");
    end.append(element("span", text.className, sentence.text.slice(lastWord)));
    node.append(text, end);
    const more = sentence.markers.slice(2);
    for (const marker of sentence.markers.slice(0, 2)) end.append(footnote(page, view, marker));
    if (more.length) {
      const rest = button("footnote more", `+${more.length}`, `${more.length} more footnotes`, () => {
        const all = more.map((marker) => footnote(page, view, marker));
        rest.replaceWith(...all);
        all[0].focus();
      });
      end.append(rest);
    }
    if (!sentence.supported) node.append(element("span", "no-source", " (no source says this)"));
    node.append(" ");
  }
  return node;
}

function footnote(page, view, marker) {
  const source = view.sources[marker - 1];
  const node = button("footnote", String(marker), `Footnote ${marker}: ${source.label}. Open the source.`, () => {
    page.returnTo = node;
    page.open(marker);
  });
  node.dataset.number = marker;
  const show = () => showCard(page, node, source);
  const hide = () => page.card?.remove();
  node.addEventListener("mouseenter", show);
  node.addEventListener("focus", () => node.matches(":focus-visible") && show());
  for (const name of ["mouseleave", "blur", "click"]) node.addEventListener(name, hide);
  return node;
}

function showCard(page, at, source) {
  page.card?.remove();
  page.card = element("div", "card");
  page.card.setAttribute("aria-hidden", "true"); // the button's own label says where it leads; the list holds the quote
  page.card.append(element("span", "quote", source.quote), element("span", "where", source.label));
  page.root.append(page.card);
  const [box, spot, card] = [page.root, at, page.card].map((node) => node.getBoundingClientRect());
  const left = Math.min(Math.max(spot.left - box.left - 24, 0), Math.max(box.width - card.width, 0));
  const above = spot.top - card.height - 8;
  page.card.style.left = `${left}px`;
  page.card.style.top = `${(above > 8 ? above : spot.bottom + 8) - box.top}px`;
}

function sourceList(page, view) {
  const list = element("ol", "sources");
  const cited = view.kind === "answer";
  list.setAttribute("aria-label", cited ? "Sources" : "Nearest passages");
  view.sources.forEach((source, i) => {
    const label = `${cited ? `Source ${i + 1}` : "Passage"}: ${source.label}. Open it.`;
    const node = button("source", "", label, () => {
      page.returnTo = node;
      page.open(i + 1);
    });
    node.dataset.number = i + 1;
    const where = element("span", "where");
    where.append(element("span", "path", source.source));
    if (source.place) where.append(element("span", "place", source.place));
    node.append(...(cited ? [element("span", "number", String(i + 1))] : []), where, element("span", "quote", source.quote));
    const item = element("li");
    item.append(node);
    list.append(item);
  });
  return list;
}

function withFootnotes(view) {
  const marks = (sentence) => sentence.markers.map((marker) => `[${marker}]`).join("");
  const text = view.sentences.map((sentence) => sentence.text + marks(sentence)).join(" ");
  const notes = view.sources.map((source, i) => `[${i + 1}] ${source.label}: “${source.quote}”`);
  return `${view.title}\n\n${text}\n\n${notes.join("\n")}\n`;
}

function copyButton(label, text) {
  const node = button("quiet", label, "", async () => {
    node.textContent = await navigator.clipboard.writeText(text()).then(
      () => "Copied",
      () => "The browser did not allow it",
    );
    setTimeout(() => (node.textContent = label), 1500);
  });
  return node;
}

// The source pane

function drawPane(page, source) {
  const drawn = JSON.stringify(source);
  page.root.classList.toggle("open", Boolean(source));
  for (const node of page.body.querySelectorAll("[data-number]")) {
    node.setAttribute("aria-pressed", String(Number(node.dataset.number) === source?.number));
  }
  if (!source) {
    removePane(page);
  } else if (drawn !== page.paneDrawn) {
    if (!page.pane) {
      page.pane = makePane(page);
      page.root.append(page.pane.node);
    }
    fillPane(page, source);
  }
  page.paneDrawn = source ? drawn : null;
  if (page.asked !== null && source?.number === page.asked) {
    if (!page.walking) page.pane.title.focus({ preventScroll: true });
    keepClaimInSight(page, source.number);
    page.asked = null;
    page.walking = false;
  }
}

function makePane(page) {
  const node = element("aside", "pane");
  node.setAttribute("aria-label", "Source");
  const title = element("h2");
  title.tabIndex = -1;
  const place = element("p", "place");
  const walk = element("div", "walk");
  const step = (by) => () => {
    const to = page.source.number + by;
    if (to < 1 || to > page.source.of) return;
    page.walking = true;
    page.open(to);
  };
  const back = button("quiet", "‹", "Previous passage", step(-1));
  const on = button("quiet", "›", "Next passage", step(1));
  const count = element("span", "count");
  walk.append(back, count, on, button("quiet close", "✕", "Close the source", () => closePane(page)));
  const names = element("div", "names");
  names.append(title, place);
  const head = element("header");
  head.append(names, walk);
  const text = element("div", "document");
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  const foot = element("footer");
  foot.append(copyButton("Copy the quote", () => page.source.quote));
  node.append(head, text, foot);
  return { node, title, place, back, on, count, text };
}

function fillPane(page, source) {
  const pane = page.pane;
  page.source = source;
  pane.title.textContent = source.title;
  pane.place.textContent = source.place;
  pane.count.textContent = `${source.number} of ${source.of}`;
  pane.back.setAttribute("aria-disabled", String(source.number === 1));
  pane.on.setAttribute("aria-disabled", String(source.number === source.of));
  pane.text.setAttribute("aria-label", source.title);
  pane.text.classList.toggle("flow", Boolean(source.flow));
  const blocks = source.blocks.map(drawBlock);
  if (source.note) blocks.push(element("p", "left-out", source.note), element("blockquote", "", source.quote));
  if (source.before) blocks.unshift(element("p", "left-out", "The document begins further up."));
  if (source.after) blocks.push(element("p", "left-out", "The document goes on."));
  pane.text.replaceChildren(...blocks);
  const mark = pane.text.querySelector("mark");
  const top = mark ? mark.getBoundingClientRect().top - pane.text.getBoundingClientRect().top : 0;
  pane.text.scrollTop += top - pane.text.clientHeight / 4; // its own scroll, not the page's
}

function drawBlock(block) {
  const node = element(block.level ? `h${Math.min(block.level + 2, 6)}` : "div", "block");
  if (block.page) node.dataset.page = block.page; // drawn by the style sheet: no text of ours among the document's
  for (const part of block.parts) {
    let text = document.createTextNode(part.text);
    for (const [wanted, tag, name] of [[part.hidden, "span", "hidden"], [part.mark, "mark", ""]]) {
      if (!wanted) continue;
      const around = element(tag, name);
      around.append(text);
      text = around;
    }
    node.append(text);
  }
  return node;
}

function closePane(page) {
  const back = page.returnTo?.isConnected ? page.returnTo : page.body.querySelector('[aria-pressed="true"]');
  removePane(page); // at once; Python hears of it and agrees
  page.open(0);
  back?.focus();
  page.card?.remove();
}

function removePane(page) {
  page.pane?.node.remove();
  page.pane = page.paneDrawn = null;
  page.root.classList.remove("open");
}

// On a narrow window the pane is a sheet over the lower half: the claim is moved above it.
function keepClaimInSight(page, number) {
  if (getComputedStyle(page.pane.node).position !== "fixed") return;
  const at = page.body.querySelector(`[data-number="${number}"]`)?.getBoundingClientRect();
  const limit = page.pane.node.getBoundingClientRect().top - 24;
  if (at && (at.bottom > limit || at.top < 24)) scrollerOf(page.root).scrollTop += at.bottom - limit / 2;
}
