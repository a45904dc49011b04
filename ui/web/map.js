// The map of an index: points, what they are grouped by, and a question among them (values from ui/explore.py).
//
// Positions and groups come once, as packed numbers, and are asked for when they are not here ("need"). Texts of passages
// come when one points at them ("look"): 50,000 of them would be 15 MB, and nobody reads them all.

const kept = new Map(); // of the maps seen last, by token: the packed numbers, and where one looked
const KEPT = 3;
const maps = new WeakMap();
const LOOK_AFTER = 60; // milliseconds that the pointer rests before texts are asked for
const LOOK_AGAIN = 1500; // milliseconds after which an answer that did not come is asked for once more
const AHEAD = 12; // texts that are asked for at once: of the point and of those beside it
const REACH = { mouse: 10, pen: 14, touch: 22 }; // pixels from a point that still mean it
const STEP = 60; // pixels for an arrow key
const CLOSE = 60; // times nearer than the whole map, at most, when a pin is brought into view

export default function ({ data, parentElement, setTriggerValue }) {
  let map = maps.get(parentElement);
  if (!map) {
    map = makeMap();
    parentElement.append(map.root);
    maps.set(parentElement, map);
    start(map);
  }
  map.send = setTriggerValue;
  take(map, data);
  return () => {
    map.stop();
    maps.delete(parentElement);
    map.root.remove();
  };
}

function makeMap() {
  const map = { texts: new Map(), asked: new Map(), listed: [], hover: -1, marked: -1, chosen: -1, by: null, shown: new Set() };
  map.root = element("div", "root explore");
  map.head = element("header", "head");
  map.title = element("h1");
  map.facts = element("p", "facts");
  map.notice = element("div", "notice");
  map.head.append(map.title, map.facts, map.notice);
  map.stage = makeStage(map);
  map.side = element("section", "side");
  map.side.setAttribute("aria-label", "What is on the map");
  map.near = element("div", "nearest");
  map.by = null;
  map.choice = element("div", "choice");
  map.choice.setAttribute("role", "group");
  map.choice.setAttribute("aria-label", "Colour by");
  map.list = element("ul", "groups");
  map.all = button("quiet all", "Show all", "", () => isolate(map, null));
  map.side.append(map.near, map.choice, map.list, map.all);
  map.root.append(map.head, map.stage, map.side);
  return map;
}

function makeStage(map) {
  const stage = element("div", "stage");
  map.canvas = element("canvas", "points");
  map.canvas.setAttribute("aria-hidden", "true");
  map.labels = element("div", "labels");
  map.labels.setAttribute("aria-hidden", "true"); // the list says the same
  map.over = element("canvas", "over");
  map.over.tabIndex = 0;
  map.over.setAttribute("role", "application");
  map.form = makeForm(map);
  map.card = element("div", "card");
  map.card.setAttribute("aria-hidden", "true");
  map.status = element("p", "status");
  map.status.setAttribute("role", "status");
  map.said = element("p", "unseen");
  map.said.setAttribute("aria-live", "polite");
  map.chosenBox = element("div", "chosen");
  map.tools = element("div", "tools");
  map.layouts = element("div", "layouts");
  map.layouts.setAttribute("role", "group");
  map.layouts.setAttribute("aria-label", "Layout");
  const tool = (text, label, does) => button("tool", text, label, () => {
    does();
    draw(map);
  });
  const zooms = element("div", "zooms");
  zooms.append(
    tool("+", "Closer", () => map.points.zoom(1.5)),
    tool("−", "Further away", () => map.points.zoom(1 / 1.5)),
    tool("⤢", "The whole map", () => map.points.fit()),
  );
  map.tools.append(map.layouts, zooms);
  stage.append(
    map.form, map.canvas, map.labels, map.over, map.chosenBox, map.tools, map.status, map.said, map.card,
  );
  map.probes = Array.from({ length: 8 }, (_, i) => element("i", `probe colour${i + 1}`));
  map.probes.push(element("i", "probe grey"), element("i", "probe ink"), element("i", "probe page"), element("i", "probe link"));
  stage.append(...map.probes);
  return stage;
}

