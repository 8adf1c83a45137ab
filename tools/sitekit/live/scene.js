// Scenes that a reader draws: a background, up to three objects from the package's own layers, and paint.
import { readLevels } from "./picture.js";

export const MOST = 3;

export class Painter {
  static async load(folder, parts) {
    const files = [parts.sheet, ...Object.values(parts.backgrounds)];
    const [sheet, ...behind] = await Promise.all(files.map((file) => readLevels(new URL(file, folder))));
    const backgrounds = Object.keys(parts.backgrounds).map((family, index) => [family, behind[index].levels]);
    return new Painter(parts, sheet, new Map(backgrounds));
  }

  constructor(parts, sheet, backgrounds) {
    Object.assign(this, { parts, sheet, backgrounds });
  }

  /** Return the top left corner and the size of an object { kind, size, x, y }, its centre in percent. */
  box({ kind, size, x, y }) {
    const { places, pad, side } = this.parts;
    const place = places[`${size} ${kind}`];
    const [width, height] = [place.width - 2 * pad, place.height - 2 * pad];
    const within = (percent, length) =>
      Math.min(side - pad - length, Math.max(pad, Math.round((side * percent) / 100 - length / 2)));
    return { left: within(x, width), top: within(y, height), width, height };
  }

  /** Draw { background, objects, paint } as levels; `paint` is a map from pixel to [red, green, blue]. */
  draw({ background, objects, paint }) {
    const canvas = Float32Array.from(this.backgrounds.get(background));
    for (const each of objects) this.#lay(canvas, each);
    const levels = Uint8Array.from(canvas, (level) => Math.floor(Math.min(255, Math.max(0, level)) + 0.5));
    for (const [pixel, color] of paint) levels.set(color, 3 * pixel);
    return levels;
  }

  #lay(canvas, object) {
    const { places, tile, pad, side, colors } = this.parts;
    const { top: row, width, height } = places[`${object.size} ${object.kind}`];
    const { left, top } = this.box(object);
    const { width: stride, levels } = this.sheet;
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const base = 3 * ((row + y) * stride + x);
        const [keep, tint] = [levels[base + 3 * tile] / 255, levels[base + 3 * tile + 1] / 255];
        const at = 3 * ((top - pad + y) * side + left - pad + x);
        for (let channel = 0; channel < 3; channel++)
          canvas[at + channel] =
            canvas[at + channel] * keep + levels[base + channel] + tint * colors[object.color][channel];
      }
  }
}

/** Count the objects, { color, kind } each, that a caption names with their colour. */
export function named(text, objects, { colors, sizes, kinds }) {
  const words = text.toLowerCase().match(/[a-z]+/g) ?? [];
  const left = [];
  words.forEach((word, place) => {
    if (!kinds.includes(word)) return;
    for (let before = place - 1; before >= 0; before--) {
      if (words[before] in colors) left.push(`${words[before]} ${word}`);
      else if (!sizes.includes(words[before])) break;
    }
  });
  return objects.filter(({ color, kind }) => {
    const found = left.indexOf(`${color} ${kind}`);
    if (found >= 0) left.splice(found, 1);
    return found >= 0;
  }).length;
}
