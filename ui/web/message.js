// One calm text in the place of what was asked for.

const messages = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let root = messages.get(parentElement);
  if (!root) {
    root = element("div", "root");
    parentElement.append(root);
    messages.set(parentElement, root);
  }
  root.replaceChildren(element("h1", "", data.title), ...data.text.split("\n").map((line) => element("p", "", line)));
  if (data.library) root.append(button("quiet", "Open Library", "", () => setTriggerValue("library", Date.now())));
  return () => {
    messages.delete(parentElement);
    root.remove();
  };
}
