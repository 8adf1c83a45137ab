// The form with which a reader draws a scene. Everything works with the keyboard; the picture can also be dragged on.
import { el, select, slider } from "./dom.js";
import { MOST } from "./scene.js";

const DEFAULT = {
  background: "plain",
  objects: [
    { kind: "car", color: "red", size: "large", x: 28, y: 62 },
    { kind: "tree", color: "green", size: "large", x: 72, y: 42 },
  ],
};

export class Composer {
  /** `change` is called when the drawing has changed. */
  constructor(node, painter, change) {
    Object.assign(this, { node, painter, change, brush: null });
    this.drawing = { ...structuredClone(DEFAULT), paint: new Map() };
    this.render();
  }

  get levels() {
    return this.painter.draw(this.drawing);
  }

  /** What is true of the drawing; null where paint may hide it. */
  get objects() {
    return this.drawing.paint.size || !this.drawing.objects.length ? null : this.drawing.objects;
  }

  render() {
    const { kinds, colors, sizes, backgrounds } = this.painter.parts;
    const { objects, background } = this.drawing;
    const set = (object, key) => (value) => {
      object[key] = value;
      this.change();
    };
    const rows = objects.map((object, index) =>
      el(
        "fieldset",
        { className: "object" },
        el("legend", {}, `Object ${index + 1}`),
        select("kind", kinds, object.kind, set(object, "kind")),
        select("colour", Object.keys(colors), object.color, set(object, "color")),
        select("size", sizes, object.size, set(object, "size")),
        slider("from left", { min: 0, max: 100, step: 1, value: object.x, unit: " %" }, set(object, "x")),
        slider("from top", { min: 0, max: 100, step: 1, value: object.y, unit: " %" }, set(object, "y")),
        this.#button("Remove", () => objects.splice(index, 1)),
      ),
    );
    const add = this.#button("Add an object", () =>
      objects.push({ kind: "fish", color: "blue", size: "small", x: 50, y: 18 }),
    );
    add.disabled = objects.length >= MOST;
    const wipe = this.#button("Wipe the paint", () => this.drawing.paint.clear());
    const brush = select(
      "pointer",
      ["moves objects", ...Object.keys(colors).map((color) => `paints ${color}`)],
      this.brush ? `paints ${this.brush}` : "moves objects",
      (value) => (this.brush = value.startsWith("paints ") ? value.slice(7) : null),
    );
    const general = el(
      "fieldset",
      { className: "object" },
      el("legend", {}, "Drawing"),
      select("background", Object.keys(backgrounds), background, set(this.drawing, "background")),
      brush,
      add,
      wipe,
    );
    this.node.replaceChildren(...rows, general);
  }

  #button(text, act) {
    const button = el("button", { type: "button" }, text);
    button.addEventListener("click", () => {
      act();
      this.render();
      this.change();
      [...this.node.querySelectorAll("button")].find((each) => each.textContent === text && !each.disabled)?.focus();
    });
    return button;
  }

  /** Let the pointer drag objects, or paint, on the canvas while `active()` holds. */
  listen(canvas, active) {
    let held = null;
    const spot = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    const act = (event) => {
      const [x, y] = spot(event);
      if (this.brush) this.#dab(x, y);
      else if (held) Object.assign(held, { x: Math.round(100 * x), y: Math.round(100 * y) });
      else return;
      this.change();
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (!active()) return;
      const [x, y] = spot(event);
      held = this.brush ? null : this.#under(x, y);
      if (this.brush || held) canvas.setPointerCapture(event.pointerId);
      act(event);
    });
    canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && act(event));
    canvas.addEventListener("pointerup", () => {
      if (held) this.render(); // the sliders follow
      held = null;
    });
  }

  #under(x, y) {
    const { side } = this.painter.parts;
    return this.drawing.objects.findLast((object) => {
      const { left, top, width, height } = this.painter.box(object);
      return x * side >= left && x * side <= left + width && y * side >= top && y * side <= top + height;
    });
  }

  #dab(x, y) {
    const { side, colors } = this.painter.parts;
    const [column, row] = [Math.floor(x * side), Math.floor(y * side)];
    for (let dy = -2; dy <= 2; dy++)
      for (let dx = -2; dx <= 2; dx++) {
        const [a, b] = [column + dx, row + dy];
        if (a >= 0 && a < side && b >= 0 && b < side && dx * dx + dy * dy <= 5)
          this.drawing.paint.set(b * side + a, colors[this.brush]);
      }
  }
}
