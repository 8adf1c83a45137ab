"""The two basic types: a sample, and a data set of samples."""

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
    """One image with a prompt and its answers.

    Attributes:
        id: unique in its data set, and stable across runs.
        image: uint8 ``[H, W, 3]``, RGB; a Pillow image is converted.
        prompt: the user's text, without image tokens or chat template.
        answer: the label, which the model is trained to answer.
        references: every acceptable answer, usually with ``answer`` among them (five captions as in COCO).
        facts: facts about the image for exact scoring; empty for photographs.
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
    """Anything with a name, a length and random access to samples; images are read or drawn on access."""

    @property
    def name(self) -> str: ...

    @property
    def task(self) -> str:
        """A key of :data:`pcvr.tasks.TASKS`."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def fingerprint(self) -> str:
        """Return a short hash that changes with the data."""
        ...