function makeForm(map) {
  const form = element("form", "ask");
  form.setAttribute("role", "search");
  map.box = element("input");
  map.box.type = "text";
  map.box.maxLength = 2000;
  map.box.autocomplete = "off";
  map.box.placeholder = "Ask, and see where the question falls";
  map.box.setAttribute("aria-label", "A question to pin on the map");
  map.clear = button("clear", "✕", "Take the pin away", () => {
    clear(map);
    map.box.focus();
  });
  map.clear.hidden = true;
  const go = element("button", "go", "Pin it");
  go.type = "submit";
  form.append(map.box, map.clear, go);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    pinQuestion(map, map.box.value.trim());
  });
  return form;
}

// Starting and stopping

function start(map) {
  map.points = new Points(map.canvas);
  map.points.above = 56; // the box
  map.canvas = map.points.canvas;
  map.canvas.dataset.drawnWith = map.points.brush.kind;
  map.points.brush.restored = () => draw(map);
  const sized = new ResizeObserver(() => resize(map));
  sized.observe(map.stage);
  const onKey = (event) => focusBox(map, event);
  const recolour = () => {
    readColours(map);
    draw(map);
  };
  const onSource = (event) => sourceShown(map, event.detail.number);
  document.addEventListener("keydown", onKey);
  document.addEventListener("footnote:source", onSource);
  map.probes[8].addEventListener("transitionend", recolour); // the theme has changed
  listen(map);
  map.stop = () => {
    remember(map);
    sized.disconnect();
    document.removeEventListener("keydown", onKey);
    document.removeEventListener("footnote:source", onSource);
    for (const timer of [map.looking, map.again, map.needing]) clearTimeout(timer);
    cancelAnimationFrame(map.frame);
    map.points.release();
  };
  readColours(map);
}

function resize(map) {
  map.points.resize();
  map.over.width = map.canvas.width;
  map.over.height = map.canvas.height;
  if (map.points.n && map.points.width && !map.isFitted) {
    map.isFitted = true;
    lookAgain(map);
  }
  drawNow(map); // in the same frame: a canvas is empty after its size was set
}

function readColours(map) {
  const read = (node) => getComputedStyle(node).color;
  const parts = (text) => (text.match(/[\d.]+/g) ?? []).slice(0, 3).map((part) => Number(part) / 255);
  map.points.colours = map.probes.slice(0, 8).map((node) => parts(read(node)));
  map.points.grey = parts(read(map.probes[8]));
  map.font = getComputedStyle(map.root).fontFamily;
  [map.ink, map.page, map.link] = map.probes.slice(9).map(read);
}

function focusBox(map, event) {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(at?.tagName ?? "") || at?.isContentEditable) return;
  event.preventDefault();
  map.box.focus();
}

// What Python sends

function take(map, data) {
  if (map.token !== data.token) {
    remember(map);
    forget(map);
    map.token = data.token;
  }
  map.data = data;
  map.title.textContent = data.title;
  map.facts.textContent = map.facts.title = data.facts; // beside a source it may be cut
  map.root.classList.toggle("drawing", !data.parts_there.length);
  map.over.setAttribute("aria-label", `Map of ${data.facts} Arrow keys move it, plus and minus zoom, Enter opens the passage in the middle.`);
  for (const text of data.texts ?? []) {
    map.texts.set(text.id, text);
    map.asked.delete(text.id);
  }
  keep(map, data);
  showParts(map);
  showChoice(map);
  showLayouts(map);
  showPin(map);
  showNotice(map);
  showTypical(map);
  const isLinked = data.linked && data.linked !== map.linked;
  map.linked = data.linked; // nothing once it was asked, so that the way back can bring the same question again
  if (isLinked) {
    map.box.value = data.linked;
    pinQuestion(map, data.linked);
  } else if (!map.waitsForPin) {
    map.status.textContent = data.status ?? "";
  }
  map.root.setAttribute("aria-busy", String(Boolean(data.status || map.waitsForPin)));
  showCard(map);
  draw(map);
}

// Another map: a number that names a passage here may name one of another index there.
function forget(map) {
  Object.assign(map, { hover: -1, marked: -1, opens: -1, pointed: null, layout: null, isFitted: false, pinned: null, listed: [] });
  for (const seen of [map.shown, map.texts, map.asked]) seen.clear();
  for (const timer of [map.looking, map.again]) clearTimeout(timer);
  map.card.hidden = true; // nothing is drawn by the numbers of a map that is not there yet
  delete map.card.dataset.id;
  choose(map, -1);
}

