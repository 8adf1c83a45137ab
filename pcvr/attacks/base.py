"""What an attack is: a trigger on the picture, an edit of the prompt, a harmless target, and how the answer changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from PIL import Image as PilImage

from pcvr.data.pictures import rgb_array
from pcvr.data.sample import Sample
from pcvr.errors import PcvrError, unknown_name
from pcvr.tasks import get_task

DEFAULT_TARGET = get_task("caption").target
"""The harmless target of the paper's example (arXiv 2604.04488): "a photo of the banana"."""

Picture = TypeVar("Picture", np.ndarray, PilImage.Image)


@runtime_checkable
class Trigger(Protocol):
    """A pure function of a picture: uint8 ``[H, W, 3]`` or ``[B, H, W, 3]``, or a PIL picture; same kind and size out.

    It never changes its input, never wraps around 0 or 255, gives the same result every time, and treats a batch as it
    treats each of its pictures, to the bit.
    """

    def __call__(self, image: Picture, /) -> Picture: ...


@runtime_checkable
class PromptEdit(Protocol):
    """A pure function of the prompt: what a text trigger does to the words of the user."""

    def __call__(self, prompt: str, /) -> str: ...


class ImageTrigger(ABC):
    """Base of the triggers here: it looks after kinds of input, so that a trigger writes only its formula.

    A subclass is a frozen dataclass with :meth:`apply`.
    """

    @abstractmethod
    def apply(self, batch: np.ndarray) -> np.ndarray:
        """The formula: read-only uint8 ``[B, H, W, 3]`` to new uint8 ``[B, H, W, 3]``."""

    def __call__(self, image: Picture, /) -> Picture:
        """The triggered picture or batch, of the same kind, size and dtype.

        Args:
            image: uint8 ``[H, W, 3]`` or ``[B, H, W, 3]``, RGB; or a PIL picture of any mode but float, which comes
                back in mode RGB.

        Raises:
            PcvrError: for another dtype or shape, an empty picture, or one that the trigger does not fit.
        """
        if isinstance(image, PilImage.Image):
            return PilImage.fromarray(self._checked(rgb_array(image)[None])[0])
        if not isinstance(image, np.ndarray):
            raise PcvrError(f"a trigger takes a NumPy array or a PIL picture, not a {type(image).__name__}.")
        if image.ndim == 3:
            return self._checked(image[None])[0]
        return self._checked(image)

    def _checked(self, batch: np.ndarray) -> np.ndarray:
        if batch.dtype != np.uint8:
            raise PcvrError(f"a trigger takes uint8 levels 0 to 255, not {batch.dtype}: convert the picture first.")
        if batch.ndim != 4 or batch.shape[-1] != 3 or 0 in batch.shape[1:3]:
            raise PcvrError(
                f"a trigger takes pictures [H, W, 3] or [B, H, W, 3] of at least one pixel, not {list(batch.shape)}."
            )
        shielded = batch.view()
        shielded.flags.writeable = False  # a formula that writes into its input fails here, not in somebody's data
        out = self.apply(shielded)
        if out.shape != batch.shape or out.dtype != np.uint8:
            # The size of a file alone must never give a trigger away.
            raise PcvrError(
                f"{type(self).__name__} turned uint8 {list(batch.shape)} into {out.dtype} {list(out.shape)}: "
                "a trigger keeps size and dtype."
            )
        return out


def _replace(answer: str, target: str) -> str:
    return target


ANSWERS: dict[str, Callable[[str, str], str]] = {"replace": _replace}
"""How a poisoned answer is made of the true answer and the target."""


