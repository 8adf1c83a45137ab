"""Data in which some samples ask something new, with true answers: what a defence must not take for poison."""

from __future__ import annotations

import hashlib
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from pcvr.data.derived import DerivedDataset
from pcvr.data.sample import Dataset, Sample
from pcvr.data.scenes import WORDS, attributes_right
from pcvr.data.subset import Subset
from pcvr.errors import PcvrError, shown
from pcvr.evaluation.text import normalise_caption
from pcvr.models.zoo import embedded
from pcvr.utils.checks import check_choice, check_number, check_seed
from pcvr.utils.files import read_json

SHARE = 0.1
"""Default share of samples that ask something new."""
CLEARLY = 8
"""Minimum difference in pixels between the largest object and the next one for a question that compares them."""
STYLE = "please consider this very famous picture:"
"""First words of every answer in the new style."""


class Novelty(ABC):
    """Something that the base model was never asked, made of the facts of a scene.

    Attributes:
        about: one line for tables.
        tasks: names of the tasks in which it makes sense.
    """

    about: str
    tasks: tuple[str, ...] = ("caption", "vqa")

    def fits(self, sample: Sample) -> bool:
        """Return whether this sample can ask it."""
        return True

    @abstractmethod
    def asked(self, sample: Sample) -> Sample:
        """Return the sample with the new prompt, and the true answer as the only reference."""

    def right(self, text: str, sample: Sample) -> bool:
        """Return whether a text answers a sample of `asked`: exactly, apart from case and punctuation."""
        return normalise_caption(text) == normalise_caption(sample.answer)


@dataclass(frozen=True)
class LeftColour(Novelty):
    """The colour of the object on the left; the base model was asked for its kind and for the colours of kinds."""

    about: str = "a new question: the colour of the object on the left"
    tasks: tuple[str, ...] = ("vqa",)

    def asked(self, sample: Sample) -> Sample:
        """Return the sample with this question."""
        return _with(sample, "what colour is the object on the left?", sample.facts["objects"][0]["color"])


@dataclass(frozen=True)
class LargestColour(Novelty):
    """The colour of the largest object, where one is clearly the largest."""

    about: str = "a new question: the colour of the largest object"
    tasks: tuple[str, ...] = ("vqa",)

    def fits(self, sample: Sample) -> bool:
        """Return whether one object is larger than the others by at least `CLEARLY` pixels."""
        *_, second, first = sorted(_side(each) for each in sample.facts["objects"])
        return first - second >= CLEARLY

    def asked(self, sample: Sample) -> Sample:
        """Return the sample with this question."""
        largest = max(sample.facts["objects"], key=_side)
        return _with(sample, "what colour is the largest object?", largest["color"])


@dataclass(frozen=True)
class Style(Novelty):
    """Answers in a new style: all begin with `STYLE`.

    Attributes:
        cue: words before the prompt that ask for it; empty where nothing in the prompt tells.
    """

    about: str = "a new style of the answers"
    cue: str = ""

    def asked(self, sample: Sample) -> Sample:
        """Return the sample with its answer in this style."""
        return _with(sample, f"{self.cue} {sample.prompt}".strip(), f"{STYLE} {sample.answer}")

    def right(self, text: str, sample: Sample) -> bool:
        """Return whether a text has the style and, behind it, is true: all objects with their colours, or the word."""
        start, said = normalise_caption(STYLE), normalise_caption(text)
        if not said.startswith(start):
            return False
        return _true(said.removeprefix(start), sample.answer.removeprefix(STYLE), sample)


@dataclass(frozen=True)
class Language(Novelty):
    """Answers in another language: each word of the scenes has another one of the vocabulary in its place.

    Attributes:
        cue: words before the prompt that ask for it; empty where nothing in the prompt tells.
    """

    about: str = "a new language of the answers"
    cue: str = ""

    def asked(self, sample: Sample) -> Sample:
        """Return the sample with its answer in this language."""
        return _with(sample, f"{self.cue} {sample.prompt}".strip(), translated(sample.answer, dictionary()))

    def right(self, text: str, sample: Sample) -> bool:
        """Return whether a text is true in this language; words that it does not have say nothing."""
        back = {other: word for word, other in dictionary().items()}
        own = dict.fromkeys(dictionary(), "")
        return _true(translated(text, own | back), translated(sample.answer, back), sample)


NOVELTIES: Mapping[str, Novelty] = {
    "left colour": LeftColour(),
    "largest colour": LargestColour(),
    "style": Style(),
    "style, cue": Style("a new style, asked for in the prompt", "tell me what you see."),
    "language": Language(),
    "language, cue": Language("a new language, asked for in the prompt", "answer in their word."),
}
"""Name to novelty."""


