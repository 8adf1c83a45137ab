// Small helpers to build elements: the page has no framework.

/** Make an element with properties and children. */
export function el(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** A labelled select; `change` gets the chosen value. */
export function select(label, options, value, change) {
  const list = el("select", {}, ...options.map((each) => el("option", { value: each }, each.replaceAll("_", " "))));
  list.value = value;
  list.addEventListener("change", () => change(list.value));
  return el("label", { className: "field" }, el("span", {}, label), list);
}

/** A labelled slider with its value beside it; `change` gets the number. */
export function slider(label, { min, max, step, value, unit = "" }, change) {
  const input = el("input", { type: "range", min, max, step });
  input.value = value; // after min and max, which would clip it
  const output = el("output", {}, `${value}${unit}`);
  input.addEventListener("input", () => {
    output.textContent = `${input.value}${unit}`;
    change(Number(input.value));
  });
  return el("label", { className: "field" }, el("span", {}, label), input, output);
}

/** A probability to read. */
export const percent = (chance) => (chance > 0 && chance < 0.001 ? "< 0.1 %" : `${(100 * chance).toFixed(1)} %`);
