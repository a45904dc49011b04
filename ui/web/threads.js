// The threads that were kept: one box to search them, and what can be done with each. Titles go in as text nodes.

const lists = new WeakMap();
const PAUSE_MS = 200; // after the last key, before it is searched

export default function ({ data, parentElement, setTriggerValue }) {
  let list = lists.get(parentElement);
  if (!list) {
    list = makeList(parentElement, data);
    lists.set(parentElement, list);
  }
  list.send = (what, values) => setTriggerValue("do", { what, ...values, at: Date.now() });
  const drawn = JSON.stringify(data);
  if (drawn !== list.drawn) {
    list.drawn = drawn;
    drawRows(list, data);
  }
  return () => {
    clearTimeout(list.timer);
    lists.delete(parentElement);
    list.root.remove();
  };
}

function makeList(parentElement, data) {
  const list = { root: element("div", "root threads"), timer: 0, drawn: null };
  const box = (list.box = element("input", "search"));
  Object.assign(box, { type: "search", placeholder: "Search titles and questions", value: data.search });
  box.setAttribute("aria-label", "Search threads");
  box.addEventListener("input", () => {
    clearTimeout(list.timer);
    list.timer = setTimeout(() => list.send("search", { text: box.value }), PAUSE_MS);
  });
  list.fresh = button("fresh", "New question", "", () => list.send("fresh"));
  list.note = element("p", "note");
  list.note.setAttribute("role", "status");
  list.fault = element("p", "fault");
  list.fault.setAttribute("role", "alert");
  list.rows = element("ul");
  list.rows.setAttribute("aria-label", "Threads");
  list.more = button("quiet", "Show more", "", () => list.send("more"));
  list.root.append(list.fresh, box, list.fault, list.note, list.rows, list.more);
  parentElement.append(list.root);
  return list;
}

function drawRows(list, data) {
  list.fault.textContent = data.fault;
  const nothing = data.search ? "No thread holds these words." : "Nothing was asked yet. Every question and its answer will be here.";
  list.note.textContent = data.threads.length ? "" : nothing;
  list.note.hidden = Boolean(data.threads.length);
  list.more.hidden = !data.more;
  const focused = list.rows.contains(document.activeElement) ? document.activeElement.closest(".row") : null;
  list.rows.replaceChildren(...data.threads.map((thread) => row(list, thread, data)));
  if (!focused) return;
  const again = [...list.rows.children].find((item) => item.dataset.id === focused.dataset.id); // renamed, or gone
  (again?.querySelector("button") ?? list.box).focus();
}

function row(list, thread, data) {
  const item = element("li", "row");
  item.dataset.id = thread.id;
  const open = thread.gone ? element("div", "open") : button("open", "", "", () => list.send("open", { id: thread.id }));
  const index = thread.gone ? `${thread.index}, which is not here any more` : data.indexes ? thread.index : null;
  const about = [index, thread.questions, thread.when].filter(Boolean).join(" · ");
  open.append(element("span", "title", thread.title), element("span", "about", about));
  if (thread.id === data.open) open.setAttribute("aria-current", "true");
  const tools = element("div", "tools");
  const rename = button("quiet", "Rename", `Rename ${thread.title}`, () => renaming(list, item, thread, open, tools));
  const remove = button("quiet", "Remove", `Remove ${thread.title}`, () => removing(list, item, thread, open, tools));
  if (thread.gone) tools.append(button("quiet", "Export", `Export ${thread.title}`, () => list.send("export", { id: thread.id })));
  tools.append(rename, remove);
  item.append(open, tools);
  return item;
}

function renaming(list, item, thread, open, tools) {
  const box = element("input", "name");
  Object.assign(box, { value: thread.title, maxLength: 120 });
  box.setAttribute("aria-label", "New name; empty takes the first question");
  const back = () => {
    item.replaceChildren(open, tools);
    tools.firstChild.focus();
  };
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") list.send("rename", { id: thread.id, text: box.value });
    if (event.key === "Escape") back();
    if (event.key === "Enter" || event.key === "Escape") event.stopPropagation(); // Escape would close the drawer
  });
  const save = button("quiet", "Save", "", () => list.send("rename", { id: thread.id, text: box.value }));
  const keep = button("quiet", "Cancel", "", back);
  const row = element("div", "tools shown");
  row.append(save, keep);
  item.replaceChildren(box, row);
  box.select();
  box.focus();
}

function removing(list, item, thread, open, tools) {
  const question = element("p", "sure", `Remove “${thread.title}”? It is gone for good; the documents stay.`);
  const yes = button("quiet danger", "Remove", "", () => list.send("remove", { id: thread.id }));
  const no = button("quiet", "Keep", "", () => {
    item.replaceChildren(open, tools);
    tools.lastChild.focus();
  });
  const row = element("div", "tools shown");
  row.append(yes, no);
  item.replaceChildren(question, row);
  no.focus();
}
