"""A scene: the structured description from which image, captions and questions are made."""

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
    """Two or three objects of different kinds on a background.

    Attributes:
        objects: sorted from left to right by their centres.
        background: the background.
        voice: seed of the captions' wording and the choice of questions.
    """

    objects: tuple[SceneObject, ...]
    background: Background
    voice: int

    def picture(self) -> Image:
        """Draw the scene: uint8 ``[96, 96, 3]``, RGB."""
        canvas = self.background.picture()
        for each in self.objects:
            lay(canvas, sprite(each.kind, each.side, each.mirrored), each.x, each.y, each.rgb)
        return (np.clip(canvas, 0, 255) + np.float32(0.5)).astype(np.uint8)

    def terse(self) -> str:
        """Return the scene in telegram style, left to right: ``"large red car, small white house."``"""
        return telegrams.terse(self.objects)

    def telegrams(self) -> tuple[telegrams.Turn, ...]:
        """Return every pretraining prompt about the whole scene with its telegram-style answer, the full list first."""
        return telegrams.telegrams(self.objects, self.background.family)

    def described(self, seed: int) -> str:
        """Return one of many telegram-style descriptions of the scene."""
        return telegrams.described(self.objects, self.background.family, seed)

    def captions(self) -> tuple[str, ...]:
        """Return five distinct reference captions in natural English."""
        return language.captions(self.objects, self.background.family, self.voice)

    def questions(self) -> tuple[tuple[asking.Question, ...], ...]:
        """Return every question about the scene with its one-word answer, grouped by type."""
        return asking.questions(self.objects, self.voice)

    def question(self) -> tuple[str, str]:
        """Return the question and answer that the scene contributes to the question task."""
        return asking.pick(self.questions(), self.voice)

    def facts(self) -> dict[str, Any]:
        """Return the facts as plain values: the objects from left to right, and the background's family."""
        return {"objects": [each.facts() for each in self.objects], "background": self.background.family}