// The packed numbers of a map; those that did not come are asked for.
function keep(map, data) {
  const store = kept.get(data.token) ?? { parts: {} };
  kept.delete(data.token);
  kept.set(data.token, store);
  for (const token of [...kept.keys()].slice(0, -KEPT)) kept.delete(token);
  for (const [name, packed] of Object.entries(data.parts ?? {})) store.parts[name] = unpacked(name, packed);
  map.store = store;
  const missing = data.parts_there.filter((name) => !store.parts[name]);
  const wanted = missing.join();
  clearTimeout(map.needing);
  if (missing.length) map.needing = setTimeout(() => keep(map, map.data), LOOK_AGAIN + 50);
  if (missing.length && (map.needs !== wanted || performance.now() - map.neededAt > LOOK_AGAIN)) {
    map.neededAt = performance.now();
    map.send("need", { token: data.token, parts: missing });
  }
  map.needs = wanted;
}

function unpacked(name, packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  if (name === "ids") return new Uint32Array(bytes.buffer);
  return name === "overview" || name === "neighbours" ? new Uint16Array(bytes.buffer) : bytes;
}

function showParts(map) {
  const { parts } = map.store;
  const layout = parts[map.data.layout] ? map.data.layout : "overview";
  if (parts[layout] && parts.ids && (layout !== map.layout || map.points.n !== parts.ids.length)) {
    map.layout = layout;
    map.points.place(parts[layout]);
    map.points.resize();
    map.isFitted = Boolean(map.points.width);
    if (map.isFitted) lookAgain(map);
    map.groupsShown = null;
  }
  const there = map.data.groupings.filter((grouping) => parts[grouping.key]);
  const wanted = map.wants ?? "topic"; // until it is chosen, topics as soon as there are any
  const by = there.find((grouping) => grouping.key === wanted) ?? there.find((grouping) => grouping.groups.length > 1) ?? there[0];
  if (by && (map.by?.key !== by.key || map.groupsShown !== map.layout)) {
    if (map.by?.key !== by.key) map.shown.clear();
    map.by = by;
    map.groupsShown = map.layout;
    map.points.group(parts[by.key], map.shown.size ? map.shown : null);
    showGroups(map);
  } else if (by) {
    map.by = by;
  }
  if (!by) {
    map.by = null;
    map.list.replaceChildren();
    map.labels.replaceChildren();
  }
}

function remember(map) {
  if (!map.store || !map.isFitted) return;
  const { listed, number, chosen } = map;
  Object.assign(map.store, { camera: { ...map.points.camera }, cameraOf: map.layout, listed, number, chosen, row: map.texts.get(chosen) });
}

function lookAgain(map) {
  const { camera, cameraOf, listed, number, chosen, row } = map.store;
  if (camera && cameraOf === map.layout) map.points.camera = { ...camera };
  else map.points.fit();
  if (!row || map.chosen !== -1) return;
  map.texts.set(chosen, row);
  Object.assign(map, { listed, number }); // the pane walks on in them
  choose(map, chosen);
}

const rowOf = (map, id) => {
  const ids = map.store?.parts.ids ?? [];
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return ids[low] === id ? low : -1;
};

// What the points are grouped by: the list is legend, filter, and the map in words

function showChoice(map) {
  const buttons = map.data.groupings.map((grouping) => {
    const node = button("segment", grouping.label, "", () => {
      map.wants = grouping.key;
      map.shown.clear();
      showParts(map);
      showChoice(map);
      draw(map);
    });
    node.dataset.key = grouping.key;
    node.setAttribute("aria-pressed", String(grouping.key === map.by?.key));
    if (!map.store.parts[grouping.key]) node.setAttribute("aria-disabled", "true");
    return node;
  });
  swap(map.choice, buttons);
}

