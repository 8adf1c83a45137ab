// The models: one tower for all, one language model for each copy, run by ONNX Runtime Web without a network.
import * as ort from "./vendor/onnxruntime-web/ort.wasm.bundle.min.mjs";
import { asInput } from "./picture.js";

const KEPT = 5; // words of a distribution that are shown
const QUIET = { logSeverityLevel: 3 }; // errors only

async function bytes(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be read (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

export class Engine {
  /** Load everything below `folder` (an URL that ends with a slash); `note` is told what is loaded. */
  static async load(folder, note) {
    // One thread: more would need headers that a plain static server does not send.
    Object.assign(ort.env.wasm, {
      numThreads: 1,
      wasmPaths: { wasm: new URL("vendor/onnxruntime-web/ort-wasm-simd-threaded.wasm", folder).href },
    });
    ort.env.logLevel = "error";
    const about = await (await fetch(new URL("model.json", folder))).json();
    note("the model");
    const names = ["tower.onnx", "language.onnx", about.shared, ...about.copies.map((copy) => `${copy}.bin`)];
    const [tower, language, shared, ...own] = await Promise.all(names.map((name) => bytes(new URL(name, folder))));
    note("the runtime");
    const engine = new Engine(about, await ort.InferenceSession.create(tower, QUIET));
    for (const [index, copy] of about.copies.entries()) {
      const externalData = [
        { path: about.shared, data: shared },
        { path: about.own, data: own[index] },
      ];
      engine.copies.set(copy, await ort.InferenceSession.create(language, { ...QUIET, externalData }));
    }
    return engine;
  }

  constructor(about, tower) {
    this.about = about;
    this.tower = tower;
    this.copies = new Map();
  }

  /** Return the tower's features of a picture, which all copies share. */
  async look(levels) {
    const { size } = this.about;
    const pixels = new ort.Tensor("float32", asInput(levels, this.about), [1, 3, size, size]);
    return (await this.tower.run({ pixels })).features;
  }

  /** Yield the answer of a copy greedily: { id, word, chance, top: [[word, chance], ...] } a token, the end last. */
  async *answer(copy, features) {
    const { prompt_ids: prompt, end, most, words } = this.about;
    const ids = [...prompt];
    for (let step = 0; step < most; step++) {
      const feed = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
      const { chances } = await this.copies.get(copy).run({ features, ids: feed });
      const order = [...chances.data.keys()].sort((a, b) => chances.data[b] - chances.data[a]).slice(0, KEPT);
      const id = order[0];
      yield {
        id,
        word: words[id],
        chance: chances.data[id],
        top: order.map((each) => [words[each], chances.data[each]]),
      };
      if (id === end) return;
      ids.push(id);
    }
  }
}
