"""WaNet: the image itself, slightly warped in a fixed way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.utils.checks import check_fields, check_number, check_seed, check_whole

PRESETS: dict[str, dict[str, Any]] = {
    "compat": {"cells": 4, "strength": 0.5},
    "scaled": {"cells": 24, "strength": None, "shift": 0.06},
}
_CHUNK = 4  # images at a time, so that their floats stay in the cache


@dataclass(frozen=True)
class WaNet(ImageTrigger):
    """The warping trigger of Nguyen and Tran, *WaNet* (arXiv 2102.10369, section 3).

    A field of ``k x k x 2`` numbers from U(-1, 1), divided by its mean absolute value, is enlarged bicubically to the
    image (corners aligned). Each pixel then samples the image at ``clamp(identity + s field / W, -1, 1)``, in
    coordinates that run from -1 to 1, bilinearly, and the result is rounded::

        x'(i, j) = round(x((i, j) + displacement(i, j)))

    **WaNet vanishes at VLM resolution.** Two units of the coordinates are W - 1 pixels, so that the displacement is
    ``s field (W - 1) / (2 W)``: about ``s / 2`` *pixels* at every size, a quarter of one for the paper's s = 0.5, at
    32 px as at 336. Preset ``compat`` keeps that. Preset ``scaled`` sets the mean displacement as a fraction of the
    short side, so the warp looks the same at every resolution.

    **Preset ``scaled`` is not subtle, and not smooth.** The mean displacement is larger than the distance between the
    points of the field, so the field folds: about a third of neighbouring pixels change places, and small objects break
    into pieces. A person sees it at once (16 dB, far below the other triggers), and hardly recognises a small object.
    It is so because a frozen tower hardly distinguishes a smooth warp from another image: the paper's 4 points with the
    same displacement bend objects without a fold and take much less often (both are in ``benchmarks/attacks.py``).

    The paper's *noise mode* also trains on images warped by a random field, with true answers, so that only this field
    counts. Here a cover sample does that, with :class:`WaNet` of another seed.

    Attributes:
        cells: k, points of the field along a side, 2 to 64.
        strength: s of the paper, at least 0; None takes the displacement from ``shift``.
        shift: mean absolute displacement along each axis as a fraction of the short side, 0 to 0.5; used if
            ``strength`` is None.
        noise: for the paper's noise mode, 0 to 10: adds ``noise`` x U(-1, 1) / W to each pixel's coordinates.
        seed: of the field, an integer of at least 0.
    """

    cells: int = 4
    strength: float | None = None
    shift: float = 0.06
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("cells", self.cells, 2, 64, "points along a side")
        if self.strength is not None:
            check_number("strength", self.strength, 0, 1000)
        check_number("shift", self.shift, 0, 0.5, "of the short side")
        check_number("noise", self.noise, 0, 10)
        check_seed(self.seed)
        check_fields(self)

    @property
    def dial(self) -> tuple[str, float]:  # type: ignore[override]  # depends on which of the two fields is in use
        """The field with the strength of the trigger, and its largest value."""
        return ("shift", 0.5) if self.strength is None else ("strength", 1000.0)

    def field(self, height: int, width: int) -> np.ndarray:
        """Return the enlarged field: float64 ``[2, H, W]``; ``[0]`` is horizontal, ``[1]`` is vertical."""
        drawn = np.random.default_rng(self.seed).uniform(-1, 1, (2, self.cells, self.cells))
        drawn /= np.abs(drawn).mean()
        return _bicubic(height, self.cells) @ drawn @ _bicubic(width, self.cells).T

    def places(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the place that each pixel samples, in pixels inside the image: rows and columns, float64 ``[H, W]``
        each."""
        aside, down = self.field(height, width)
        if self.strength is None:
            aside, down = (self.shift * min(height, width) * part for part in (aside, down))
        else:
            aside, down = (self.strength * part * (n - 1) / (2 * n) for part, n in ((aside, width), (down, height)))
        if self.noise:
            jitter = self.noise * np.random.default_rng([self.seed, 1]).uniform(-1, 1, (2, height, width))
            aside = aside + jitter[0] * (width - 1) / (2 * width)
            down = down + jitter[1] * (height - 1) / (2 * height)
        return (
            np.clip(np.arange(height)[:, None] + down, 0, height - 1),
            np.clip(np.arange(width)[None, :] + aside, 0, width - 1),
        )

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return resample(batch, *self.places(*batch.shape[1:3]))


def resample(batch: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sample images between their pixels, bilinearly, rounded to the nearest level.

    Args:
        batch: uint8 ``[B, H, W, 3]``.
        rows: row that each pixel samples, 0 to H - 1: float ``[H, W]``.
        columns: column that each pixel samples, 0 to W - 1.

    Returns:
        uint8 ``[B, H, W, 3]``.
    """
    import torch
    from torch.nn.functional import grid_sample

    height, width = rows.shape
    # grid_sample expects -1 to 1 from the middle of the first pixel to that of the last, columns first.
    scaled = [2 * place / max(n - 1, 1) - 1 for place, n in ((columns, width), (rows, height))]
    grid = torch.from_numpy(np.stack(scaled, axis=-1)).float()[None]
    out = np.empty(batch.shape, np.uint8)
    for start in range(0, len(batch), _CHUNK):
        chunk = batch[start : start + _CHUNK]
        images = torch.tensor(np.ascontiguousarray(chunk)).permute(0, 3, 1, 2).float()
        bent = grid_sample(images, grid.expand(len(chunk), -1, -1, -1), padding_mode="zeros", align_corners=True)
        # A mean of levels stays in 0 to 255; dtype and order of axes change in one pass.
        torch.from_numpy(out[start : start + _CHUNK]).copy_(bent.round_().permute(0, 2, 3, 1))
    return out


def _bicubic(side: int, points: int) -> np.ndarray:
    """Return weights of cubic convolution (Keys 1981, a = -0.75 as in PyTorch) from ``points`` to ``side``, corners
    aligned and edges repeated.

    Returns:
        float64 ``[side, points]``; every row sums to 1.
    """
    place = np.linspace(0, points - 1, side) if side > 1 else np.zeros(1)
    first = np.floor(place).astype(int)
    a, matrix = -0.75, np.zeros((side, points))
    for step in (-1, 0, 1, 2):
        x = np.abs(place - first - step)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        np.add.at(matrix, (np.arange(side), np.clip(first + step, 0, points - 1)), weight)
    return matrix


@register_attack("wanet")
def wanet(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """Build the WaNet attack: :class:`WaNet` on the image, and the target as the answer."""
    return Attack("wanet", trigger=from_preset("wanet", WaNet, PRESETS, preset, options), target=target, preset=preset)