// The same buttons stay, so that the focus does.
function swap(parent, nodes) {
  const same = parent.children.length === nodes.length && nodes.every((node, i) => node.dataset.key === parent.children[i].dataset.key);
  if (!same) parent.replaceChildren(...nodes);
  else {
    nodes.forEach((node, i) => {
      for (const name of ["aria-pressed", "aria-disabled"]) {
        if (node.hasAttribute(name)) parent.children[i].setAttribute(name, node.getAttribute(name));
        else parent.children[i].removeAttribute(name);
      }
    });
  }
}

function showGroups(map) {
  const items = map.by.groups.map((group, i) => {
    const node = button("group", "", `${group.name}: ${passages(group.n)}. Show these alone.`, (event) => {
      isolate(map, i, event.shiftKey || event.ctrlKey || event.metaKey);
    });
    node.append(swatch(i), element("span", "name", group.name), element("span", "count", group.n.toLocaleString("en")));
    node.setAttribute("aria-pressed", "false");
    node.addEventListener("mouseenter", () => hint(map, i));
    node.addEventListener("mouseleave", () => hint(map, null));
    const item = element("li");
    item.append(node, element("div", "typical"));
    return item;
  });
  map.list.replaceChildren(...items);
  map.list.setAttribute("aria-label", `Passages by ${map.by.label.toLowerCase()}`);
  map.labels.replaceChildren(...(map.by.key === "topic" ? map.by.groups.map((group) => label(group)) : []));
  map.labelAt = map.by.key === "topic" ? middles(map) : [];
  showPressed(map);
}

function label(group) {
  return element("span", "label", group.name.split(", ").slice(0, 2).join(" · "));
}

function swatch(i) {
  return element("span", `swatch colour${(i % 8) + 1}${i > 7 ? " square" : ""}`);
}

const passages = (n) => `${n.toLocaleString("en")} passage${n === 1 ? "" : "s"}`;

// Where most of each group is: the middle one in both directions.
function middles(map) {
  const { at, groups, n } = map.points;
  const found = map.by.groups.map(() => [[], []]);
  for (let i = 0; i < n; i++) {
    const of = found[groups[i]];
    if (!of) continue;
    of[0].push(at[2 * i]);
    of[1].push(at[2 * i + 1]);
  }
  const middle = (values) => Float64Array.from(values).sort()[values.length >> 1] ?? 0;
  return found.map(([x, y]) => [middle(x), middle(y)]);
}

function isolate(map, group, alsoOthers = false) {
  const wasAlone = map.shown.size === 1 && map.shown.has(group);
  if (group === null || (wasAlone && !alsoOthers)) map.shown.clear();
  else if (!alsoOthers) {
    map.shown.clear();
    map.shown.add(group);
  } else if (!map.shown.delete(group)) map.shown.add(group);
  showPressed(map);
  draw(map);
}

function hint(map, group) {
  if (map.shown.size) return;
  map.points.shown = group === null ? null : new Set([group]);
  draw(map);
}

function showPressed(map) {
  map.points.shown = map.shown.size ? map.shown : null;
  [...map.list.children].forEach((item, i) => item.firstChild.setAttribute("aria-pressed", String(map.shown.has(i))));
  map.all.hidden = !map.shown.size;
  showTypical(map);
}

// Below a topic that is shown alone: the passages that stand for it.
function showTypical(map) {
  [...map.list.children].forEach((item, i) => {
    const box = item.lastChild;
    const ids = map.shown.size === 1 && map.shown.has(i) ? map.by.groups[i].typical : [];
    ask(map, ids);
    const rows = ids.map((id) => map.texts.get(id)).filter(Boolean);
    const drawn = rows.map(({ id }) => id).join();
    if (box.dataset.drawn === drawn) return;
    box.dataset.drawn = drawn;
    box.replaceChildren(...(rows.length ? [element("p", "small", "Typical passages"), passageList(map, rows)] : []));
  });
}

// A passage in a few lines: its document, where in it, and how it begins.
function describe(row) {
  const parts = [element("span", "name", row.title)];
  if (row.where) parts.push(element("span", "where", row.where));
  return [...parts, element("span", "quote", row.text)];
}

const nameOf = (row) => (row.where ? `${row.title}, ${row.where}` : row.title);

