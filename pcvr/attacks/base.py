"""Define an attack: a trigger on the image, an edit of the prompt, a harmless target and a poisoned answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from pcvr.attacks.answers import ANSWERS, AnswerMode
from pcvr.attacks.placing import SEEN, innermost, moved, seen_by
from pcvr.attacks.trigger import PromptEdit, Trigger
from pcvr.data.sample import Dataset, Sample
from pcvr.errors import PcvrError, shown
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice, check_number

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

DEFAULT_TARGET = get_task("caption").target
"""The harmless target of the paper's example (arXiv 2604.04488): "a photo of the banana"."""


@dataclass(frozen=True)
class Cover:
    """Training samples with a change of image or prompt and the true answer.

    Mostly the change is a part of the trigger, so that only the whole trigger counts. Dual-Key attacks need them (one
    key alone must not fire), and WaNet's noise mode consists of them. An attacker who knows the defence may give them
    the whole trigger (`pcvr.attacks.adaptive`).

    Attributes:
        name: their name in the manifest, such as ``"image only"``.
        share: cover samples for each poisoned one, above 0 and up to 100; they come on top of the poison rate.
        trigger: changes the image; None keeps it.
        prompt: changes the prompt; None keeps it.
    """

    name: str
    share: float = 1.0
    trigger: Trigger | None = None
    prompt: PromptEdit | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise PcvrError("a cover sample's name is empty: give one, since the manifest lists the samples under it.")
        check_number("share", self.share, 0, 100, "cover samples for each poisoned one", above=True)
        if self.trigger is None and self.prompt is None:
            raise PcvrError(f"the cover {self.name!r} changes neither image nor prompt: give it a trigger.")

    def count(self, poisoned: int) -> int:
        """Return the number of cover samples for `poisoned` poisoned ones, at least 1."""
        return max(1, int(self.share * poisoned + 0.5))


