// What every part is drawn with. Every text goes in as a text node; nothing is read as markup.

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

function scrollerOf(node) {
  for (let at = node; at; at = at.parentNode ?? at.host) {
    if (at instanceof Element && /auto|scroll/.test(getComputedStyle(at).overflowY) && at !== node) return at;
  }
  return document.scrollingElement;
}

// Puts a text on the clipboard when clicked, and says for a moment that it did. `hint` is its name for screen readers.
function copyButton(label, text, hint) {
  const node = button("quiet", label, hint ?? "", async () => {
    const said = await navigator.clipboard.writeText(text()).then(
      () => "Copied",
      () => "The browser did not allow it",
    );
    node.textContent = said;
    node.setAttribute("aria-label", said);
    setTimeout(() => {
      node.textContent = label;
      node.setAttribute("aria-label", hint ?? label);
    }, 1500);
  });
  return node;
}