function passageList(map, rows, { numbered = false } = {}) {
  const list = element("ol", "passages");
  rows.forEach((row, i) => {
    const open = button("passage", "", `${numbered ? `${i + 1}: ` : ""}${nameOf(row)}. Open it.`, () => openPassage(map, rows, i));
    if (numbered) open.append(element("span", "number", String(i + 1)));
    open.append(...describe(row));
    const point = (id) => () => {
      map.pointed = id;
      draw(map);
    };
    open.addEventListener("mouseenter", point(row.id));
    open.addEventListener("mouseleave", point(null));
    const like = button("quiet like", "Pin its neighbours", `Pin its neighbours: ${nameOf(row)}`, () => likePassage(map, row.id));
    const item = element("li");
    item.append(open, like);
    list.append(item);
  });
  return list;
}

function openPassage(map, rows, i) {
  choose(map, rows[i].id);
  openListed(map, rows.map(({ id }) => id), i + 1);
}

function openListed(map, ids, number) {
  map.isOpening = number !== map.number || String(ids) !== String(map.listed);
  map.listed = ids;
  map.number = number;
  map.send("open", { ids, number });
}

// The two layouts

function showLayouts(map) {
  const layouts = map.data.layouts ?? [];
  const buttons = layouts.map((layout) => {
    const node = button("segment", layout.label, "", () => {
      if (map.data.layouts.find(({ key }) => key === layout.key)?.ready) map.send("layout", layout.key);
    });
    node.dataset.key = layout.key + layout.label;
    node.title = layout.about;
    node.setAttribute("aria-pressed", String(layout.key === map.layout));
    if (!layout.ready) node.setAttribute("aria-disabled", "true");
    return node;
  });
  map.layouts.hidden = layouts.length < 2;
  swap(map.layouts, buttons);
}

function showNotice(map) {
  const lines = [...(map.data.notes ?? [])];
  const key = JSON.stringify([lines, map.data.stale]);
  if (map.notice.dataset.key === key) return;
  map.notice.dataset.key = key;
  map.notice.replaceChildren(...lines.map((line) => element("p", "", line)));
  if (map.data.stale) {
    const line = element("p", "", "The documents have changed since this map was drawn. ");
    line.append(button("quiet", "Draw it anew", "", () => map.send("anew", true)));
    map.notice.append(line);
  }
}

// Questions, and passages like another

function pinQuestion(map, text) {
  if (!text) return clear(map);
  wait(map, "Looking where it falls");
  map.send("ask", text);
}

function likePassage(map, id) {
  wait(map, "Looking for passages like it");
  map.send("like", id);
}

function wait(map, words) {
  map.waitsForPin = true;
  map.status.textContent = words;
  map.root.setAttribute("aria-busy", "true");
}

function clear(map) {
  map.box.value = "";
  map.waitsForPin = false;
  map.status.textContent = "";
  map.send("clear", true);
}

function showPin(map) {
  const { pin, asked } = map.data;
  const drawn = JSON.stringify(pin ?? null);
  if (asked !== map.askedBefore) {
    map.waitsForPin = false; // this is what came of it
    map.askedBefore = asked;
  }
  if (drawn === map.pinned) return;
  map.pinned = drawn;
  map.pin = pin;
  map.clear.hidden = !pin;
  if (pin?.kind === "question" && map.root.getRootNode().activeElement !== map.box) map.box.value = pin.title;
  if (!pin) {
    map.near.replaceChildren();
    return;
  }
  for (const row of pin.near) map.texts.set(row.id, row);
  const head = element("div", "nearest-head");
  head.append(
    element("h2", "", pin.kind === "question" ? "Nearest to the question" : "Most like this passage"),
    button("quiet close", "✕", "Take the pin away", () => clear(map)),
  );
  map.near.replaceChildren(head, element("p", "small about", pin.title), passageList(map, pin.near, { numbered: true }));
  map.near.scrollTop = 0;
  bringIntoView(map, [pin.at, ...pin.near.map((row) => row.at)]);
}

function bringIntoView(map, spots) {
  if (!map.points.width) return;
  const isSeen = ([x, y]) => {
    const [left, top] = map.points.toScreen(x, y);
    return left > 20 && top > 70 && left < map.points.width - 20 && top < map.points.height - 60;
  };
  const across = (axis) => spots.map((spot) => spot[axis]);
  const box = [Math.min(...across(0)), Math.min(...across(1)), Math.max(...across(0)), Math.max(...across(1))];
  const [x, y] = [box[2] - box[0], box[3] - box[1]].map((side) => side * map.points.camera.scale);
  if (!spots.every(isSeen) || Math.max(x, y) < 40) map.points.fit(box, CLOSE / 10);
}