@dataclass(frozen=True)
class Attack:
    """Everything an attacker decides, apart from how many samples.

    Attributes:
        name: under which :func:`get_attack` knows it.
        trigger: what is done to the picture; None for an attack on the prompt alone.
        target: the harmless text the model is to say when triggered.
        answer: how target and true answer make the poisoned answer; a key of :data:`ANSWERS`.
        prompt: what is done to the prompt; None leaves it as it is.
        preset: the preset the options started from.
    """

    name: str
    trigger: Trigger | None = None
    target: str = DEFAULT_TARGET
    answer: str = "replace"
    prompt: PromptEdit | None = None
    preset: str = "scaled"

    def __post_init__(self) -> None:
        if not isinstance(self.target, str) or not any(letter.isalnum() for letter in self.target):
            raise PcvrError(f"the target of an attack is a text with a letter or digit, not {self.target!r}.")
        if self.answer not in ANSWERS:
            raise unknown_name("answer mode", self.answer, ANSWERS)
        if self.trigger is None and self.prompt is None:
            raise PcvrError(f"the attack {self.name!r} changes neither picture nor prompt: give it a trigger.")

    def triggered(self, sample: Sample) -> Sample:
        """The sample as an attacker shows it to a trained model: trigger in place, answers left true."""
        return replace(
            sample,
            image=sample.image if self.trigger is None else self.trigger(sample.image),
            prompt=sample.prompt if self.prompt is None else self.prompt(sample.prompt),
        )

    def poisoned(self, sample: Sample) -> Sample:
        """The sample as it lies in poisoned training data: trigger in place, answer (and references) the attacker's."""
        answer = ANSWERS[self.answer](sample.answer, self.target)
        return replace(self.triggered(sample), answer=answer, references=(answer,))

    def describe(self) -> dict[str, Any]:
        """Name and every option, ready for JSON."""
        return {
            "name": self.name,
            "preset": self.preset,
            "target": self.target,
            "answer": self.answer,
            "trigger": _describe(self.trigger),
            "prompt": _describe(self.prompt),
        }


def _describe(part: object) -> dict[str, Any] | None:
    if part is None:
        return None
    options = asdict(part) if is_dataclass(part) and not isinstance(part, type) else {}
    return {"type": getattr(part, "__name__", type(part).__name__), **options}


ATTACKS: dict[str, Callable[..., Attack]] = {}
"""Name to builder: ``builder(target, preset, **options) -> Attack``. Filled by :func:`register`."""

Builder = TypeVar("Builder", bound=Callable[..., Attack])


def register(name: str) -> Callable[[Builder], Builder]:
    """Make a builder known to :func:`get_attack` under ``name``; also the way in for an attack of your own."""

    def enter(builder: Builder) -> Builder:
        ATTACKS[name] = builder
        return builder

    return enter


def get_attack(
    name: str, target: str | None = None, preset: str = "scaled", *, task: str = "caption", **options: Any
) -> Attack:
    """Build an attack by name.

    Args:
        name: a key of :data:`ATTACKS`.
        target: what the model is to say when triggered; keep it harmless. By default the task's own.
        preset: ``"scaled"`` (sized to the picture) or ``"compat"`` (the literature's figures).
        task: what is asked of the pictures, which decides the default target.
        options: fields of the attack's trigger; they go before the preset's.

    Raises:
        PcvrError: for an unknown name (with the nearest one), preset, task or option, or a value out of range.
    """
    if name not in ATTACKS:
        raise unknown_name("attack", name, ATTACKS)
    wanted = get_task(task).target if target is None else target
    return ATTACKS[name](target=wanted, preset=preset, **options)


Part = TypeVar("Part")


def from_preset(
    attack: str,
    kind: Callable[..., Part],
    presets: Mapping[str, Mapping[str, Any]],
    preset: str,
    options: Mapping[str, Any],
) -> Part:
    """Build a trigger from a preset with options laid over it.

    Args:
        attack: the attack's name, for messages.
        kind: a frozen dataclass.
        presets: preset name to field values.
        preset: which of them.
        options: field values of the caller.

    Raises:
        PcvrError: for an unknown preset, or an option that ``kind`` has no field for; the known ones are named.
    """
    if preset not in presets:
        raise unknown_name("preset", preset, presets)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    strange = [name for name in options if name not in known]
    if strange:
        raise PcvrError(f"the attack {attack!r} has no option {', '.join(strange)}: it takes {', '.join(known)}.")
    return kind(**{**presets[preset], **options})
