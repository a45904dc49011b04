// Draws the parts of the Library page from the values of shelf.py: its head, what is said of what was dropped,
// a reading, the files, an index's facts. Every text goes in as a text node; nothing is read as markup.

const parts = new WeakMap();
const KINDS = {
  head: [makeHead, drawHead],
  said: [makeSaid, drawSaid],
  reading: [makeReading, drawReading],
  files: [makeFiles, drawFiles],
  facts: [makeFacts, drawFacts],
  words: [() => {}, drawWords],
};

export default function ({ data, parentElement, setTriggerValue }) {
  const [make, draw] = KINDS[data.kind];
  let part = parts.get(parentElement);
  if (!part) {
    part = { root: element("div", `root ${data.kind}`), stop: () => {} };
    make(part);
    parentElement.append(part.root);
    parts.set(parentElement, part);
  }
  part.send = (what, value) => setTriggerValue("do", { what, value: value ?? null });
  draw(part, data);
  return () => {
    part.stop();
    parts.delete(parentElement);
    part.root.remove();
  };
}

// The head

function makeHead(part) {
  part.title = element("h1");
  part.text = element("p", "soft");
  part.root.append(part.title, part.text);
  part.title.tabIndex = -1; // where the focus goes when what had it is gone
  giveFocusBack(part);
}

// A dialog that closes lets the focus fall to the page as a whole: it goes back to what was pressed to open it.
function giveFocusBack(part) {
  let pressed = null;
  let wasOpen = false;
  const remember = (event) => {
    const path = event.composedPath();
    const inDialog = path.some((node) => node instanceof Element && node.getAttribute("role") === "dialog");
    if (!inDialog) pressed = path.find((node) => node instanceof HTMLButtonElement) ?? pressed;
  };
  const giveBack = () => {
    if (document.activeElement && document.activeElement !== document.body) return; // it went somewhere by itself
    const target = pressed?.isConnected && pressed.offsetParent ? pressed : part.title;
    target.focus({ preventScroll: target === part.title });
  };
  const watcher = new MutationObserver(() => {
    const isOpen = Boolean(document.querySelector('[role="dialog"]'));
    if (wasOpen && !isOpen) setTimeout(giveBack, 100); // when Streamlit has done with it
    wasOpen = isOpen;
  });
  document.addEventListener("click", remember, true);
  watcher.observe(document.body, { childList: true, subtree: true });
  part.stop = () => {
    document.removeEventListener("click", remember, true);
    watcher.disconnect();
  };
}

function drawHead(part, data) {
  part.title.textContent = data.title;
  part.text.textContent = data.text;
}

// What is said of files that were dropped

function makeSaid(part) {
  part.lines = element("div");
  part.lines.setAttribute("role", "status");
  part.root.classList.add("reading");
  part.root.append(part.lines, button("quiet", "Close", "Close these words", () => part.send("close")));
  watchSizes(part);
}

function drawSaid(part, data) {
  part.limit = data.limit;
  part.budget = data.budget;
  part.root.classList.toggle("empty", !data.said.length);
  part.lines.replaceChildren(...data.said.map((line) => element("p", "", line)));
}

// Streamlit refuses a file that is too large before Python hears of it, and the server what is too much together: who
// dropped it is told by us, in our words. Of too much none is sent, for which of it came through would be chance.
function watchSizes(part) {
  const tell = (event, files) => {
    const all = [...(files ?? [])];
    const together = all.filter((file) => file.size <= part.limit).reduce((sum, file) => sum + file.size, 0);
    if (together > part.budget) {
      event.preventDefault();
      event.stopImmediatePropagation();
      part.send("much", together);
      return;
    }
    const large = all.filter((file) => file.size > part.limit);
    if (large.length) part.send("large", { files: large.map(({ name, size }) => ({ name, size })), all: large.length === all.length });
  };
  const inside = (event) => event.target instanceof Element && event.target.closest(".st-key-hand");
  const dropped = (event) => inside(event) && tell(event, event.dataTransfer?.files);
  const chosen = (event) => inside(event) && event.target.type === "file" && tell(event, event.target.files);
  document.addEventListener("drop", dropped, true);
  document.addEventListener("change", chosen, true);
  part.stop = () => {
    document.removeEventListener("drop", dropped, true);
    document.removeEventListener("change", chosen, true);
  };
}

// A reading

function makeReading(part) {
  part.bar = element("div", "bar");
  part.bar.setAttribute("role", "progressbar");
  part.bar.setAttribute("aria-label", "Reading");
  part.fill = element("div", "fill");
  part.bar.append(part.fill);
  part.words = element("div", "words");
  part.text = element("p", "text");
  part.more = element("p", "soft");
  part.words.append(part.text, part.more);
  part.actions = element("div", "actions");
  part.queue = element("ul", "queue");
  part.root.append(part.bar, part.words, part.actions, part.queue);
}