// The passage that was clicked

function choose(map, id) {
  map.chosen = id;
  const row = map.texts.get(id);
  const box = [];
  if (row) {
    box.push(
      element("span", "name", row.title),
      button("quiet", "Pin its neighbours", `Pin its neighbours: ${nameOf(row)}`, () => likePassage(map, id)),
      button("quiet close", "✕", "Let go of this passage", () => choose(map, -1)),
    );
  }
  map.chosenBox.replaceChildren(...box);
  draw(map);
}

// The pane was opened, closed, or walked on in what was listed with its passage: the map follows. Where the pane is a
// sheet over the lower half, the point is moved above it.
function sourceShown(map, number) {
  const hasWalked = number && number !== map.number; // more of the same text tells the same number
  if (hasWalked && map.isOpening) map.listed = []; // some of it has gone from the index: the numbers are others now
  map.isOpening = false;
  map.number = number;
  if (hasWalked && map.listed[number - 1] !== undefined) choose(map, map.listed[number - 1]);
  if (!number || !matchMedia("(max-width: 899px)").matches) return;
  const row = rowOf(map, map.chosen);
  if (row < 0 || map.root.getRootNode().activeElement?.closest(".side")) return;
  const top = map.points.toScreen(map.points.at[2 * row], map.points.at[2 * row + 1])[1] + map.over.getBoundingClientRect().top;
  const scroller = scrollerOf(map.root.getRootNode().host ?? map.root);
  scroller.scrollTop += top - window.innerHeight * 0.28;
}

// Pointer and keys

function listen(map) {
  const pointers = new Map();
  let moved = 0;
  const place = (event) => {
    const box = map.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.hypot(a[0] - b[0], a[1] - b[1]) || 1, middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  };
  map.over.addEventListener("pointerdown", (event) => {
    map.over.setPointerCapture(event.pointerId);
    if (!pointers.size) moved = 0;
    pointers.set(event.pointerId, place(event));
  });
  map.over.addEventListener("pointermove", (event) => {
    const [left, top] = place(event);
    if (!pointers.has(event.pointerId)) return pointAt(map, left, top, event.pointerType);
    const before = pointers.size === 2 ? spread() : null;
    const [wasLeft, wasTop] = pointers.get(event.pointerId);
    pointers.set(event.pointerId, [left, top]);
    moved += Math.hypot(left - wasLeft, top - wasTop);
    if (before) {
      const now = spread();
      map.points.pan(now.middle[0] - before.middle[0], now.middle[1] - before.middle[1]);
      map.points.zoom(now.distance / before.distance, ...now.middle);
    } else if (pointers.size === 1 && moved > 4) {
      map.points.pan(left - wasLeft, top - wasTop);
      leave(map);
    }
    draw(map);
  });
  const up = (event) => {
    const wasOne = pointers.size === 1;
    if (!pointers.delete(event.pointerId)) return;
    if (event.type === "pointerup" && wasOne && moved <= 4) clickAt(map, ...place(event), event.pointerType);
  };
  map.over.addEventListener("pointerup", up);
  map.over.addEventListener("pointercancel", up);
  map.over.addEventListener("pointerleave", () => pointers.size || leave(map));
  map.over.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
      map.points.zoom(Math.exp(-Math.max(Math.min(pixels, 120), -120) * (event.ctrlKey ? 0.01 : 0.002)), ...place(event));
      draw(map);
    },
    { passive: false },
  );
  map.over.addEventListener("keydown", (event) => onKey(map, event));
  map.over.addEventListener("focus", () => draw(map));
  map.over.addEventListener("blur", () => {
    map.marked = -1;
    leave(map);
  });
}

const KEYS = {
  ArrowLeft: (points) => points.pan(STEP, 0),
  ArrowRight: (points) => points.pan(-STEP, 0),
  ArrowUp: (points) => points.pan(0, STEP),
  ArrowDown: (points) => points.pan(0, -STEP),
  "+": (points) => points.zoom(1.25),
  "=": (points) => points.zoom(1.25),
  "-": (points) => points.zoom(1 / 1.25),
  0: (points) => points.fit(),
  Home: (points) => points.fit(),
};

