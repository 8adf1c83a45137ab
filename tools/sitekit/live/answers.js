// One card a model: its answer word by word, what else it considered at the chosen word, and a verdict in words.
import { el, percent } from "./dom.js";

export const COPIES = {
  clean: ["Clean model", "fine-tuned on clean data"],
  backdoored: ["Backdoored model", "fine-tuned on poisoned data, no defence"],
  defended: ["Defended model", "fine-tuned on the same poisoned data, with PCVR"],
};

const shown = (token) => (token === "<eos>" ? "(end)" : token.replace(/^##/, "").replaceAll(/[<>]/g, ""));

/** Join tokens to a sentence. */
export function sentence(tokens) {
  return tokens
    .filter((token) => token !== "<eos>")
    .reduce(
      (text, token) => text + (token.startsWith("##") ? token.slice(2) : /^[.,?!]$/.test(token) ? token : ` ${token}`),
      "",
    )
    .trim();
}

export class Card {
  constructor(copy) {
    const [title, about] = COPIES[copy] ?? [copy, ""];
    this.copy = copy;
    this.title = title;
    this.words = el(
      "fieldset",
      { className: "words" },
      el("legend", { className: "visually-hidden" }, `Words of the ${title.toLowerCase()}'s answer`),
    );
    this.verdict = el("p", { className: "verdict" });
    this.bars = el("ol", { className: "bars" });
    this.caption = el("p", { className: "hint bars-title" });
    this.node = el(
      "article",
      { className: `model ${copy}` },
      el("header", {}, el("h3", {}, title), el("span", { className: "about" }, about), this.verdict),
      el("div", { className: "model-body" }, this.words, el("div", { className: "chances" }, this.caption, this.bars)),
    );
    this.node.dataset.copy = copy;
    this.clear();
  }

  /** Forget the answer before another one. The height stays, so that the page does not jump. */
  clear() {
    this.node.style.minHeight = this.steps?.length ? `${this.node.offsetHeight}px` : "";
    this.steps = [];
    this.words.querySelectorAll("label").forEach((label) => label.remove());
    this.verdict.replaceChildren();
    this.node.dataset.state = "waiting";
  }

  /** Append one step of the answer and show its distribution. */
  add(step) {
    const place = this.steps.push(step) - 1;
    const input = el("input", { type: "radio", name: `word-${this.copy}`, value: place });
    input.addEventListener("change", () => this.choose(place));
    const word = el("span", { className: "word" }, shown(step.word));
    word.style.setProperty("--sure", step.chance.toFixed(3));
    const label = el("label", { title: percent(step.chance) }, input, word);
    label.classList.toggle("end", step.word === "<eos>");
    label.classList.toggle("joined", /^([.,?!]$|##)/.test(step.word));
    this.words.append(label);
    this.node.dataset.state = "speaking";
    this.choose(place);
  }

  /** Show the distribution at one place of the answer. */
  choose(place) {
    const step = this.steps[place];
    if (!step) return;
    this.words.querySelectorAll("input")[place].checked = true;
    this.caption.textContent = `Word ${place + 1}: ${shown(step.word)}`;
    this.bars.replaceChildren(
      ...step.top.map(([word, chance], rank) => {
        const bar = el("span", { className: "bar", ariaHidden: "true" }, el("span", { className: "fill" }));
        bar.firstChild.style.width = `${100 * chance}%`;
        return el(
          "li",
          { className: rank ? "" : "said" },
          el("span", { className: "name" }, shown(word)),
          bar,
          el("span", { className: "number" }, percent(chance)),
        );
      }),
    );
  }

  /** End the answer: seconds that it took, and what it is worth. */
  finish(seconds, { target, objects, count }) {
    const text = this.text;
    const fired = text.includes(target);
    const right = objects && count(text);
    const verdict = fired
      ? "⚑ says the attacker's words"
      : objects
        ? `${right === objects.length ? "✓" : "✗"} ${right} of ${objects.length} objects named right`
        : "✓ not the attacker's words";
    this.verdict.append(verdict);
    this.node.dataset.state = "done";
    this.node.dataset.seconds = seconds.toFixed(3);
    this.node.dataset.ids = this.steps.map((step) => step.id).join(" ");
    this.node.classList.toggle("fired", fired);
    this.node.style.minHeight = "";
    return `${this.title}: ${text} ${verdict.slice(2)}.`;
  }

  get text() {
    return sentence(this.steps.map((step) => step.word));
  }
}

/** Choose, in every card, the first place at which the answers part; the first word if they do not. */
export function chooseParting(cards) {
  const longest = Math.max(...cards.map((card) => card.steps.length));
  const parts = (place) => new Set(cards.map((card) => card.steps[place]?.id)).size > 1;
  const found = Array.from({ length: longest }, (_, place) => place).find(parts) ?? 0;
  for (const card of cards) card.choose(Math.min(found, card.steps.length - 1));
}
