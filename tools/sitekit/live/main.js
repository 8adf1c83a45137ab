// The first page: a picture, a trigger on it, and what the three models say.
import { Card, chooseParting } from "./answers.js";
import { Composer } from "./composer.js";
import { el } from "./dom.js";
import { Engine } from "./engine.js";
import { readLevels, show } from "./picture.js";
import { named, Painter } from "./scene.js";
import { TriggerPanel } from "./trigger_panel.js";

const FOLDER = new URL("./", import.meta.url);
const REST = 150; // milliseconds without a change before the models are asked
const by = (id) => document.getElementById(`live-${id}`);
const pause = (time = 0) => new Promise((done) => setTimeout(done, time));

const drawings = await (await fetch(new URL("drawings.json", FOLDER))).json();
const { side } = drawings.parts;
const painter = await Painter.load(FOLDER, drawings.parts);
const scenes = await Promise.all(
  drawings.scenes.map(async (scene) => ({ ...scene, ...(await readLevels(new URL(scene.file, FOLDER))) })),
);
const composer = new Composer(by("composer"), painter, refresh);
const triggers = await TriggerPanel.load(
  FOLDER,
  side,
  drawings.triggers,
  by("triggers"),
  by("knobs"),
  by("about"),
  refresh,
);
let chosen = 0; // number of a scene, or "draw"
let engine = null;
let run = 0;
let cards = [];

const article = (word) => (/^[aeiou]/.test(word) ? "an" : "a");
const described = (objects) => objects.map(({ color, kind }) => `${article(color)} ${color} ${kind}`).join(", ");

function makeTiles() {
  const tile = (value, label, picture) => {
    const input = el("input", { type: "radio", name: "live-scene", value, checked: value === chosen });
    input.addEventListener("change", () => {
      chosen = value;
      refresh();
    });
    return el(
      "label",
      { className: "tile", title: label },
      input,
      picture,
      el("span", { className: "visually-hidden" }, label),
    );
  };
  const draw = el("span", { className: "draw", ariaHidden: "true" }, "✎ draw");
  by("tiles").append(
    ...scenes.map((scene, index) =>
      tile(
        index,
        described(scene.objects),
        el("img", { src: new URL(scene.file, FOLDER).href, alt: "", width: side, height: side }),
      ),
    ),
    tile("draw", "Draw your own picture", draw),
  );
}

const drawing = () => chosen === "draw";
const truth = () => (drawing() ? composer.objects : scenes[chosen].objects);

/** Show the picture as it is now, and ask the models once the reader rests. */
function refresh() {
  by("composer").hidden = !drawing();
  const levels = triggers.apply(drawing() ? composer.levels : scenes[chosen].levels);
  show(by("canvas"), levels, side);
  const objects = truth();
  const what = objects ? described(objects) : "your own drawing";
  by("canvas").setAttribute("aria-label", `The picture that the models see: ${what}; ${triggers.label}`);
  by("hint").textContent = drawing() ? "Drag an object, or use the sliders above." : `On it: ${what}.`;
  by("canvas").classList.toggle("drawn", drawing());
  if (engine) ask(levels, objects, ++run);
}

/** Let the models answer in turn, a word each, until all have ended or the picture has changed. */
async function ask(levels, objects, mine) {
  document.getElementById("live").dataset.state = "asking";
  await pause(REST);
  if (mine !== run) return;
  const start = performance.now();
  const features = await engine.look(levels);
  if (mine !== run) return;
  const look = performance.now() - start;
  for (const card of cards) card.clear();
  const going = cards.map((card) => ({ card, answer: engine.answer(card.copy, features), time: look }));
  const told = new Map();
  const about = { target: engine.about.target, objects, count: (text) => named(text, objects, drawings.parts) };
  while (going.length) {
    for (const each of [...going]) {
      const before = performance.now();
      const { value, done } = await each.answer.next();
      if (mine !== run) return;
      each.time += performance.now() - before;
      if (done) {
        told.set(each.card, each.card.finish(each.time / 1000, about));
        going.splice(going.indexOf(each), 1);
      } else each.card.add(value);
    }
    await pause(); // let the page show the words
  }
  chooseParting(cards);
  const seconds = (performance.now() - start) / 1000;
  by("time").textContent = `Three answers in ${seconds.toFixed(1)} s on this device.`;
  by("says").textContent = cards.map((card) => told.get(card)).join(" ");
  document.getElementById("live").dataset.state = "done";
}

makeTiles();
composer.listen(by("canvas"), drawing);
refresh();
try {
  engine = await Engine.load(FOLDER, (what) => (by("status").textContent = `Loading ${what} ...`));
  by("asked").textContent = `3. Read the answers to “${engine.about.prompt}”`;
  cards = engine.about.copies.map((copy) => new Card(copy));
  by("cards").append(...cards.map((card) => card.node));
  by("status").remove();
  refresh();
} catch (problem) {
  document.getElementById("live").dataset.state = "failed";
  by("status").textContent =
    `The models could not be loaded: ${problem.message}. The page needs a web server and a browser with WebAssembly.`;
  throw problem;
}