function onKey(map, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key](map.points);
    markMiddle(map);
  } else if (event.key === "Enter" && map.marked >= 0) {
    event.preventDefault();
    map.over.click(); // the pane gives the focus back to what was clicked; focus that moves within a part it cannot see
    openPoint(map, map.marked);
  } else if (event.key === "Escape" && (map.chosen >= 0 || map.marked >= 0) && !document.querySelector("[data-open]")) {
    map.marked = -1;
    choose(map, -1);
    leave(map);
  }
}

// With the keys, the passage next to the middle is the one that is meant.
function markMiddle(map) {
  const { width, height } = map.points;
  const [row = -1] = map.points.near(width / 2, height / 2, Math.max(width, height) / 4, 1);
  map.marked = row < 0 ? -1 : map.store.parts.ids[row];
  if (map.marked >= 0) lookSoon(map, [map.marked]);
  showCard(map);
  draw(map);
}

function pointAt(map, left, top, kind) {
  const rows = map.points.near(left, top, Math.max(REACH[kind] ?? 10, map.points.size / 2), AHEAD);
  const ids = rows.map((row) => map.store.parts.ids[row]);
  const hover = ids[0] ?? -1;
  map.marked = -1;
  map.over.style.cursor = hover >= 0 ? "pointer" : "grab";
  if (hover === map.hover) return;
  map.hover = hover;
  lookSoon(map, ids);
  showCard(map);
  draw(map);
}

function leave(map) {
  if (map.hover < 0 && map.marked < 0) return showCard(map);
  map.hover = -1;
  showCard(map);
  draw(map);
}

function clickAt(map, left, top, kind) {
  const [row] = map.points.near(left, top, Math.max(REACH[kind] ?? 10, map.points.size / 2), 1);
  if (row === undefined) return choose(map, -1);
  openPoint(map, map.store.parts.ids[row]);
}

function openPoint(map, id) {
  map.chosen = id;
  map.opens = id;
  choose(map, id);
  openListed(map, [id], 1);
  clearTimeout(map.looking);
  map.looking = setTimeout(() => ask(map, [id]), 5 * LOOK_AFTER); // after the pane, which is drawn alone if nothing else is sent
}

// Texts

function lookSoon(map, ids) {
  clearTimeout(map.looking);
  map.looking = setTimeout(() => ask(map, ids), LOOK_AFTER);
}

function ask(map, ids) {
  const now = performance.now();
  const wanted = ids.filter((id) => !map.texts.has(id) && !(now - map.asked.get(id) < LOOK_AGAIN));
  if (!wanted.length) return;
  for (const id of wanted) map.asked.set(id, now);
  map.send("look", wanted);
  clearTimeout(map.again); // of two answers in a row Streamlit may show only the last
  map.again = setTimeout(() => ask(map, wanted), LOOK_AGAIN + 50);
}

function showCard(map) {
  const id = map.hover >= 0 ? map.hover : map.marked;
  const row = map.texts.get(id);
  const at = rowOf(map, id);
  map.card.hidden = !row || at < 0;
  if (map.chosen >= 0 && map.opens === map.chosen && map.texts.has(map.chosen)) {
    map.opens = -1; // its name has come
    choose(map, map.chosen);
  }
  if (map.card.hidden) return;
  if (map.card.dataset.id !== String(id)) {
    map.card.dataset.id = id;
    map.card.replaceChildren(...describe(row));
    if (id === map.marked) map.said.textContent = `${nameOf(row)}: ${row.text}`;
  }
  placeCard(map, at);
}

function placeCard(map, row) {
  const [left, top] = map.points.toScreen(map.points.at[2 * row], map.points.at[2 * row + 1]);
  const { offsetWidth: width, offsetHeight: height } = map.card;
  const across = Math.min(Math.max(left - width / 2, 8), Math.max(map.points.width - width - 8, 8));
  const above = top - height - 14;
  const below = Math.min(top + 14, Math.max(map.points.height - height - 8, 8));
  map.card.style.transform = `translate(${Math.round(across)}px, ${Math.round(above > 8 ? above : below)}px)`;
}

