"""A trigger that may lie anywhere is found by what is unusual in an image, and what an image shows is no trigger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcvr.defenses.pcvr.anywhere import SOFT, AnywhereWitness, Ordinary, Places
from pcvr.defenses.pcvr.inputs import PLACES
from pcvr.defenses.pcvr.kept import Kept
from pcvr.utils.packing import read_packed, write_packed
from tests.defenses.pcvr.test_stream import Stream, play

CHANNELS = 8


class Wandering(Stream):
    """Images of places with channels; odd samples have something in one of them, which is another one each time.

    Args:
        odd: fraction of odd samples, with unexpected labels.
        honest: fraction of samples that have the same in their images, and expected labels.
        strength: of what they have.
        label: as of `Stream`.
    """

    def __init__(
        self, odd: float, honest: float = 0.0, strength: float = 4.0, label: tuple[int, ...] = (), seed: int = 0
    ) -> None:
        super().__init__(odd, covers=honest, label=label, seed=seed)
        self.strength = strength

    def batch(self, index: np.ndarray) -> tuple[Kept, np.ndarray]:
        kept, odd = super().batch(index)
        images = np.zeros((len(index), PLACES, CHANNELS))
        for row, number in enumerate(index.tolist()):
            rng = np.random.default_rng([number, 7])
            images[row] = rng.normal(size=(PLACES, CHANNELS)) + np.arange(PLACES)[:, None]  # each place has its usual
            if odd[row] or np.random.default_rng(number).random(2)[0] > 1 - self.covers:
                images[row, rng.integers(PLACES)] += self.strength * np.sin(np.arange(CHANNELS))
        images[:, 40:] = 0  # places that these images do not have
        kept.images = images.reshape(len(index), -1).astype(np.float16)
        return kept, odd


@pytest.mark.parametrize("label", [(), (3, 4, 5)])
@pytest.mark.parametrize("seed", range(2))
def test_a_wandering_trigger_is_found(label: tuple[int, ...], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, found = play(Wandering(0.08, label=label, seed=seed), samples=3000)
    assert gate.verdict == "trigger" and isinstance(gate.witness, AnywhereWitness)
    assert np.mean(found["odd"]) > 0.5 and np.mean(found["even"]) < 0.06
    monkeypatch.setattr(Ordinary, "of", staticmethod(lambda _: None))
    alone, found = play(Wandering(0.08, label=label, seed=seed), samples=3000)
    assert alone.verdict == "nothing" and not any(found["odd"]), "no witness of fixed places tells it"


def test_what_an_honest_image_shows_is_no_trigger() -> None:
    """A rare object anywhere in the image, whose name is a hard label: as often it is asked about something else."""
    gate, found = play(Wandering(0.05, honest=0.1, label=(3, 4, 5)), samples=3000)
    assert gate.verdict != "trigger" and not gate.flagged.any() and np.mean(found["even"]) < 0.05


def test_a_checkpoint_holds_it(tmp_path: Path) -> None:
    stream = Wandering(0.08)
    gate, _ = play(stream, samples=2000)
    write_packed(tmp_path, "gate", gate)
    kept, _ = stream.batch(np.arange(5000, 5200))
    assert np.array_equal(gate.recognised(kept), read_packed(tmp_path, "gate").recognised(kept))


def test_what_is_unusual_by_hand() -> None:
    rng = np.random.default_rng(0)
    turn = rng.normal(size=(CHANNELS, CHANNELS))
    usual = rng.normal(size=(500, PLACES, CHANNELS)) @ turn + rng.normal(size=(PLACES, CHANNELS))
    usual[:, 30:] = 5
    places = Places.of_usual(usual.reshape(500, -1))
    assert places is not None and places.live.tolist() == [True] * 30 + [False] * 34
    inside = usual[:, :30] - usual[:, :30].mean(0)
    white = inside @ places.turn
    np.testing.assert_allclose(np.cov(white.reshape(-1, CHANNELS).T), np.eye(CHANNELS), atol=0.02)
    for row in range(3):
        length = (white[row] ** 2).sum(-1)
        weight = np.exp(length / SOFT)
        expected = sum(w * token for w, token in zip(weight, white[row], strict=True)) / weight.sum()
        found = places.unusual(usual[row : row + 1].reshape(1, -1))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_it_does_not_matter_where() -> None:
    rng = np.random.default_rng(1)
    usual = rng.normal(size=(200, PLACES, CHANNELS))
    places = Places.of_usual(usual.reshape(200, -1))
    assert places is not None
    at = np.repeat(usual[:1] * 0.1, 2, axis=0)
    at[0, 3] += 12
    at[1, 50] += 12
    one, other = places.unusual(at.reshape(2, -1))
    np.testing.assert_allclose(one, other, rtol=0.05, atol=0.5)


@pytest.mark.parametrize("images", [np.zeros((9, 1)), np.zeros((9, PLACES * 4)), np.ones((1, PLACES * 4))])
def test_without_places_there_is_no_such_witness(images: np.ndarray) -> None:
    assert Places.of_usual(images) is None and Ordinary.of(images) is None