function drawReading(part, data) {
  const hadFocus = part.actions.contains(part.root.getRootNode().activeElement);
  part.root.hidden = data.state === "none" && !data.queued.length;
  part.root.dataset.state = data.state;
  const moving = data.state === "running";
  part.bar.hidden = !moving || data.share === null;
  part.fill.style.width = `${100 * (data.share ?? 0)}%`;
  part.bar.setAttribute("aria-valuenow", String(Math.round(100 * (data.share ?? 0))));
  part.bar.setAttribute("aria-valuetext", data.text);
  part.text.setAttribute("aria-live", moving ? "off" : "polite"); // how it ended is said aloud, not every second of it
  if (part.text.textContent !== data.text) part.text.textContent = data.text;
  part.more.textContent = data.more;
  part.more.hidden = !data.more;
  const wanted = JSON.stringify([data.actions, data.number ?? 0]);
  if (wanted !== part.wanted) {
    part.wanted = wanted; // else they stay the same nodes, and keep the focus
    part.actions.replaceChildren(
      ...data.actions.map(([what, label]) => button(what === "stop" ? "act" : "quiet", label, "", () => part.send(what, data.number))),
    );
    if (hadFocus) keepPlace(part);
  }
  part.queue.hidden = !data.queued.length;
  part.queue.replaceChildren(
    ...data.queued.map((job) => {
      const item = element("li", "", job.text);
      item.append(button("quiet", "Do not read", `Do not read: ${job.text}`, () => part.send("stop", job.number)));
      return item;
    }),
  );
}

