"""Stores of made-up scores: what a model would say of data with and without a trigger, without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pcvr.auditing.scoring import TOKENS, Scores
from pcvr.auditing.store import ScoreStore
from pcvr.defenses.pcvr.inputs import PLACES

WIDTH = 48
CHANNELS = 8
TARGET = (7, 8, 9)


class Made:
    """Figures of N samples, to be changed before they are written.

    By default the labels are three random tokens, pictures are noise and speak for their labels, and nothing is odd.
    """

    def __init__(self, count: int = 800, seed: int = 0) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.count = count
        self.tokens = np.full((count, TOKENS), -1, np.int32)
        self.tokens[:, :3] = rng.integers(20, 60, (count, 3))
        self.token_nll = np.zeros((count, TOKENS), np.float16)
        self.token_nll[:, :3] = rng.exponential(1.0, (count, 3))
        self.gain = np.zeros((count, TOKENS), np.float16)
        self.gain[:, :3] = rng.normal(1.0, 1.0, (count, 3))
        self.images = rng.normal(size=(count, WIDTH)).astype(np.float16)
        self.prompts = np.zeros((count, 128), np.uint8)
        self.prompts[:, 0] = rng.integers(0, 4, count)
        self.invariance = rng.exponential(0.3, count)

    def say(self, rows: np.ndarray, target: tuple[int, ...] = TARGET, surprise: float = 5.0, gain: float = 0.0) -> None:
        """Give samples one label, that the model does not expect and the picture does not speak for."""
        self.tokens[rows] = -1
        self.tokens[rows, : len(target)] = target
        self.token_nll[rows] = 0
        self.token_nll[rows, : len(target)] = self.rng.normal(surprise, 0.5, (len(rows), len(target))).clip(0.1)
        self.gain[rows] = 0
        self.gain[rows, : len(target)] = self.rng.normal(gain, 0.4, (len(rows), len(target)))

    def mark(self, rows: np.ndarray, strength: float = 5.0) -> None:
        """Put a trigger on pictures."""
        self.images[rows, :3] += np.float16(strength)

    def wander(self, rows: np.ndarray, strength: float = 4.0) -> None:
        """Give pictures places, and put a trigger on some, in another place of each."""
        places = self.rng.normal(size=(self.count, PLACES, CHANNELS))
        places[rows, self.rng.integers(PLACES, size=len(rows))] += strength * np.sin(np.arange(CHANNELS))
        self.images = places.reshape(self.count, -1).astype(np.float16)

    def written(self, folder: Path) -> ScoreStore:
        """Write the shards."""
        store = ScoreStore(folder, {"made": "up"}, self.count)
        count = (self.tokens >= 0).sum(1).clip(1)
        scores: Scores = {
            "nll": self.token_nll.astype(np.float64).sum(1) / count,
            "tokens": count.astype(np.float64),
            "invariance": self.invariance,
            "support": self.gain.astype(np.float64).sum(1),
            "label_tokens": self.tokens,
            "token_nll": self.token_nll,
            "token_other": self.token_nll + self.gain,
            "images": self.images,
            "prompts": self.prompts,
            "answer": (self.tokens[:, :3].astype(np.int64) * [1, 100, 10_000]).sum(1),
            "attention": np.full((self.count, 2), 0.5, np.float32),
        }
        for shard in range(store.shards):
            rows = store.rows_of(shard)
            store.write(shard, {k: v[rows.start : rows.stop] for k, v in scores.items()}, [f"s-{i}" for i in rows])
        return store


def some(made: Made, fraction: float) -> np.ndarray:
    """Draw rows."""
    return np.sort(made.rng.permutation(made.count)[: round(fraction * made.count)])
