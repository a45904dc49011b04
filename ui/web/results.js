// Draws the Search page from the values of hits.py. Every text goes in as a text node; nothing is read as markup.

const lists = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let list = lists.get(parentElement);
  if (!list) {
    list = makeList();
    parentElement.append(list.root);
    lists.set(parentElement, list);
    listen(list);
  }
  list.send = (what, value) => setTriggerValue("do", { what, value: value ?? null });
  draw(list, data);
  return () => {
    list.stop();
    lists.delete(parentElement);
    list.root.remove();
  };
}

function makeList() {
  const list = { root: element("div", "root results"), drawn: {}, nodes: new Map(), menu: null };
  const form = element("form", "asking");
  form.setAttribute("role", "search");
  list.box = element("input");
  Object.assign(list.box, { type: "search", placeholder: "Search your documents", autocomplete: "off", spellcheck: false });
  list.box.setAttribute("aria-label", "Search your documents");
  list.box.maxLength = 2000;
  const go = button("go", "Search", "", () => form.requestSubmit());
  form.append(list.box, go);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(list);
  });
  list.box.addEventListener("search", () => list.box.value === "" && ask(list)); // its own cross was clicked
  list.heading = element("h1");
  list.tools = element("div", "tools");
  list.lean = lean(list);
  list.filters = element("div", "filters");
  list.tools.append(list.lean.node, list.filters);
  list.note = element("p", "note");
  list.note.setAttribute("role", "status");
  list.text = element("div", "text");
  list.hits = element("ol", "hits");
  list.more = button("quiet more", "More passages", "", () => {
    busy(list);
    list.send("more");
  });
  list.root.append(form, list.heading, list.text, list.tools, list.note, list.hits, list.more);
  return list;
}

function listen(list) {
  const key = (event) => {
    const inField = /^(INPUT|TEXTAREA|SELECT)$/.test(deepFocus()?.tagName ?? "");
    if (event.key === "/" && !inField && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      list.box.focus();
      list.box.select();
    } else if (event.key === "Escape" && list.menu) {
      event.preventDefault();
      closeMenu(list, true);
    }
  };
  const outside = (event) => list.menu && !event.composedPath().includes(list.menu.around) && closeMenu(list, false);
  const opened = (event) => pressed(list, event.detail.number);
  document.addEventListener("keydown", key, true);
  document.addEventListener("pointerdown", outside, true);
  document.addEventListener("footnote:source", opened);
  list.stop = () => {
    document.removeEventListener("keydown", key, true);
    document.removeEventListener("pointerdown", outside, true);
    document.removeEventListener("footnote:source", opened);
  };
}

function deepFocus() {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at;
}

function ask(list) {
  busy(list);
  list.send("search", list.box.value.trim());
}

function busy(list) {
  list.hits.setAttribute("aria-busy", "true");
}

function draw(list, view) {
  if (view.query !== list.drawn.query) list.box.value = view.query; // not what is being typed meanwhile
  if (!("query" in list.drawn) && !view.hits.length && !deepFocusIsTaken()) setTimeout(() => list.box.focus(), 50);
  list.lean.show(view.weight);
  drawFilters(list, view);
  const like = view.like ? `Passages like one of ${view.like}` : null;
  list.heading.textContent = view.title ?? like ?? "Search";
  list.heading.className = view.title || like ? "" : "unseen";
  list.text.replaceChildren(...(view.text ?? "").split("\n").filter(Boolean).map((line) => element("p", "", line)));
  list.note.textContent = view.note;
  list.note.hidden = !view.note;
  list.tools.hidden = !view.hits.length && !view.query && !view.like;
  list.more.hidden = !view.more;
  drawHits(list, view);
  list.hits.setAttribute("aria-busy", "false");
  list.drawn = view;
}

function deepFocusIsTaken() {
  const at = deepFocus();
  return at && at !== document.body;
}

// Between words and meaning

function lean(list) {
  const node = element("label", "lean");
  const slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: 4, step: 1 });
  slider.setAttribute("aria-label", "Find by words or by meaning");
  const names = ["words only", "mostly words", "words and meaning", "mostly meaning", "meaning only"];
  const say = () => slider.setAttribute("aria-valuetext", names[slider.value]);
  slider.addEventListener("input", say);
  slider.addEventListener("change", () => {
    busy(list);
    list.send("weight", slider.value / 4);
  });
  node.append(element("span", "", "words"), slider, element("span", "", "meaning"));
  return {
    node,
    show(weight) {
      slider.value = Math.round(weight * 4);
      say();
    },
  };
}

// Filters: a button each, its choices in a menu below it

function drawFilters(list, view) {
  const drawn = JSON.stringify(view.facets);
  if (drawn === list.filtersDrawn) return;
  list.filtersDrawn = drawn;
  const open = list.menu?.name;
  const within = list.root.getRootNode().activeElement;
  const focused = list.filters.contains(within) ? within.dataset.at : null;
  list.menu = null;
  const nodes = view.facets.map((facet) => filter(list, facet));
  if (view.facets.some((facet) => facet.chosen)) {
    const all = button("quiet", "Remove all filters", "", () => choose(list, null, null));
    all.dataset.at = "all";
    nodes.push(all);
  }
  list.filters.replaceChildren(...nodes);
  if (focused) (list.filters.querySelector(`[data-at="${CSS.escape(focused)}"]`) ?? list.box).focus();
  if (open && focused === null) list.menu = null;
}

function filter(list, facet) {
  const around = element("div", "filter");
  const title = button(facet.chosen === null ? "chip" : "chip on", "", "", () =>
    list.menu?.name === facet.name ? closeMenu(list, true) : openMenu(list, facet, around, title),
  );
  title.dataset.at = `facet ${facet.name}`;
  title.setAttribute("aria-expanded", "false");
  title.append(element("span", "", facet.chosen === null ? facet.label : `${facet.label}: `));
  if (facet.chosen !== null) title.append(element("span", "value", facet.chosen));
  title.append(element("span", "arrow"));
  around.append(title);
  return around;
}

