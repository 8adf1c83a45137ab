"""The embedded data set: scenes drawn on access, each with five captions or one question."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from hashlib import sha256
from typing import SupportsIndex

import numpy as np

from pcvr.data.sample import Sample
from pcvr.data.scenes.layout import SPLITS, draw_scene
from pcvr.data.scenes.scene import Scene
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice, check_seed, check_whole

VERSION = 1
"""Version of the samples; a change that gives other samples for the same arguments raises it."""
MOST = 10_000_000
"""Maximum number of scenes in a data set: a permutation of them has to fit into memory."""


@dataclass(frozen=True)
class Scenes:
    """Images of two or three coloured objects with known facts.

    A sample depends on ``seed``, ``split`` and its index only, not on ``n``. No set of coloured objects appears in two
    splits, for any seed.

    Attributes:
        n: number of samples, up to `MOST`.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        seed: an integer from 0 to 2**64 - 1.
        task: a key of :data:`pcvr.tasks.TASKS`.

    Raises:
        PcvrError: an unknown split or task, or ``n`` or seed out of range.
    """

    n: int = 2000
    split: str = "train"
    seed: int = 0
    task: str = "caption"

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)
        get_task(self.task)
        check_whole("n", self.n, 1, MOST, "scenes")
        check_seed(self.seed)

    @property
    def name(self) -> str:
        """``"scenes"``."""
        return "scenes"

    def __len__(self) -> int:
        return int(self.n)

    def scene(self, index: SupportsIndex) -> Scene:
        """Return the scene of the sample at ``index``.

        Raises:
            IndexError: ``index`` is out of range.
        """
        return self._scene(self._position(index))

    def __getitem__(self, index: SupportsIndex, /) -> Sample:
        position = self._position(index)
        scene = self._scene(position)
        prompt, answer, references = get_task(self.task).of_scene(scene, position)
        name = f"scenes-{self.task}-{self.split}-{self.seed}-{position}"
        return Sample(name, scene.picture(), prompt, answer, references, scene.facts())

    def fingerprint(self) -> str:
        """Return a short hash of the version and the arguments."""
        text = f"scenes {VERSION} {self.n} {self.split} {self.seed} {self.task}"
        return sha256(text.encode()).hexdigest()[:16]

    def _position(self, index: SupportsIndex) -> int:
        given = operator.index(index)
        position = given + len(self) if given < 0 else given
        if not 0 <= position < len(self):
            raise IndexError(f"index {given} is outside scenes of length {len(self)}")
        return position

    def _scene(self, position: int) -> Scene:
        entropy = (int(self.seed), SPLITS.index(self.split), position)
        return draw_scene(np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy))), self.split)