// Of one who pressed a button that is gone, the next Tab goes on from here.
function keepPlace(part) {
  const place = part.actions.firstElementChild ?? (part.root.hidden ? part.root.getRootNode().host : part.text);
  if (place !== part.actions.firstElementChild) place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

// The files

function makeFiles(part) {
  part.chosen = new Set();
  part.everything = false;
  const tools = element("div", "tools");
  part.box = element("input");
  Object.assign(part.box, { type: "search", placeholder: "Find a file", autocomplete: "off", spellcheck: false, maxLength: 200 });
  part.box.setAttribute("aria-label", "Find a file");
  part.timer = 0; // while it runs, what was typed is still to be sent
  part.look = (standing) => {
    clearTimeout(part.timer);
    part.timer = 0;
    part.send("look", { find: part.box.value, standing: standing ?? part.data.standing });
  };
  part.box.addEventListener("input", () => {
    clearTimeout(part.timer);
    part.timer = setTimeout(part.look, 250);
  });
  part.tabs = element("div", "tabs");
  part.tabs.setAttribute("role", "group");
  part.tabs.setAttribute("aria-label", "Which files");
  tools.append(part.box, part.tabs);
  part.choice = element("div", "choice");
  part.choice.setAttribute("role", "status");
  part.table = element("table");
  part.table.setAttribute("aria-label", "Files");
  part.all = tick("All files shown", (on) => {
    for (const row of part.data.rows) on ? part.chosen.add(row.id) : part.chosen.delete(row.id);
    part.everything = false;
    drawFiles(part, part.data);
  });
  const head = element("tr");
  const first = element("th", "tick");
  first.append(part.all.node);
  head.append(first, element("th", "", "File"), element("th", "", "State"), element("th", "number", "Passages"));
  for (const cell of head.children) {
    cell.scope = "col";
    cell.setAttribute("role", "columnheader");
  }
  const top = element("thead");
  top.append(head);
  // On a phone the style sheet lays the rows out anew, which would take from a table what it is: so it is said.
  for (const [node, role] of [[part.table, "table"], [top, "rowgroup"], [part.body = element("tbody"), "rowgroup"], [head, "row"]]) {
    node.setAttribute("role", role);
  }
  part.table.append(top, part.body);
  part.none = element("p", "soft none");
  part.pager = element("div", "pager");
  part.back = button("quiet", "‹ Back", "Files before these", () => turn(part, -1));
  part.count = element("span", "soft");
  part.on = button("quiet", "More ›", "Files after these", () => turn(part, 1));
  part.pager.append(part.back, part.count, part.on);
  part.root.append(tools, part.choice, part.table, part.none, part.pager);
}

function turn(part, by) {
  const to = part.data.page + by;
  if (to < 0 || to >= part.data.pages) return;
  part.send("page", to);
  part.root.scrollIntoView({ block: "start" });
}

function drawFiles(part, data) {
  if (part.data && (part.data.find !== data.find || part.data.standing !== data.standing)) part.everything = false;
  if (part.data && part.data.choice !== data.choice) {
    part.chosen.clear();
    part.everything = false;
    if (!data.find) part.box.value = "";
  }
  part.data = data;
  part.root.hidden = !data.total;
  if (!part.timer && !part.box.matches(":focus")) part.box.value = data.find;
  drawTabs(part, data);
  const drawn = JSON.stringify(data.rows);
  if (drawn !== part.drawn) {
    part.drawn = drawn;
    const focused = part.body.querySelector("input:focus")?.value; // it would lose the focus with its row
    part.body.replaceChildren(...data.rows.map((row) => drawRow(part, row)));
    [...part.body.querySelectorAll("input")].find((box) => box.value === focused)?.focus({ preventScroll: true });
  }
  for (const box of part.body.querySelectorAll("input")) box.checked = part.everything || part.chosen.has(box.value);
  const here = data.rows.filter((row) => part.everything || part.chosen.has(row.id)).length;
  part.all.box.checked = here > 0 && here === data.rows.length;
  part.all.box.indeterminate = here > 0 && here < data.rows.length;
  part.table.hidden = !data.rows.length;
  part.none.hidden = Boolean(data.rows.length);
  part.none.textContent = data.find ? "No file is called so." : "There are none.";
  part.pager.hidden = data.pages < 2;
  part.count.textContent = `${number(data.first)}–${number(data.first + data.rows.length - 1)} of ${number(data.n)}`;
  part.back.setAttribute("aria-disabled", String(data.page === 0));
  part.on.setAttribute("aria-disabled", String(data.page === data.pages - 1));
  drawChoice(part, data, here);
}

function drawTabs(part, data) {
  const names = { all: "All", ready: "Ready", aside: "Set aside" };
  if (!part.tabs.children.length) {
    for (const name of Object.keys(names)) {
      const tab = button("tab", "", "", () => part.look(name));
      tab.dataset.name = name;
      part.tabs.append(tab);
    }
  }
  for (const tab of part.tabs.children) {
    tab.textContent = `${names[tab.dataset.name]} ${number(data.counts[tab.dataset.name])}`;
    tab.setAttribute("aria-pressed", String(tab.dataset.name === data.standing));
  }
}

function drawRow(part, row) {
  const node = element("tr");
  const pick = tick(`Choose ${row.label}`, (on) => {
    if (part.everything) {
      part.everything = false;
      for (const other of part.data.rows) part.chosen.add(other.id);
    }
    on ? part.chosen.add(row.id) : part.chosen.delete(row.id);
    drawFiles(part, part.data);
  });
  pick.box.value = row.id;
  const first = element("td", "tick");
  first.append(pick.node);
  const file = element("th", "file");
  file.scope = "row";
  if (row.folder) file.append(element("span", "folder", `${row.folder}/`), document.createElement("wbr"));
  file.append(element("span", "name", row.name));
  if (row.kept) file.append(element("span", "kept", row.kept));
  const state = element("td", row.aside ? "state aside" : "state", row.state);
  for (const note of row.notes) state.append(element("span", "note", note));
  const count = element("td", "number", number(row.passages));
  count.dataset.word = row.passages === 1 ? " passage" : " passages"; // said where the column has no head
  node.append(first, file, state, count);
  node.setAttribute("role", "row");
  for (const cell of node.children) cell.setAttribute("role", cell === file ? "rowheader" : "cell");
  return node;
}

function drawChoice(part, data, here) {
  const n = part.everything ? data.n : part.chosen.size;
  const rest = [];
  if (n) {
    rest.push(element("span", "", n === 1 ? "1 file chosen" : `${number(n)} files chosen`));
    const remove = button("act", "Remove…", "", () => {
      if (!data.locked) part.send("remove", part.everything ? "all" : [...part.chosen]);
    });
    remove.setAttribute("aria-disabled", String(Boolean(data.locked)));
    rest.push(remove);
    if (!part.everything && here === data.rows.length && data.n > data.rows.length) {
      rest.push(button("quiet", `Choose all ${number(data.n)}`, "", () => {
        part.everything = true;
        drawFiles(part, data);
      }));
    }
    rest.push(button("quiet", "Choose none", "", () => {
      part.everything = false;
      part.chosen.clear();
      drawFiles(part, data);
      part.all.box.focus();
    }));
    if (data.locked) rest.push(element("span", "soft", data.locked));
  }
  const wanted = JSON.stringify([n, here, data.n, data.locked, part.everything]);
  if (wanted !== part.choiceDrawn) part.choice.replaceChildren(...rest);
  part.choiceDrawn = wanted;
  part.choice.hidden = !n;
}

function tick(label, onChange) {
  const node = element("label", "hit");
  const box = element("input");
  box.type = "checkbox";
  box.setAttribute("aria-label", label);
  box.addEventListener("change", () => onChange(box.checked));
  node.append(box);
  return { node, box };
}

function number(n) {
  return n.toLocaleString("en");
}

// Words, as in a dialog

function drawWords(part, data) {
  part.root.replaceChildren(...data.lines.map((line) => element("p", data.problem ? "problem" : "", line)));
  if (data.problem) part.root.setAttribute("role", "alert");
}

// Facts

function makeFacts(part) {
  part.list = element("dl");
  part.root.append(part.list);
}

function drawFacts(part, data) {
  part.list.replaceChildren(
    ...data.facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
  );
}
