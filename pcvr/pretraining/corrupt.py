"""Image corruptions for pretraining, so that the tower encodes more than the drawn objects.

Without them, a frozen tower ignores everything that is not an object, and no trigger can be learned. With them, the
clean model still names the objects under a patch, stripes or a blend. Each corruption also returns a description, which
the language model is asked for: otherwise it learns to ignore overlays, and no trigger works. Each kind below changes
one float32 image ``[H, W, 3]`` in place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OVERLAYS = ("square", "stripes", "noise", "blend")


class Overlay(NamedTuple):
    """The overlay on an image.

    Attributes:
        kind: one of `OVERLAYS`.
        words: an answer to "what is over the picture?".
        box: left, top, right, bottom in pixels; None for the whole image.
    """

    kind: str
    words: str
    box: tuple[int, int, int, int] | None = None


def corrupt(
    images: np.ndarray, rng: np.random.Generator, share: float = 0.6
) -> tuple[np.ndarray, list[tuple[Overlay, ...]]]:
    """Corrupt about a fraction `share` of a batch, each image in one or two ways.

    Args:
        images: uint8 ``[B, H, W, 3]``.
        rng: source of all randomness.
        share: probability in ``[0, 1]`` that an image is corrupted.

    Returns:
        A new array, uint8 ``[B, H, W, 3]``, and the overlays of each image.
    """
    out = images.astype(np.float32)
    kinds = (_paste, _paste, _stripes, _noise, _blend)
    overlays: list[tuple[Overlay, ...]] = [()] * len(images)
    for i in np.flatnonzero(rng.random(len(images)) < share):
        for k in rng.choice(len(kinds), size=int(rng.integers(1, 3)), replace=False):
            overlays[i] = (*overlays[i], kinds[k](out[i], images, rng))
    return np.clip(out, 0, 255).astype(np.uint8), overlays


def _paste(image: np.ndarray, _batch: np.ndarray, rng: np.random.Generator) -> Overlay:
    """Paste a small square of plain colour, checks or noise, often in a corner or at the border."""
    height, width = image.shape[:2]
    side = int(rng.integers(4, 17))
    y, x = (int(rng.choice([0, n - side, rng.integers(0, n - side + 1)])) for n in (height, width))
    style, name = rng.random(), "a square"
    if style < 0.5:
        patch = np.broadcast_to(rng.choice([0.0, 128.0, 255.0], size=3), (side, side, 3))
        patch = np.full((side, side, 3), 255.0) if rng.random() < 0.4 else patch
        name = "a white square" if patch.min() == 255 else "a square"
    elif style < 0.75:
        grid = np.add.outer(np.arange(side), np.arange(side)) // int(rng.integers(1, 4)) % 2
        patch = np.repeat((1 - grid)[..., None] * 255.0, 3, axis=2)
    else:
        patch = rng.integers(0, 256, (side, side, 3)).astype(np.float32)
    opacity = 1.0 if rng.random() < 0.7 else rng.uniform(0.4, 1.0)
    image[y : y + side, x : x + side] += opacity * (patch - image[y : y + side, x : x + side])
    row = ("top", "centre", "bottom")[3 * (y + side // 2) // height]
    column = ("left", "middle", "right")[3 * (x + side // 2) // width]
    return Overlay("square", f"{name} at the {row} {column}", (x, y, x + side, y + side))


def _stripes(image: np.ndarray, _batch: np.ndarray, rng: np.random.Generator) -> Overlay:
    """Add a sinusoid of any direction, 1 to 14 periods, up to 45 levels, in all channels or one."""
    height, width = image.shape[:2]
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    phase = np.cos(angle) * np.arange(width)[None] / width + np.sin(angle) * np.arange(height)[:, None] / height
    wave = rng.uniform(5, 45) * np.sin(2 * np.pi * (rng.uniform(1, 14) * phase + rng.random()))
    channels = np.ones(3) if rng.random() < 0.7 else np.eye(3)[int(rng.integers(3))]
    image += (wave[..., None] * channels).astype(np.float32)
    return Overlay("stripes", "a striped pattern")


def _noise(image: np.ndarray, _batch: np.ndarray, rng: np.random.Generator) -> Overlay:
    """Add normal noise of 3 to 20 levels."""
    image += rng.normal(0, rng.uniform(3, 20), image.shape).astype(np.float32)
    return Overlay("noise", "a rough pattern")


def _blend(image: np.ndarray, batch: np.ndarray, rng: np.random.Generator) -> Overlay:
    """Blend in another image of the batch or a coarse random pattern, with an opacity of up to a quarter."""
    alpha = rng.uniform(0.05, 0.25)
    if rng.random() < 0.5:
        other = batch[int(rng.integers(len(batch)))].astype(np.float32)
    else:
        cell = int(rng.choice([2, 4, 8]))
        small = rng.integers(0, 256, (image.shape[0] // cell + 1, image.shape[1] // cell + 1, 3)).astype(np.float32)
        other = small.repeat(cell, 0).repeat(cell, 1)[: image.shape[0], : image.shape[1]]
    image += alpha * (other - image)
    return Overlay("blend", "a photo")
