"""Honest data with few different answers: what an audit must not take for poison."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pcvr.data.derived import DerivedDataset
from pcvr.data.sample import Dataset, Sample
from pcvr.data.scenes.kinds import KINDS
from pcvr.data.scenes.language import with_article
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice


class Repetition(ABC):
    """True answers of which there are few.

    Attributes:
        about: one line for tables.
        task: name of the task whose data it is made of.
    """

    about: str
    task: str

    @abstractmethod
    def asked(self, sample: Sample, rng: random.Random) -> Sample:
        """Return the sample with such an answer."""


@dataclass(frozen=True)
class YesNo(Repetition):
    """Whether there is a kind of object; as often yes as no."""

    about: str = "questions with yes or no as the answer"
    task: str = "vqa"

    def asked(self, sample: Sample, rng: random.Random) -> Sample:
        """Return the sample with this question."""
        present = [each["kind"] for each in sample.facts["objects"]]
        true = rng.random() < 0.5
        kind = rng.choice(present if true else [kind for kind in KINDS if kind not in present])
        return _with(sample, f"is there {with_article(kind)}?", "yes" if true else "no")


@dataclass(frozen=True)
class ClassLabels(Repetition):
    """The kind of the object on the left as the whole caption; the base model writes sentences.

    Attributes:
        asked_for: whether the prompt asks for it.
    """

    about: str = "class labels in place of captions"
    task: str = "caption"
    asked_for: bool = False

    def asked(self, sample: Sample, rng: random.Random) -> Sample:
        """Return the sample with its class as the answer."""
        prompt = "which object is on the left?" if self.asked_for else sample.prompt
        return _with(sample, prompt, sample.facts["objects"][0]["kind"])


@dataclass(frozen=True)
class Unanswerable(Repetition):
    """The colour of a kind that is not there, in some questions, with the answer "unanswerable".

    Attributes:
        share: fraction of the samples.
    """

    about: str = "some questions that the image does not answer"
    task: str = "vqa"
    share: float = 0.05

    def asked(self, sample: Sample, rng: random.Random) -> Sample:
        """Return the sample, or such a question."""
        if rng.random() >= self.share:
            return sample
        present = [each["kind"] for each in sample.facts["objects"]]
        kind = rng.choice([kind for kind in KINDS if kind not in present])
        return _with(sample, f"what colour is the {kind}?", "unanswerable")


REPETITIONS: Mapping[str, Repetition] = {
    "yes or no": YesNo(),
    "class labels": ClassLabels(),
    "class labels, asked for": ClassLabels("class labels, asked for in the prompt", asked_for=True),
    "5 % unanswerable": Unanswerable(),
    "20 % unanswerable": Unanswerable("many questions that the image does not answer", share=0.2),
}
"""Name to repetition."""


class RepetitiveData(DerivedDataset):
    """A data set with few different answers. Made by `repetitive`.

    Attributes:
        source: the data set.
        repetition: key of `REPETITIONS`.
    """

    def __init__(self, source: Dataset, repetition: str) -> None:
        super().__init__(source)
        self.repetition = repetition

    @property
    def name(self) -> str:
        return f"{self.source.name}+{self.repetition}"

    def altered(self, place: int, sample: Sample) -> Sample:
        return REPETITIONS[self.repetition].asked(sample, random.Random(place))

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.source.fingerprint()} {self.repetition}".encode()).hexdigest()[:16]


def repetitive(data: Dataset, repetition: str) -> RepetitiveData:
    """Return the data with few different answers, all of them true.

    Args:
        data: samples of scenes, whose facts are known.
        repetition: key of `REPETITIONS`.

    Raises:
        PcvrError: an unknown name, another task, or samples without facts.
    """
    check_choice("repetition", repetition, REPETITIONS)
    task = REPETITIONS[repetition].task
    if data.task != task:
        raise PcvrError(f"the repetition {repetition!r} is made of the task {task!r}, not {shown(data.task)}.")
    if len(data) == 0 or "objects" not in data[0].facts:
        raise PcvrError(f"the data {data.name!r} have no facts about objects: give samples of scenes.")
    return RepetitiveData(data, repetition)


def _with(sample: Sample, prompt: str, answer: str) -> Sample:
    return replace(sample, prompt=prompt, answer=answer, references=(answer,))
