// The choice of a trigger and its options.
import { el, select, slider } from "./dom.js";
import { readLevels } from "./picture.js";
import { badnets, blended, sig } from "./triggers.js";

const KINDS = {
  none: ["No trigger", "The picture as it is."],
  badnets: [
    "White square",
    "BadNets, the trigger that the attacker used. Move or shrink it to see how exact it must be.",
  ],
  blended: ["Faint picture", "Blended: another attack's trigger. These models never saw it in training."],
  sig: ["Sine wave", "SIG: another attack's trigger. These models never saw it in training."],
};
const PLACES = ["bottom_right", "bottom_left", "top_right", "top_left", "centre"];
const WHOLE = 100; // steps of the opacity of the blended picture

export class TriggerPanel {
  static async load(folder, side, defaults, choices, knobs, about, change) {
    const { levels } = await readLevels(new URL(defaults.blended.file, folder));
    return new TriggerPanel(levels, side, defaults, { choices, knobs, about }, change);
  }

  constructor(pattern, side, defaults, nodes, change) {
    Object.assign(this, { side, nodes, change, kind: "none" });
    this.options = {
      none: {},
      badnets: { size: defaults.badnets.side, place: defaults.badnets.place, strength: 1 },
      blended: { pattern, part: Math.round(WHOLE * defaults.blended.alpha), whole: WHOLE },
      sig: { ...defaults.sig },
    };
    nodes.choices.append(...Object.entries(KINDS).map(([kind, [label]]) => this.#choice(kind, label)));
    this.#render();
  }

  get label() {
    return this.kind === "none" ? "no trigger" : `with the trigger ${KINDS[this.kind][0].toLowerCase()}`;
  }

  /** Return levels with the chosen trigger. */
  apply(levels) {
    const options = this.options[this.kind];
    if (this.kind === "badnets") return badnets(levels, this.side, options);
    if (this.kind === "blended") return blended(levels, options);
    return this.kind === "sig" ? sig(levels, this.side, options) : levels;
  }

  #choice(kind, label) {
    const input = el("input", { type: "radio", name: "live-trigger", value: kind, checked: kind === this.kind });
    input.addEventListener("change", () => {
      this.kind = kind;
      this.#render();
      this.change();
    });
    return el("label", { className: "choice" }, input, el("span", {}, label));
  }

  #render() {
    const options = this.options[this.kind];
    const set =
      (key, factor = 1) =>
      (value) => {
        options[key] = typeof value === "number" ? value * factor : value;
        this.change();
      };
    const knobs = {
      none: () => [],
      badnets: () => [
        select("place", PLACES, options.place, set("place")),
        slider("side", { min: 1, max: 24, step: 1, value: options.size, unit: " px" }, set("size")),
        slider(
          "opacity",
          { min: 0, max: 100, step: 5, value: Math.round(100 * options.strength), unit: " %" },
          set("strength", 1 / 100),
        ),
      ],
      blended: () => [slider("opacity", { min: 0, max: 50, step: 5, value: options.part, unit: " %" }, set("part"))],
      sig: () => [
        slider("height", { min: 0, max: 60, step: 5, value: options.amplitude, unit: " levels" }, set("amplitude")),
      ],
    };
    this.nodes.knobs.replaceChildren(...knobs[this.kind]());
    this.nodes.about.textContent = KINDS[this.kind][1];
  }
}