function openMenu(list, facet, around, title) {
  closeMenu(list, false);
  const menu = element("div", "menu");
  menu.setAttribute("role", "group");
  menu.setAttribute("aria-label", facet.label);
  const any = facet.chosen === null ? [] : [choice(list, facet, { label: "Any", condition: null, depth: 0 })];
  menu.append(...any, ...facet.choices.map((one) => choice(list, facet, one)));
  menu.addEventListener("keydown", (event) => {
    const all = [...menu.querySelectorAll("button")];
    const at = all.indexOf(list.root.getRootNode().activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    all[Math.min(Math.max(to, 0), all.length - 1)].focus();
  });
  around.append(menu);
  title.setAttribute("aria-expanded", "true");
  list.menu = { name: facet.name, node: menu, around, title };
  const over = menu.getBoundingClientRect().right - document.documentElement.clientWidth + 12;
  if (over > 0) menu.style.left = `${-over}px`;
  (menu.querySelector('[aria-pressed="true"]') ?? menu.querySelector("button"))?.focus();
}

function choice(list, facet, one) {
  const node = button("choice", "", "", () => choose(list, facet.name, one.chosen ? null : one.condition));
  node.style.paddingLeft = `${12 + 14 * one.depth}px`;
  const label = one.depth ? one.label.split("/").at(-1) : one.label;
  node.append(element("span", "label", label));
  node.title = one.label;
  if (one.count !== undefined) node.append(element("span", "count", one.count.toLocaleString("en")));
  node.setAttribute("aria-pressed", String(Boolean(one.chosen)));
  return node;
}

function choose(list, facet, condition) {
  list.menu?.title.focus();
  closeMenu(list, false);
  busy(list);
  list.send("choose", { facet, condition });
}

function closeMenu(list, giveBack) {
  if (!list.menu) return;
  const { node, title } = list.menu;
  node.remove();
  title.setAttribute("aria-expanded", "false");
  if (giveBack) title.focus();
  list.menu = null;
}

// The passages. A node is drawn anew only where its values changed, so that the focus stays where it is.

function drawHits(list, view) {
  const kept = new Map();
  const nodes = view.hits.map((hit, i) => {
    const drawn = JSON.stringify([hit, i]);
    const known = list.nodes.get(hit.id);
    const node = known?.drawn === drawn ? known.node : drawHit(list, hit, i + 1, known?.node);
    kept.set(hit.id, { node, drawn });
    return node;
  });
  list.nodes = kept;
  list.hits.replaceChildren(...nodes.map((node) => node));
  if (list.refocus) {
    list.refocus.focus({ preventScroll: true });
    list.refocus = null;
  }
  pressed(list, list.opened ?? 0);
}

function drawHit(list, hit, number, before) {
  const within = list.root.getRootNode().activeElement;
  const focused = before?.contains(within) ? within.dataset.at : null;
  const node = element("li", "hit");
  const title = button("title", "", `Passage ${number}: ${hit.label}. Open it.`, () => list.send("open", hit.id));
  title.dataset.at = "open";
  title.dataset.number = number;
  title.append(element("span", "number", String(number)), element("span", "path", hit.source));
  if (hit.place) title.append(element("span", "place", hit.place));
  const head = element("h2");
  head.append(title);
  node.append(head, drawText(hit));
  if (hit.also.length) node.append(element("p", "also", `The same text stands in ${hit.also.join(", ")}.`));
  const row = element("div", "row");
  row.append(
    toggle(list, hit, "why", "Why this passage", number),
    toggle(list, hit, "around", "Text around it", number),
  );
  const open = button("quiet", "Open", `Open passage ${number}`, () => list.send("open", hit.id));
  open.dataset.at = "open2";
  row.append(open);
  node.append(row);
  if (hit.why) node.append(drawWhy(hit.why));
  if (focused) list.refocus = node.querySelector(`[data-at="${focused}"]`);
  return node;
}

function toggle(list, hit, what, words, number) {
  const node = button("quiet", words, `${words}, ${number}`, () => list.send(what, hit.id));
  node.dataset.at = what;
  node.setAttribute("aria-expanded", String(Boolean(hit[what])));
  return node;
}

function drawText(hit) {
  const node = element("p", hit.around ? "words whole" : "words");
  if (!hit.around && hit.cut[0]) node.append("… ");
  for (const part of hit.around ?? hit.parts) {
    const inner = part.match ? element("strong", "", part.text) : document.createTextNode(part.text);
    if (part.beside) {
      const beside = element("span", "beside");
      beside.append(inner);
      node.append(beside);
    } else node.append(inner);
  }
  if (!hit.around && hit.cut[1]) node.append(" …");
  return node;
}

function drawWhy(why) {
  const node = element("div", "why");
  if (why.shares) {
    const bar = element("div", "bar");
    bar.setAttribute("aria-hidden", "true");
    const words = element("span", "by-words");
    words.style.width = `${why.shares.words}%`;
    bar.append(words, element("span", "by-meaning"));
    const said = `Of its score, ${why.shares.words} % comes from words and ${why.shares.meaning} % from meaning.`;
    node.append(bar, element("p", "", said));
  }
  for (const line of why.lines) node.append(element("p", "", line));
  return node;
}

// Which of them the source pane shows
function pressed(list, number) {
  list.opened = number;
  for (const node of list.hits.querySelectorAll("[data-number]")) {
    node.setAttribute("aria-pressed", String(Number(node.dataset.number) === number));
  }
}