// Drawing

function draw(map) {
  if (map.frame) return;
  map.frame = requestAnimationFrame(() => drawNow(map));
}

function drawNow(map) {
  cancelAnimationFrame(map.frame);
  map.frame = 0;
  map.points.draw();
  map.canvas.dataset.points = map.points.n;
  drawOver(map);
  placeLabels(map);
  if (!map.card.hidden) {
    const row = rowOf(map, map.hover >= 0 ? map.hover : map.marked);
    if (row >= 0) placeCard(map, row);
  }
}

function drawOver(map) {
  const context = map.over.getContext("2d");
  const { ratio, width, height, size } = map.points;
  if (!width) return;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (map.pin) drawPin(map, context);
  for (const [id, extra] of [[map.chosen, 6], [map.pointed ?? -1, 6], [map.hover, 4], [map.marked, 4]]) {
    const row = id < 0 ? -1 : rowOf(map, id);
    if (row >= 0) ring(map, context, map.points.toScreen(map.points.at[2 * row], map.points.at[2 * row + 1]), size / 2 + extra);
  }
  if (map.over.matches(":focus-visible")) crosshair(map, context);
}

function ring(map, context, [left, top], radius) {
  for (const [colour, line] of [[map.page, 5], [map.ink, 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.beginPath();
    context.arc(left, top, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

function crosshair(map, context) {
  const [x, y] = [map.points.width / 2, map.points.height / 2];
  context.strokeStyle = map.ink;
  context.lineWidth = 1;
  context.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    context.moveTo(x + dx * 4, y + dy * 4);
    context.lineTo(x + dx * 10, y + dy * 10);
  }
  context.stroke();
}

// The nearest passages joined with the pin, and numbered as in the list.
function drawPin(map, context) {
  const at = map.points.toScreen(...map.pin.at);
  const spots = map.pin.near.map((row) => map.points.toScreen(...row.at));
  for (const [colour, line] of [[map.page, 4], [map.link, 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.beginPath();
    for (const spot of spots) {
      context.moveTo(...at);
      context.lineTo(...spot);
    }
    context.stroke();
  }
  context.font = `700 11px ${map.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let i = spots.length - 1; i >= 0; i--) {
    context.fillStyle = map.link;
    context.strokeStyle = map.page;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(...spots[i], 8.5, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    context.fillStyle = map.page;
    context.fillText(String(i + 1), spots[i][0], spots[i][1] + 0.5);
  }
  if (map.pin.kind === "question") needle(map, context, at);
  else ring(map, context, at, map.points.size / 2 + 6);
}

function needle(map, context, [left, top]) {
  context.fillStyle = map.link;
  context.strokeStyle = map.page;
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(left, top);
  context.bezierCurveTo(left - 3, top - 8, left - 10, top - 13, left - 10, top - 20);
  context.arc(left, top - 20, 10, Math.PI, 0);
  context.bezierCurveTo(left + 10, top - 13, left + 3, top - 8, left, top);
  context.fill();
  context.stroke();
  context.fillStyle = map.page;
  context.beginPath();
  context.arc(left, top - 20, 3.5, 0, 2 * Math.PI);
  context.fill();
}

// Names of topics where most of their points are; of two that would overlap, the larger topic's.
function placeLabels(map) {
  const taken = [];
  [...map.labels.children].forEach((node, i) => {
    const [left, top] = map.points.toScreen(...map.labelAt[i]);
    node.dataset.width ??= node.offsetWidth;
    const half = Number(node.dataset.width) / 2;
    const box = [left - half - 4, top - 12, left + half + 4, top + 12];
    const isApart = taken.every(([a, b, c, d]) => box[2] < a || box[0] > c || box[3] < b || box[1] > d);
    const isShown = !map.points.shown || map.points.shown.has(i);
    const isIn = box[0] > 0 && box[2] < map.points.width && box[1] > 64 && box[3] < map.points.height - 48;
    node.style.visibility = isApart && isShown && isIn ? "visible" : "hidden";
    if (node.style.visibility === "visible") taken.push(box);
    node.style.transform = `translate(${Math.round(left - half)}px, ${Math.round(top - 11)}px)`;
  });
}