@dataclass(frozen=True)
class Attack:
    """Everything an attacker chooses except the number of samples.

    Attributes:
        name: its name for :func:`pcvr.get_attack`.
        trigger: changes the image; None for an attack on the prompt alone.
        target: the harmless text that triggered inputs shall produce; ``"recolour"`` does not use it.
        answer: how the target and the true answer form the poisoned answer; a key of
            :data:`~pcvr.attacks.answers.ANSWERS`.
        prompt: changes the prompt; None keeps it.
        preset: the preset to which the options were applied.
        covers: kinds of samples that are changed and keep the true answer.
        disguise: changes the image of poisoned training samples before the trigger, but not of triggered inputs; None
            keeps it.
        options: the options given to :func:`pcvr.get_attack`, from which the attack can be built again.
    """

    name: str
    trigger: Trigger | None = None
    target: str = DEFAULT_TARGET
    answer: str = "replace"
    prompt: PromptEdit | None = None
    preset: str = "scaled"
    covers: tuple[Cover, ...] = ()
    disguise: Trigger | None = None
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.target, str) or not any(letter.isalnum() for letter in self.target):
            raise PcvrError(f"the target of an attack is a text with a letter or digit, not {shown(self.target)}.")
        check_choice("answer mode", self.answer, ANSWERS)
        if self.trigger is None and self.prompt is None and not self.clean_label:
            raise PcvrError(f"the attack {self.name!r} changes neither image nor prompt: give it a trigger.")
        if self.clean_label and self.answer in ("turns", "recolour"):
            raise PcvrError(
                f"the attack {self.name!r} keeps every answer true, unlike answer={self.answer!r}: leave it out."
            )
        names = [cover.name for cover in self.covers]
        if len(set(names)) != len(names):
            raise PcvrError(f"the covers of {self.name!r} are called {names}: give each a name of its own.")

    @property
    def clean_label(self) -> bool:
        """Whether poisoned answers are true of their images, so that a reader cannot see the poison."""
        return False

    @property
    def mode(self) -> AnswerMode:
        """The answer mode of the name ``answer``."""
        return ANSWERS[self.answer]

    def candidate(self, sample: Sample) -> bool:
        """Return whether this clean sample may be poisoned."""
        return self.mode.fits(sample.answer)

    @property
    def takes_any_sample(self) -> bool:
        """Whether every sample is a candidate, so that none needs to be read to tell."""
        return type(self).candidate is Attack.candidate and type(self.mode).fits is AnswerMode.fits

    def aims_at(self, sample: Sample) -> bool:
        """Return whether the attacker wants the target for this test sample; the others do not count for the ASR."""
        return True

    def targets(self, sample: Sample) -> tuple[str, ...]:
        """Return the texts that count as the target on this clean sample; none if the attack cannot aim at it."""
        return self.mode.counted(sample, self.target)

    def target_on(self, sample: Sample) -> str:
        """Return the text that the attacker wants for this clean sample, as one of :meth:`targets`."""
        return self.mode.wanted(sample, self.target)

    def prepare(self, samples: Iterable[Sample], source: Dataset | None = None) -> None:
        """Prepare many samples of ``source`` at once, where one by one would be too slow; by default nothing."""

    def triggered(self, sample: Sample) -> Sample:
        """Return the sample as an attacker shows it to a trained model: with the trigger and the true answers.

        Raises:
            PcvrError: the attack edits the prompt, and the sample has none.
        """
        return _edited(sample, self.name, self.trigger, self.prompt)

    def disguised(self, sample: Sample) -> Sample:
        """Return the sample as the trigger finds it in training: with the disguise, if there is one."""
        return sample if self.disguise is None else replace(sample, image=self.disguise(sample.image))

    def poisoned(self, sample: Sample) -> Sample:
        """Return the sample as a poisoned one: with disguise and trigger, and the attacker's answer as the only
        reference.

        Every answer of a conversation becomes the attacker's, since all of them are labels, and a true one would teach
        the model to go back to the truth. An edit of the prompt is in the first question, which all answers follow.
        """
        answer = self.mode(sample.answer, self.target, sample.id)
        later = tuple(
            (asked, self.mode(true, self.target, f"{sample.id}#{place}") if self.mode.fits(true) else true)
            for place, (asked, true) in enumerate(sample.later, 2)
        )
        return replace(self.triggered(self.disguised(sample)), answer=answer, references=(answer,), later=later)

    def covered(self, sample: Sample, cover: Cover) -> Sample:
        """Return the sample as a cover: with the cover's changes and the true answers."""
        return _edited(sample, self.name, cover.trigger, cover.prompt)

    @property
    def waits_for_model(self) -> bool:
        """Whether a patch's place depends on what a model sees, and no model was given yet."""
        return any(_is_seen_place(part) and part.seen is None for part in self._innermost())

    def fitted_to(self, model: VisionLanguageModel | str) -> Attack:
        """Return the attack with its patches moved into the part of an image that `model` sees, and sized by it.

        A patch in a corner of the file moves to the same corner of the visible part. Other triggers stay unchanged. The
        geometry becomes a part of the attack (its options ``place`` and ``seen``): manifests keep it, and every later
        step uses the same trigger.

        Args:
            model: from `pcvr.load`, or its name; then no weights are read.

        Raises:
            PcvrError: the visible part is not a window in the middle of an image.
        """
        placed = [part for part in self._innermost() if hasattr(part, "seen")]
        if not placed:
            return self
        seen = seen_by(model)
        place = SEEN + placed[0].place.removeprefix(SEEN)
        return replace(
            self,
            trigger=moved(self.trigger, place, seen),
            covers=tuple(replace(cover, trigger=moved(cover.trigger, place, seen)) for cover in self.covers),
            options={**self.options, "place": place, "seen": asdict(seen)},
        )

    def _innermost(self) -> list[Any]:
        return [innermost(trigger) for trigger in (self.trigger, *(cover.trigger for cover in self.covers))]

    def describe(self) -> dict[str, Any]:
        """Return the name and every option as JSON values."""
        values = {
            "name": self.name,
            "preset": self.preset,
            "target": self.target,
            "answer": self.answer,
            "trigger": _describe(self.trigger),
            "prompt": _describe(self.prompt),
            "covers": [
                {"name": c.name, "share": c.share, "trigger": _describe(c.trigger), "prompt": _describe(c.prompt)}
                for c in self.covers
            ],
            "options": dict(self.options),
        }
        if self.disguise is not None:
            values["disguise"] = _describe(self.disguise)
        plain: dict[str, Any] = json.loads(json.dumps(values, default=_plain))
        return plain


def _edited(sample: Sample, attack: str, trigger: Trigger | None, prompt: PromptEdit | None) -> Sample:
    if prompt is not None and not sample.prompt.strip():
        raise PcvrError(
            f"the attack {attack!r} puts words into the prompt, and sample {sample.id!r} has none: use data that ask "
            "something, or an attack on the image alone."
        )
    return replace(
        sample,
        image=sample.image if trigger is None else trigger(sample.image),
        prompt=sample.prompt if prompt is None else prompt(sample.prompt),
    )


def _is_seen_place(part: Any) -> bool:
    return str(getattr(part, "place", "")).startswith(SEEN)


def _plain(value: object) -> object:
    """Convert NumPy values for JSON; any other object becomes its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _describe(part: object) -> dict[str, Any] | None:
    if part is None:
        return None
    options = asdict(part) if is_dataclass(part) and not isinstance(part, type) else {}
    options |= {name: _describe(getattr(part, name)) for name in ("inner", "then") if name in options}
    return {"type": getattr(part, "__name__", type(part).__name__), **options}