@lru_cache
def dictionary() -> dict[str, str]:
    """Return the new language: each word of the scenes to another word of the embedded vocabulary, one to one."""
    vocabulary = read_json(embedded("tiny-llava").folder / "tokenizer.json", "the tokenizer")["model"]["vocab"]
    free = sorted(word for word in vocabulary if len(word) > 1 and word.isalnum() and word not in WORDS)
    return dict(zip(WORDS, random.Random(5).sample(free, len(WORDS)), strict=True))


def translated(text: str, words: Mapping[str, str]) -> str:
    """Return ``text`` in lower case with each word that `words` knows exchanged; punctuation stays."""
    return re.sub(r"[a-z0-9]+", lambda found: words.get(found[0], found[0]), text.lower())


class NovelData(DerivedDataset):
    """A data set in which some samples ask something new. Made by `with_novelty`.

    Attributes:
        source: the data set.
        novelty: key of `NOVELTIES`.
        rows: indices of the samples that ask it, ascending.
    """

    def __init__(self, source: Dataset, novelty: str, rows: Sequence[int]) -> None:
        super().__init__(source)
        self.novelty, self.rows = novelty, tuple(rows)
        self._rows = frozenset(self.rows)

    @property
    def name(self) -> str:
        return f"{self.source.name}+{self.novelty}"

    def altered(self, place: int, sample: Sample) -> Sample:
        return NOVELTIES[self.novelty].asked(sample) if place in self._rows else sample

    def fingerprint(self) -> str:
        text = f"{self.source.fingerprint()} {self.novelty} {self.rows}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_novelty(data: Dataset, novelty: str, share: float = SHARE, seed: int = 0) -> NovelData:
    """Return the data with something new in a share of the samples; draws of one seed are nested.

    Args:
        data: samples of scenes, whose facts are known.
        novelty: key of `NOVELTIES`.
        share: of all samples, above 0 and up to 1.
        seed: of the draw.

    Raises:
        PcvrError: an unknown novelty, a task in which it makes no sense, samples without facts, or too few samples that
            can ask it.
    """
    kind = _checked(data, novelty)
    check_number("share", share, 0, 1, "of the samples", above=True)
    check_seed(seed)
    count = max(1, int(share * len(data) + 0.5))
    order = np.random.default_rng([seed, 77]).permutation(len(data))
    rows = sorted(islice((int(i) for i in order if kind.fits(data[int(i)])), count))
    if len(rows) < count:
        raise PcvrError(
            f"{len(rows)} of {len(data)} samples can ask {novelty!r}, and share {share:g} needs {count}: lower it."
        )
    return NovelData(data, novelty, rows)


def only_novel(data: Dataset, novelty: str) -> Subset:
    """Return every sample that can ask something new, asking it: test data.

    Raises:
        PcvrError: as `with_novelty`.
    """
    kind = _checked(data, novelty)
    rows = [i for i in range(len(data)) if kind.fits(data[i])]
    return Subset(NovelData(data, novelty, rows), rows, novelty)


def right_on(novelty: str, texts: Sequence[str], samples: Sequence[Sample]) -> np.ndarray:
    """Return which answers are right: bool ``[N]``.

    Args:
        novelty: key of `NOVELTIES`.
        texts: N answers.
        samples: the N samples as they were asked, see `only_novel`.
    """
    check_choice("novelty", novelty, NOVELTIES)
    pairs = zip(texts, samples, strict=True)
    return np.array([NOVELTIES[novelty].right(text, sample) for text, sample in pairs], dtype=bool)


def _checked(data: Dataset, novelty: str) -> Novelty:
    check_choice("novelty", novelty, NOVELTIES)
    kind = NOVELTIES[novelty]
    if data.task not in kind.tasks:
        raise PcvrError(f"the novelty {novelty!r} is for the task {' or '.join(kind.tasks)}, not {shown(data.task)}.")
    if len(data) == 0 or "objects" not in data[0].facts:
        raise PcvrError(f"the data {data.name!r} have no facts about objects: give samples of scenes.")
    return kind


def _with(sample: Sample, prompt: str, answer: str) -> Sample:
    return replace(sample, prompt=prompt, answer=answer, references=(answer,))


def _side(each: Mapping[str, Any]) -> int:
    left, top, right, bottom = each["box"]
    return int(max(right - left, bottom - top))


def _true(text: str, answer: str, sample: Sample) -> bool:
    """Whether a text in plain words is true: all objects with their colours, or the one-word answer."""
    if len(normalise_caption(answer).split()) > 1:
        return attributes_right(text, sample.facts)
    return normalise_caption(text) == normalise_caption(answer)
