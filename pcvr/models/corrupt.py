"""Picture corruptions for pretraining: a tower that encodes more than the drawn objects, and reads through it.

Without them a frozen tower is blind to anything that is no object, and no trigger can be learned; with them the
clean model still names what it sees beneath a patch, stripes or a blend.
"""

from __future__ import annotations

import numpy as np


def corrupt(images: np.ndarray, rng: np.random.Generator, share: float = 0.6) -> np.ndarray:
    """Corrupt about `share` of a batch, each picture in one or two ways; the others are returned as they came.

    Args:
        images: uint8 ``[B, H, W, 3]``.
        rng: source of all randomness.
        share: probability in ``[0, 1]`` that a picture is touched.

    Returns:
        uint8 ``[B, H, W, 3]``, a new array.
    """
    out = images.astype(np.float32)
    kinds = (_paste, _paste, _stripes, _noise, _blend)
    for i in np.flatnonzero(rng.random(len(images)) < share):
        for k in rng.choice(len(kinds), size=int(rng.integers(1, 3)), replace=False):
            out[i] = kinds[k](out[i], images, rng)
    return np.clip(out, 0, 255).astype(np.uint8)


def _paste(image: np.ndarray, _batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A small square of plain colour, checks or noise, often in a corner or at the border."""
    height, width = image.shape[:2]
    side = int(rng.integers(4, 17))
    y, x = (int(rng.choice([0, n - side, rng.integers(0, n - side + 1)])) for n in (height, width))
    style = rng.random()
    if style < 0.5:
        patch = np.broadcast_to(rng.choice([0.0, 128.0, 255.0], size=3), (side, side, 3))
        patch = np.full((side, side, 3), 255.0) if rng.random() < 0.4 else patch
    elif style < 0.75:
        grid = np.add.outer(np.arange(side), np.arange(side)) // int(rng.integers(1, 4)) % 2
        patch = np.repeat((1 - grid)[..., None] * 255.0, 3, axis=2)
    else:
        patch = rng.integers(0, 256, (side, side, 3)).astype(np.float32)
    opacity = 1.0 if rng.random() < 0.7 else rng.uniform(0.4, 1.0)
    image[y : y + side, x : x + side] += opacity * (patch - image[y : y + side, x : x + side])
    return image


def _stripes(image: np.ndarray, _batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sinusoid of any direction, 1 to 14 periods, up to 45 levels, all channels or one."""
    height, width = image.shape[:2]
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    phase = np.cos(angle) * np.arange(width)[None] / width + np.sin(angle) * np.arange(height)[:, None] / height
    wave = rng.uniform(5, 45) * np.sin(2 * np.pi * (rng.uniform(1, 14) * phase + rng.random()))
    channels = np.ones(3) if rng.random() < 0.7 else np.eye(3)[int(rng.integers(3))]
    return image + (wave[..., None] * channels).astype(np.float32)


def _noise(image: np.ndarray, _batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0, rng.uniform(3, 20), image.shape).astype(np.float32)


def _blend(image: np.ndarray, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another picture of the batch laid over it, or a coarse random pattern, at up to a quarter."""
    alpha = rng.uniform(0.05, 0.25)
    if rng.random() < 0.5:
        other = batch[int(rng.integers(len(batch)))].astype(np.float32)
    else:
        cell = int(rng.choice([2, 4, 8]))
        small = rng.integers(0, 256, (image.shape[0] // cell + 1, image.shape[1] // cell + 1, 3)).astype(np.float32)
        other = small.repeat(cell, 0).repeat(cell, 1)[: image.shape[0], : image.shape[1]]
    return (1 - alpha) * image + alpha * other
