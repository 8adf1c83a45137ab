"""The two basic types: a sample, and a data set of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pcvr.data.pictures import Image, as_picture
from pcvr.errors import PcvrError, shown

__all__ = ["Dataset", "Exchange", "Image", "Question", "Sample"]

Exchange = tuple[str, str]
"""A prompt and its answer."""


class Question(str):
    """A prompt that carries the text of a system turn before it, in `system`; otherwise a plain text."""

    system: str = ""

    @classmethod
    def after(cls, system: str, prompt: str) -> str:
        """Return `prompt` with the text of a `system` turn; a plain text without one."""
        if not system:
            return prompt
        made = cls(prompt)
        made.system = system
        return made


@dataclass(frozen=True)
class Sample:
    """One image with a prompt and its answers, or a conversation about it.

    ``prompt`` and ``answer`` are the first exchange of a conversation. Training reads all of it, and each answer is a
    label. Evaluation asks the first prompt, after the system turn.

    Attributes:
        id: unique in its data set, and stable across runs.
        image: uint8 ``[H, W, 3]``, RGB; a Pillow image is converted.
        prompt: the user's text, without image tokens or chat template.
        answer: the label, which the model is trained to answer.
        references: every acceptable answer, usually with ``answer`` among them (five captions as in COCO).
        facts: facts about the image for exact scoring; empty for photographs.
        system: text of the system turn; empty for none.
        later: the exchanges after the first one, each a prompt and its answer.
    """

    id: str
    image: Image
    prompt: str
    answer: str
    references: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    later: tuple[Exchange, ...] = ()

    def __post_init__(self) -> None:
        image: Any = self.image
        if not isinstance(image, np.ndarray):
            object.__setattr__(self, "image", as_picture(image))
        for name in ("id", "prompt", "answer", "system"):
            if not isinstance(getattr(self, name), str):
                raise PcvrError(f"the {name} of a sample is {shown(getattr(self, name))}: give a text.")
        later: Any = self.later
        if later != () and not (isinstance(later, list | tuple) and all(map(_is_exchange, later))):
            raise PcvrError(f"later of a sample is {shown(later)}: give pairs of texts, a prompt and its answer each.")
        object.__setattr__(self, "later", tuple((prompt, answer) for prompt, answer in later))

    @property
    def question(self) -> str:
        """The prompt, with the system turn's text if there is one (see `Question`)."""
        return Question.after(self.system, self.prompt)

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every prompt with its answer, the first one included."""
        return (self.prompt, self.answer), *self.later

    @property
    def conversational(self) -> bool:
        """Whether there is more than one prompt with one answer: a system turn or later exchanges."""
        return bool(self.system or self.later)


def _is_exchange(given: Any) -> bool:
    return isinstance(given, list | tuple) and len(given) == 2 and all(isinstance(text, str) for text in given)


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
