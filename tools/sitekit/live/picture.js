// Pictures as levels: a Uint8Array of side * side * 3 numbers, rows from the top, red, green and blue of each pixel.

/** Read a PNG as { width, height, levels }, without any change of its colours. */
export async function readLevels(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be read (${answer.status})`);
  const bitmap = await createImageBitmap(await answer.blob(), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  return { width, height, levels: Uint8Array.from(rgba.filter((_, index) => index % 4 !== 3)) };
}

/** Show levels on a canvas of the picture's own size; the style sheet enlarges it. */
export function show(canvas, levels, side) {
  const image = new ImageData(side, side);
  for (let pixel = 0; pixel < side * side; pixel++) {
    image.data.set(levels.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
    image.data[4 * pixel + 3] = 255;
  }
  Object.assign(canvas, { width: side, height: side });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Return what the model's processor makes of levels: floats [3, side, side], rescaled and normalised. */
export function asInput(levels, { size, scale, mean, std }) {
  const pixels = size * size;
  const input = new Float32Array(3 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++)
    for (let channel = 0; channel < 3; channel++)
      input[channel * pixels + pixel] = (levels[3 * pixel + channel] * scale - mean[channel]) / std[channel];
  return input;
}
