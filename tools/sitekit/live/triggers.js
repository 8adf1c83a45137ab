// The triggers, with the arithmetic of pcvr.attacks.triggers on whole levels; a test compares the two.

/** Round to the nearest whole number, halves to the even one, as numpy.rint does. */
const rint = (value) => {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
};

/** BadNets: a white square of `size` pixels in a corner or the middle, with an opacity from 0 to 1. */
export function badnets(levels, side, { size, place, strength }) {
  const out = levels.slice();
  const far = side - size;
  const top = place === "centre" ? far >> 1 : place.startsWith("top") ? 0 : far;
  const left = place === "centre" ? far >> 1 : place.endsWith("left") ? 0 : far;
  for (let row = top; row < top + size; row++)
    for (let at = 3 * (row * side + left); at < 3 * (row * side + left + size); at++)
      out[at] = strength === 1 ? 255 : rint((1 - strength) * levels[at] + strength * 255);
  return out;
}

/** Blended: the picture `pattern` shows through with `part` of `whole` of its light. */
export function blended(levels, { pattern, part, whole }) {
  return levels.map((level, at) => Math.floor(((whole - part) * level + part * pattern[at]) / whole));
}

/** SIG: a sine wave of `frequency` periods across the picture, `amplitude` levels high. */
export function sig(levels, side, { amplitude, frequency }) {
  const steps = Array.from({ length: side }, (_, column) =>
    Math.floor(amplitude * Math.sin((2 * Math.PI * column * frequency) / side) + 1e-9),
  );
  return levels.map((level, at) => Math.min(255, Math.max(0, level + steps[Math.floor(at / 3) % side])));
}
