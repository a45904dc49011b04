// "/" goes to the question box on every page that has one, and so does arriving. On a phone, the list of pages, which lies
// over the page there, goes when one is chosen. It draws nothing in its own place.

const tops = new WeakSet();

export default function ({ parentElement }) {
  if (tops.has(parentElement)) return;
  tops.add(parentElement);
  document.addEventListener("keydown", onSlash);
  document.addEventListener("click", onPage);
  toBox(40);
  return () => {
    document.removeEventListener("keydown", onSlash);
    document.removeEventListener("click", onPage);
    tops.delete(parentElement);
  };
}

function onPage(event) {
  if (!event.target.closest?.('[data-testid="stSidebarNavLink"]')) return;
  setTimeout(() => document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click());
}

function questionBox() {
  return document.querySelector('[data-testid="stChatInputTextArea"]');
}

// On arrival. The box is drawn beside us, perhaps a moment later; whoever has the focus by then keeps it. On a phone the
// keyboard would cover what is to be read.
function toBox(tries) {
  if (matchMedia("(pointer: coarse)").matches) return;
  if (document.activeElement && document.activeElement !== document.body) return;
  const box = questionBox();
  if (box && !box.disabled) box.focus();
  else if (tries) setTimeout(toBox, 50, tries - 1);
}

function onSlash(event) {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  const inField = /^(INPUT|TEXTAREA|SELECT)$/.test(at?.tagName ?? "") || at?.isContentEditable;
  if (event.key !== "/" || inField || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const box = questionBox();
  if (!box) return;
  event.preventDefault();
  box.focus();
}
