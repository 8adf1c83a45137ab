"""What flows through the workbook: a sample, and a data set of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pcvr.data.pictures import Image, as_picture
from pcvr.errors import PcvrError, shown

__all__ = ["Dataset", "Image", "Sample"]


@dataclass(frozen=True)
class Sample:
    """One picture with a prompt and its answers.

    Attributes:
        id: unique inside its data set, and stable across runs.
        image: uint8 ``[H, W, 3]``, RGB; a Pillow picture is made one.
        prompt: what the user says, without image tokens or chat template.
        answer: the text the model is trained to say.
        references: every acceptable answer, ``answer`` usually among them (five captions as in COCO).
        facts: what is known to be true of the picture, for exact scoring; empty for photographs.
    """

    id: str
    image: Image
    prompt: str
    answer: str
    references: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        image: Any = self.image
        if not isinstance(image, np.ndarray):
            object.__setattr__(self, "image", as_picture(image))
        for name in ("id", "prompt", "answer"):
            if not isinstance(getattr(self, name), str):
                raise PcvrError(f"the {name} of a sample is {shown(getattr(self, name))}: give a text.")


@runtime_checkable
class Dataset(Protocol):
    """Anything with a name, a length and random access to samples; pictures are read or drawn when asked for."""

    @property
    def name(self) -> str: ...

    @property
    def task(self) -> str:
        """Name of what is asked: a key of :data:`pcvr.tasks.TASKS`."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def fingerprint(self) -> str:
        """A short hash that changes when the data would."""
        ...
