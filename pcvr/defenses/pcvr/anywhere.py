"""A trigger that may lie anywhere: what a witness looks at is the most unusual places of an image (ours).

A regression on all places of an image learns what a trigger does to its own place. If every poisoned image has the
trigger elsewhere, hardly two of them agree in any place. So the places of an image are set against what is usual there:
the mean over ordinary images is subtracted, and channels are scaled and turned so that they vary alike and
independently (whitening). The longer a place's vector then is, the more unusual it is; the mean of an image's places,
weighted by that, says what is unusual in it, but not where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pcvr.defenses.pcvr.inputs import PLACES
from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.pools import hear_rows
from pcvr.defenses.pcvr.witness import Witness

SOFT = 20.0
"""A place whose squared length is so much above another one's has e times its weight."""
SMALLEST = 1e-4
"""Least variance of a direction that is scaled up to the others, relative to the largest one."""


@dataclass
class Places:
    """What is usual in each place of an image.

    Attributes:
        live: bool ``[P]``, the places that images have at all; the others are filled up.
        mean: ``[live P, C]``.
        turn: ``[C, C]``, whitens the channels.
    """

    live: np.ndarray
    mean: np.ndarray
    turn: np.ndarray

    @staticmethod
    def of_usual(images: np.ndarray) -> Places | None:
        """Return what is usual in some images, ``[N, P C]``; None if they have no places or do not vary."""
        if images.shape[1] % PLACES or len(images) < 2:
            return None
        tokens = images.reshape(len(images), PLACES, -1).astype(np.float32)
        live = tokens.std(0).max(-1) > 0
        if not live.any():
            return None
        tokens = tokens[:, live]
        mean = tokens.mean(0)
        flat = (tokens - mean).reshape(-1, tokens.shape[-1])
        variance, directions = np.linalg.eigh(flat.T.astype(np.float64) @ flat / len(flat))
        turn = directions / np.sqrt(np.maximum(variance, SMALLEST * variance.max()))
        return Places(live, mean, turn.astype(np.float32))

    @property
    def width(self) -> int:
        """Columns of an image's row: all places with all channels."""
        return PLACES * len(self.turn)

    def unusual(self, images: np.ndarray) -> np.ndarray:
        """Return what is unusual in each image: ``[N, P C]`` -> ``[N, C]``."""
        tokens = images.reshape(len(images), PLACES, -1)[:, self.live].astype(np.float32)
        tokens = (tokens - self.mean) @ self.turn
        length = (tokens**2).sum(-1, keepdims=True)
        weight = np.exp((length - length.max(1, keepdims=True)) / SOFT)
        return np.asarray((weight * tokens).sum(1) / weight.sum(1))


@dataclass
class AnywhereWitness(Witness):
    """A witness that looks at what is unusual in an image, wherever it is.

    Attributes:
        places: what is usual; the other attributes are those of a regression on what is not.
    """

    places: Places

    @property
    def width(self) -> int:
        return self.places.width

    def score(self, inputs: np.ndarray) -> np.ndarray:
        return super().score(self.places.unusual(inputs))


@dataclass
class Ordinary:
    """What suspicious images are set against.

    Attributes:
        places: what is usual in them.
        inputs: ``[O, C]``, what is unusual in each.
    """

    places: Places
    inputs: np.ndarray

    @staticmethod
    def of(images: np.ndarray) -> Ordinary | None:
        """Return what ordinary images ``[O, P C]`` show; None where images have no places."""
        places = Places.of_usual(images)
        return None if places is None else Ordinary(places, places.unusual(images))


def hear_unusual(
    images: np.ndarray, groups: Sequence[np.ndarray], others: Ordinary
) -> list[tuple[AnywhereWitness, np.ndarray]]:
    """Fit such a witness for each group of suspicious samples.

    Args:
        images: ``[S, P C]``, of suspicious samples.
        groups: rows of them.
        others: what they are set against.

    Returns:
        For each group the witness, and whether each of its samples was told apart.
    """
    heard = hear_rows(groups, lambda rows: others.places.unusual(images[rows]), others.inputs)
    return [(AnywhereWitness(**vars(witness), places=others.places), hit) for witness, hit in heard]


def hear_anywhere(
    suspects: Kept, groups: Sequence[np.ndarray], others: Ordinary
) -> tuple[Witness, np.ndarray, np.ndarray]:
    """Hear such a witness on each group of suspicious samples: as `pcvr.defenses.pcvr.pools.hear_groups`."""
    heard = hear_unusual(suspects.images, groups, others)
    best = min(range(len(groups)), key=lambda k: heard[k][0].chance)
    return heard[best][0], groups[best], heard[best][1]
