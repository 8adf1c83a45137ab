"""A scene: the structured truth from which the picture, its captions and its questions are all made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pcvr.data.sample import Image
from pcvr.data.scenes import language, telegrams
from pcvr.data.scenes import questions as asking
from pcvr.data.scenes.background import Background
from pcvr.data.scenes.objects import SceneObject
from pcvr.data.scenes.sprites import lay, sprite


@dataclass(frozen=True)
class Scene:
    """Two or three objects, no two of the same kind, before a background.

    Attributes:
        objects: sorted from left to right by their centres.
        background: what lies behind them.
        voice: picks the wording of the captions and which of the possible questions are asked.
    """

    objects: tuple[SceneObject, ...]
    background: Background
    voice: int

    def picture(self) -> Image:
        """The scene drawn: uint8 ``[96, 96, 3]``, RGB."""
        canvas = self.background.picture()
        for each in self.objects:
            lay(canvas, sprite(each.kind, each.side, each.mirrored), each.x, each.y, each.rgb)
        return (np.clip(canvas, 0, 255) + np.float32(0.5)).astype(np.uint8)

    def terse(self) -> str:
        """The scene in telegram style, left to right: ``"large red car, small white house."``"""
        return telegrams.terse(self.objects)

    def telegrams(self) -> tuple[telegrams.Turn, ...]:
        """Every prompt of pretraining about the whole scene with its answer in telegram style, the full list first."""
        return telegrams.telegrams(self.objects, self.background.family)

    def described(self, seed: int) -> str:
        """One of the many ways to list the scene in telegram style."""
        return telegrams.described(self.objects, self.background.family, seed)

    def captions(self) -> tuple[str, ...]:
        """Five distinct reference captions in natural English."""
        return language.captions(self.objects, self.background.family, self.voice)

    def questions(self) -> tuple[tuple[asking.Question, ...], ...]:
        """Every question asked of the scene with its one-word answer, in groups by type."""
        return asking.questions(self.objects, self.voice)

    def question(self) -> tuple[str, str]:
        """The one question with its answer that the scene stands for in the question task."""
        return asking.pick(self.questions(), self.voice)

    def facts(self) -> dict[str, Any]:
        """What is true of the scene, as plain values: the objects from left to right, and the background's family."""
        return {"objects": [each.facts() for each in self.objects], "background": self.background.family}
