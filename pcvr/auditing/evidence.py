"""The evidence for a trigger: an answer that pictures do not explain, on pictures that have something in common.

Three things set poison apart from labels that are merely hard, new or often the same:

1. The model does not expect the label there (or hardly changes it with the picture), and the picture does not speak for
   it: another picture would do as well. Class labels fail here, since each picture speaks for its class.
2. A small classifier on what the frozen tower sees (`pcvr.defenses.pcvr.witness`) tells these samples from ordinary
   ones, each scored by a classifier without it. Hard labels and a new style or language fail here. If nothing is found,
   it looks at what is unusual in a picture, wherever it is (`pcvr.defenses.pcvr.anywhere`); since pictures show what
   labels say, most samples with such pictures must then be unexpected.
3. They share one answer, or a few, which ordinary samples lack; or nearly all samples that look like them are
   unexpected. Samples that a new question explains, as the prompts show, fail here.

Each group that is tried is one test; the probability of chance is multiplied by their number. All of it is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pcvr.auditing.candidates import Group, groups_of
from pcvr.auditing.store import ScoreStore
from pcvr.auditing.surprise import Surprise
from pcvr.defenses.pcvr.anywhere import Ordinary, hear_unusual
from pcvr.defenses.pcvr.inputs import WORDS
from pcvr.defenses.pcvr.one_answer import Answers, few_answers, one_answer, says
from pcvr.defenses.pcvr.pools import HELD
from pcvr.defenses.pcvr.verdicts import ASKED, MAYBE, ONE_ANSWER, PURE, SHARP, STRETCH, SURELY
from pcvr.defenses.pcvr.witness import SMALLEST, Witness, hear

OTHERS, FEWEST_OTHERS = 512, 32
"""Most and fewest ordinary samples that a group is set against."""
PROBABILITY = 1e-4
"""Largest probability of chance of the evidence, over all groups that are tried: one clean data set in 10,000."""
SPEAKS = 1.0
"""Nats from which a picture speaks for its label."""
EXPLAINED = 0.2
"""A group is no poison if so many more of its pictures speak for their labels than against them, as a fraction."""
COMMON = 0.15
"""An answer that this fraction of all samples has is a class of the data, not a backdoor, which has to hide."""


@dataclass(frozen=True)
class Finding:
    """A group of samples that was looked at.

    Attributes:
        kind: ``"image trigger"``, ``"prompt trigger"``, or why it is no poison: ``"explained by the pictures"``,
            ``"a new question"``, ``"a class of the data"``, ``"nothing in common"``.
        source: what proposed the group: ``"surprise"``, ``"invariance"``, ``"loss drop"``, or an answer.
        size: samples of the group that were set against others.
        told_apart: fraction of them that the classifier told apart; by chance 0.03.
        chance: probability of as many by chance, times the number of groups.
        explained: of those told apart, how many more pictures speak for their labels than against them, see `speaking`.
        answers: stretches of tokens, of which the labels have one; empty if they have nothing in common.
        witness: the classifier.
    """

    kind: str
    source: str
    size: int
    told_apart: float
    chance: float
    explained: float
    answers: Answers = ()
    witness: Witness | None = field(default=None, repr=False)

    @property
    def poison(self) -> bool:
        """Whether it is evidence for poison."""
        return self.kind.endswith("trigger")


@dataclass(frozen=True)
class Inputs:
    """What the classifiers are shown of some samples.

    Attributes:
        images: ``[K, D]``.
        prompts: bool ``[K, WORDS]``.
        labels: ``[K, TOKENS]``, tokens, filled up with -1.
    """

    images: np.ndarray
    prompts: np.ndarray
    labels: np.ndarray

    @staticmethod
    def of(store: ScoreStore, index: np.ndarray) -> Inputs:
        """Read some samples."""
        bits = store.rows("prompts", index).astype(np.uint8)
        prompts = np.unpackbits(bits, axis=1)[:, :WORDS].astype(bool) if len(index) else np.zeros((0, WORDS), bool)
        return Inputs(store.rows("images", index), prompts, store.rows("label_tokens", index))

    def of_rows(self, rows: np.ndarray) -> Inputs:
        """Return some of them."""
        return Inputs(self.images[rows], self.prompts[rows], self.labels[rows])


def findings(
    store: ScoreStore, surprise: Surprise, seed: int = 0, without: np.ndarray | None = None, tests: int = 0
) -> tuple[list[Finding], int]:
    """Try every group; samples of `without` (bool ``[N]``) are left out.

    Args:
        store: the scores.
        surprise: of all labels.
        seed: of the draw of the ordinary samples.
        without: samples that an earlier finding explains.
        tests: groups that were tried before.

    Returns:
        What came of the groups that differ from ordinary samples beyond chance, the least probable first; and the
        number of groups that were tried, these included.
    """
    groups, ordinary = groups_of(store, surprise, without)
    tests += len(groups)
    if len(ordinary) < FEWEST_OTHERS or not groups:
        return [], tests
    generator = np.random.default_rng([seed, 5])
    others = Inputs.of(store, np.sort(generator.permutation(ordinary)[:OTHERS]))
    if not others.images.any():
        return [], tests
    rows = np.unique(np.concatenate([group.rows for group in groups]))
    pool = Inputs.of(store, rows)
    width = max(pool.images.shape[1], others.images.shape[1])
    images = np.concatenate([wide(pool.images, width), wide(others.images, width)])
    rest = np.arange(len(rows), len(images))
    places = [np.searchsorted(rows, group.rows) for group in groups]
    found = [
        _judged(store, surprise, group, tests, witness, hit, pool.of_rows(at), others)
        for group, at, (witness, hit) in zip(groups, places, hear(images, places, rest), strict=True)
    ]
    if not any(each is not None and each.poison for each in found):
        tests += len(groups)
        usual = Ordinary.of(images[len(rows) :])
        unusual = hear_unusual(images[: len(rows)], places, usual) if usual else []
        for group, at, (witness, hit) in zip(groups, places, unusual, strict=bool(unusual)):
            judged = _judged(store, surprise, group, tests, witness, hit, pool.of_rows(at), others)
            found += [judged] if judged and judged.poison and _purity(store, surprise, witness) >= PURE else []
    return sorted((each for each in found if each is not None), key=lambda each: each.chance), tests


def _judged(
    store: ScoreStore,
    surprise: Surprise,
    group: Group,
    tests: int,
    witness: Witness,
    hit: np.ndarray,
    mine: Inputs,
    others: Inputs,
) -> Finding | None:
    """Return what a group is, or None where it differs by nothing from ordinary samples."""
    sure = _sure(witness, tests)
    if not sure and not one_answer(mine.labels, others.labels, None, MAYBE):
        return None
    prompts = np.concatenate([mine.prompts, others.prompts])
    first, rest = np.arange(len(mine.prompts)), np.arange(len(mine.prompts), len(prompts))
    ((asking, told),) = hear(prompts, [first], rest)
    asked = _sure(asking, tests) and asking.told_apart >= ASKED
    if not sure and not asked:
        return None
    if not sure:
        hit, witness = told, asking
    labels, chance = mine.labels[hit], min(1.0, witness.chance * tests)
    speaks = speaking(surprise.support[group.rows][hit])
    known = Finding("image trigger", group.source, len(hit), witness.told_apart, chance, speaks, witness=witness)
    answers = one_answer(labels, others.labels, STRETCH, SURELY if asked else ONE_ANSWER)
    if asked and (group.same or not sure):  # few, or chosen by their answer: do others with such prompts have it too?
        labels = _asked_alike(store, surprise, asking)
    if not sure:
        whole = one_answer(labels, others.labels, None, SURELY)
        return replace(known, kind="prompt trigger" if whole else "a new question", answers=whole)
    if speaks >= EXPLAINED:
        return replace(known, kind="explained by the pictures", answers=answers)
    if answers:
        common = _share(store, answers) > COMMON
        return replace(known, kind="a class of the data" if common else known.kind, answers=answers)
    if asked:
        return replace(known, kind="a new question")
    if few := few_answers(labels, others.labels, STRETCH, SURELY):
        return replace(known, answers=few)
    sharp = witness.hits >= SHARP[0] and witness.told_apart >= SHARP[1]
    if sharp and _purity(store, surprise, witness) >= PURE:
        return known
    return replace(known, kind="nothing in common")


def speaking(support: np.ndarray) -> float:
    """Return how many more pictures speak for their labels than against them, as a fraction: -1 to 1."""
    return float((support >= SPEAKS).mean() - (support <= -SPEAKS).mean()) if len(support) else 0.0


def _sure(witness: Witness, tests: int) -> bool:
    return witness.chance * tests < PROBABILITY and witness.told_apart >= SMALLEST


def wide(rows: np.ndarray, width: int) -> np.ndarray:
    """Return rows ``[B, D]`` with `width` columns, filled up with zeros."""
    return np.pad(rows[:, :width], ((0, 0), (0, max(0, width - rows.shape[1]))))


def _asked_alike(store: ScoreStore, surprise: Surprise, asking: Witness) -> np.ndarray:
    """Return the labels of the unexpected samples whose prompts a witness recognises."""
    found = [np.zeros((0, 1), np.int32)]
    for rows, columns in store.each("prompts", "label_tokens"):
        prompts = np.unpackbits(columns["prompts"], axis=1)[:, :WORDS]
        found.append(columns["label_tokens"][asking.recognises(prompts) & (surprise.rank[rows] >= HELD)])
    return np.concatenate([part for part in found[1:] if len(part)] or found[:1])


def _share(store: ScoreStore, answers: Answers) -> float:
    """Return the fraction of all samples whose labels have one of the answers."""
    found = sum(int(says(columns["label_tokens"], answers).sum()) for _, columns in store.each("label_tokens"))
    return found / max(1, store.count)


def _purity(store: ScoreStore, surprise: Surprise, witness: Witness) -> float:
    """Return, of the samples that look like the group, the fraction whose labels are among the least expected."""
    alike = np.concatenate(
        [witness.recognises(wide(columns["images"], witness.width)) for _, columns in store.each("images")]
    )
    return float((surprise.rank[alike] >= HELD).mean()) if alike.any() else 0.0
