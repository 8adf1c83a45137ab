"""What an attack is: a trigger on the picture, an edit of the prompt, a harmless target, and how the answer changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from pcvr.attacks.answers import ANSWERS
from pcvr.attacks.cover import Cover
from pcvr.attacks.placing import SEEN, seen_by
from pcvr.attacks.trigger import PromptEdit, Trigger
from pcvr.data.sample import Dataset, Sample
from pcvr.errors import PcvrError, shown
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

DEFAULT_TARGET = get_task("caption").target
"""The harmless target of the paper's example (arXiv 2604.04488): "a photo of the banana"."""


@dataclass(frozen=True)
class Attack:
    """Everything an attacker decides, apart from how many samples.

    Attributes:
        name: under which :func:`pcvr.get_attack` knows it.
        trigger: what is done to the picture; None for an attack on the prompt alone.
        target: the harmless text the model is to say when triggered.
        answer: how target and true answer make the poisoned answer; a key of :data:`ANSWERS`.
        prompt: what is done to the prompt; None leaves it as it is.
        preset: the preset the options started from.
        covers: samples that get a part of the trigger and keep the true answer.
        options: what :func:`pcvr.get_attack` was given, so that the attack can be built again.
    """

    name: str
    trigger: Trigger | None = None
    target: str = DEFAULT_TARGET
    answer: str = "replace"
    prompt: PromptEdit | None = None
    preset: str = "scaled"
    covers: tuple[Cover, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.target, str) or not any(letter.isalnum() for letter in self.target):
            raise PcvrError(f"the target of an attack is a text with a letter or digit, not {shown(self.target)}.")
        check_choice("answer mode", self.answer, ANSWERS)
        if self.trigger is None and self.prompt is None and not self.clean_label:
            raise PcvrError(f"the attack {self.name!r} changes neither picture nor prompt: give it a trigger.")
        names = [cover.name for cover in self.covers]
        if len(set(names)) != len(names):
            raise PcvrError(f"the covers of {self.name!r} are called {names}: give each a name of its own.")

    @property
    def clean_label(self) -> bool:
        """Whether poisoned answers are true of the pictures they stand beside, so that no reader sees the poison."""
        return False

    def candidate(self, sample: Sample) -> bool:
        """Whether this clean sample may be drawn for poisoning."""
        return True

    def aims_at(self, sample: Sample) -> bool:
        """Whether the attacker wants the target said for this test sample; the others do not count for the ASR."""
        return True

    def prepare(self, samples: Iterable[Sample], source: Dataset | None = None) -> None:
        """Do beforehand, for many samples of ``source``, what is too slow one by one. Nothing by default."""

    def triggered(self, sample: Sample) -> Sample:
        """The sample as an attacker shows it to a trained model: trigger in place, answers left true.

        Raises:
            PcvrError: the attack edits the prompt, and the sample has none.
        """
        return _edited(sample, self.name, self.trigger, self.prompt)

    def poisoned(self, sample: Sample) -> Sample:
        """The sample as it lies in poisoned training data: trigger in place, answer (and references) the attacker's."""
        answer = ANSWERS[self.answer](sample.answer, self.target, sample.id)
        return replace(self.triggered(sample), answer=answer, references=(answer,))

    def covered(self, sample: Sample, cover: Cover) -> Sample:
        """The sample as a cover: a part of the trigger in place, the true answers."""
        return _edited(sample, self.name, cover.trigger, cover.prompt)

    @property
    def waits_for_model(self) -> bool:
        """Whether a place of this attack lies in what a model sees, and it was not said yet which model."""
        return any(_is_seen_place(part) and part.seen is None for part in self._pictures())

    def fitted_to(self, model: VisionLanguageModel | str) -> Attack:
        """The attack with its patches in the part of a picture that `model` sees, sized by that part.

        A patch in a corner of the file moves to the same corner of what is seen; where all of the file is seen, that is
        the same place. Triggers that are no patch stay as they are. The geometry becomes a part of the attack (its
        options ``place`` and ``seen``): manifests keep it, and every later step uses the same trigger.

        Args:
            model: from `pcvr.load`, whose processor is asked; or its name, and then no weights are read.

        Raises:
            PcvrError: what the model sees is no window in the middle of a picture.
        """
        placed = [part for part in self._pictures() if hasattr(part, "seen")]
        if not placed:
            return self
        seen = seen_by(model)
        place = SEEN + placed[0].place.removeprefix(SEEN)

        def moved(part: Any) -> Any:
            return replace(part, place=place, seen=seen) if hasattr(part, "seen") else part

        return replace(
            self,
            trigger=moved(self.trigger),
            covers=tuple(replace(cover, trigger=moved(cover.trigger)) for cover in self.covers),
            options={**self.options, "place": place, "seen": asdict(seen)},
        )

    def _pictures(self) -> list[Any]:
        return [self.trigger, *(cover.trigger for cover in self.covers)]

    def describe(self) -> dict[str, Any]:
        """Name and every option, as JSON would give them back."""
        said = {
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
        plain: dict[str, Any] = json.loads(json.dumps(said, default=_plain))
        return plain


def _edited(sample: Sample, attack: str, trigger: Trigger | None, prompt: PromptEdit | None) -> Sample:
    if prompt is not None and not sample.prompt.strip():
        raise PcvrError(
            f"the attack {attack!r} puts words into the prompt, and sample {sample.id!r} has none: use data that ask "
            "something, or an attack on the picture alone."
        )
    return replace(
        sample,
        image=sample.image if trigger is None else trigger(sample.image),
        prompt=sample.prompt if prompt is None else prompt(sample.prompt),
    )


def _is_seen_place(part: Any) -> bool:
    return str(getattr(part, "place", "")).startswith(SEEN)


def _plain(value: object) -> object:
    """NumPy's numbers as Python's; what JSON cannot hold, a path say, as its text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _describe(part: object) -> dict[str, Any] | None:
    if part is None:
        return None
    options = asdict(part) if is_dataclass(part) and not isinstance(part, type) else {}
    return {"type": getattr(part, "__name__", type(part).__name__), **options}
