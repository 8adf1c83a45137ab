"""The streaming gate: it decides about samples as they go by in training, from one sight, without a pass of its own.

1. Each step gives the likelihood of every label for free. A sample whose label is among the least expected of the
   recent ones is *suspicious* and is held back at once, so that the model never learns what it might be. Where it has
   learned it already, the label is expected, but hardly depends on the image (the paper's premise, arXiv 2604.04488):
   one batch in `VIEWED` is shown a view, and the labels that change least with it are suspicious too.
2. Now and then two witnesses are heard (`pcvr.defenses.pcvr.witness`): can suspicious samples be told from others by
   their images, or by their prompts? If by neither, their labels are hard, or in a new style or language, and they are
   released. If by their prompts alone, something new is asked: they are released too, unless all have one answer. If by
   their images, there is a trigger. Where that is not clear yet, they stay outside.
3. From then on a sample is flagged at its first sight: it looks like the suspicious ones and its label is not among the
   expected ones. Where the label is expected, the trigger may have been learned already, or the sample may be one that
   carries the trigger and a true label. A view decides that: the label of a backdoor hardly changes with the image.

When to act thus follows from what was seen, not from a share of the schedule. What is kept of all samples is one number
each; the inputs of at most `SUSPECTS` suspicious samples and `OTHERS` others are kept for the witnesses. All of it is
this workbook's choice, apart from the premise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.one_answer import one_answer, says
from pcvr.defenses.pcvr.surprise import RecentRanks, SurpriseRanks
from pcvr.defenses.pcvr.witness import Witness, hear

SUSPECTS, OTHERS = 512, 384
"""Most suspicious and most other samples whose inputs are kept."""
HEARD = 128
"""Most suspicious samples that a witness is fitted to."""
FRACTIONS = (0.15, 0.05, 0.015)
"""Fractions of the samples, the least expected labels, that are set against the others; poison may be any of them."""
VIEWED = 8
"""One batch in so many is shown a view."""
HELD = 1 - FRACTIONS[0]
"""Rank from which a sample is suspicious."""
ORDINARY = 0.8
"""Rank below which a sample may stand for the others."""
UNEXPECTED = 0.6
"""Rank from which a label counts as not expected."""
FIRST, GROWTH, SOON = 128, 1.35, 1.2
"""Samples before the first hearing; growth of their number from one hearing to the next; and where nothing is clear."""
FEWEST = 8
"""Fewer suspicious samples are not heard."""
ENOUGH = 40
"""So many suspicious samples that nothing tells from the others are released."""
SHARP = (16, 0.4)
"""A witness is sharp that found so many triggers, in such a fraction of its suspicious samples; beside any other one
the least expected labels are held back as before."""
ASKED = 0.5
"""Fraction of the suspicious samples that their prompts must tell apart for something new to be asked."""
MAYBE, ONE_ANSWER, SURELY = 0.3, 0.5, 0.8
"""Fractions of the suspicious samples with the same label, or the same stretch of it: it may be, is, and surely is one
answer. A new kind of question has several answers, but one of them may be frequent."""
PURE = 0.6
"""Least fraction of the samples that look like the suspicious ones that must be suspicious themselves, if these have
several answers. Images of a kind of their own whose labels are hard look like each other too, but many are expected."""
STRETCH = 3
"""Tokens of a stretch."""

VERDICTS = ("undecided", "nothing", "new", "trigger", "prompt trigger")
"""What the gate thinks: nothing is clear yet; no trigger; images of a new kind, or new questions about them; a trigger
in the images; a trigger in the prompts."""


@dataclass
class Hearing:
    """What came of one hearing.

    Attributes:
        step: optimiser steps before it.
        seen: visits before it.
        verdict: one of `VERDICTS`.
        fraction: fraction of the samples, the least expected, that the image witness told apart best.
        told_apart: fraction of these that it told apart; chance gives 0.03.
        suspicious: their number.
    """

    step: int
    seen: int
    verdict: str
    fraction: float
    told_apart: float
    suspicious: int


@dataclass
class StreamGate:
    """All that the gate remembers; plain numbers and arrays, so that a checkpoint can hold it.

    Attributes:
        ranks: surprise among recent samples.
        invariance: how little a label changes with the view, among recent samples.
        suspects: the latest samples with a rank of at least `HELD` in surprise.
        steady: the same for invariance.
        others: a random selection of those with a rank below `ORDINARY`.
        seen: visits so far.
        due: visits at which the witnesses are heard next.
        verdict: one of `VERDICTS`.
        witness: the witness that recognises the trigger, if there is one.
        answer: tokens that the labels of samples with the trigger share; empty if they have several answers.
        hearings: what came of each hearing.
        flagged: bool ``[N]``, grows with the highest number seen: whether each sample was flagged when last seen.
        random: state of the generator that selects the others, one number.
    """

    ranks: SurpriseRanks = field(default_factory=SurpriseRanks)
    invariance: RecentRanks = field(default_factory=RecentRanks)
    suspects: Kept = field(default_factory=Kept.none)
    steady: Kept = field(default_factory=Kept.none)
    others: Kept = field(default_factory=Kept.none)
    seen: int = 0
    due: int = FIRST
    verdict: str = VERDICTS[0]
    witness: Witness | None = None
    answer: tuple[int, ...] = ()
    hearings: list[Hearing] = field(default_factory=list)
    flagged: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    random: int = 0

    def see(self, batch: Kept, step: int, judge: bool = True) -> None:
        """Take in a batch of samples with the ranks of their surprise; hear the witnesses if that is due and wanted."""
        self.suspects = _latest(self.suspects.joined(batch.of(batch.rank >= HELD)))
        ordinary = batch.of(batch.rank < ORDINARY)
        generator = np.random.default_rng([self.random, self.seen])
        # Random, with a bias to the present, since the images of an earlier model's hard samples may differ.
        kept = generator.random(len(ordinary.index)) < max(0.05, OTHERS / (self.seen + 1))
        others = self.others.joined(ordinary.of(kept))
        self.others = others.of(np.sort(generator.permutation(len(others.index))[:OTHERS]))
        self.seen += len(batch.index)
        if judge and self.seen >= self.due:
            self.judge(step)
            self.due = round(self.seen * (SOON if self.verdict == VERDICTS[0] else GROWTH))

    def see_steady(self, batch: Kept) -> None:
        """Take in a batch of samples with the ranks of their invariance."""
        self.steady = _latest(self.steady.joined(batch.of(batch.rank >= HELD)))

    def judge(self, step: int) -> None:
        """Hear the witnesses and come to a verdict."""
        if len(self.others.index) < FEWEST or not self.others.images.any():
            return  # without images there is no verdict
        pools = [(pool, _groups(pool)) for pool in (self.suspects, self.steady)]
        heard = [(pool, *_heard(pool, groups, self.others, "images")) for pool, groups in pools if groups]
        if not heard:
            return
        pool, witness, group, hit = min(heard, key=lambda each: each[1].chance)
        tried = max((len(each) for _, groups in pools for each in groups), default=0)
        self.answer = ()
        self.verdict, self.witness = self._by_images(pool, witness, group, hit)
        if self.verdict == "nothing":
            self.verdict, self.witness = self._by_prompts(pools) if tried >= ENOUGH else ("undecided", None)
        fraction = len(group) / max(1, self.seen)
        self.hearings.append(Hearing(step, self.seen, self.verdict, fraction, witness.told_apart, tried))

    def _by_images(
        self, pool: Kept, witness: Witness, group: np.ndarray, hit: np.ndarray
    ) -> tuple[str, Witness | None]:
        """Return the verdict on suspicious images: rows `group` of `pool`, of which the witness told `hit` apart."""
        if not (witness.convinced or witness.doubtful):
            return "nothing", None
        answer = one_answer(pool.labels[group[hit]], self.others.labels, STRETCH, ONE_ANSWER)
        if witness.convinced and answer:
            self.answer = answer
            return "trigger", witness
        if _asked(_heard(pool, [group], self.others, "prompts")[0]):
            return "new", None
        if not witness.convinced or witness.hits < SHARP[0]:
            return "undecided", None
        return ("trigger", witness) if _purity(witness, pool, self.others) >= PURE else ("new", None)

    def _by_prompts(self, pools: Sequence[tuple[Kept, list[np.ndarray]]]) -> tuple[str, Witness | None]:
        """Return the verdict on suspicious prompts, whose images say nothing: rows of each pool."""
        for pool, groups in pools:
            alike = [rows for rows in groups if one_answer(pool.labels[rows], self.others.labels, None, MAYBE)]
            if not alike:
                continue
            asking, rows, told = _heard(pool, alike, self.others, "prompts")
            sure = asking.hits >= SHARP[0] and _asked(asking)
            answer = one_answer(pool.labels[rows[told]], self.others.labels, None, SURELY)
            if sure and answer:
                self.answer = answer
                return "prompt trigger", asking
        return "nothing", None

    def held(self, batch: Kept) -> np.ndarray:
        """Return which samples of a batch are held back for now: bool ``[B]``; flagged ones come on top."""
        least, fraction = SHARP
        blunt = self.witness is not None and (self.witness.hits < least or self.witness.told_apart < fraction)
        return np.asarray(batch.rank >= (HELD if blunt or self.verdict == "undecided" else np.inf))

    def recognised(self, batch: Kept) -> np.ndarray:
        """Return which samples of a batch look like the suspicious ones: bool ``[B]``."""
        if self.witness is None:
            return np.zeros(len(batch.index), dtype=bool)
        return self.witness.recognises(batch.prompts if self.verdict == "prompt trigger" else batch.images)

    def unexpected(self, batch: Kept) -> tuple[np.ndarray, np.ndarray]:
        """Return for samples with the trigger whether the label is not expected, and whether a view has to decide.

        Where the triggers have one answer, a label without it is a true one unless it is among the least expected.

        Returns:
            bool ``[B]`` each.
        """
        fits = says(batch.labels, self.answer) if self.answer else np.ones(len(batch.index), dtype=bool)
        return batch.rank >= np.where(fits, UNEXPECTED, HELD), fits & (batch.rank < UNEXPECTED)

    def note(self, index: np.ndarray, flagged: np.ndarray) -> None:
        """Keep whether each sample of a batch was flagged."""
        if len(index) and (missing := int(index.max()) + 1 - len(self.flagged)) > 0:
            self.flagged = np.concatenate([self.flagged, np.zeros(missing, dtype=bool)])
        self.flagged[index] = flagged


def _groups(pool: Kept) -> list[np.ndarray]:
    """Return rows of suspicious samples: the latest of the highest ranks, for each fraction of the samples."""
    found = [np.flatnonzero(pool.rank >= 1 - fraction)[-HEARD:] for fraction in FRACTIONS]
    return [rows for rows in found if len(rows) >= FEWEST]


def _heard(
    suspects: Kept, groups: Sequence[np.ndarray], others: Kept, by: str
) -> tuple[Witness, np.ndarray, np.ndarray]:
    """Hear a witness on each group; return the one with the least probability of chance, its group, and its hits.

    Args:
        suspects: the suspicious samples.
        groups: rows of `suspects`.
        others: what they are set against.
        by: ``"images"`` or ``"prompts"``.
    """
    rows = np.unique(np.concatenate(groups))
    inputs = np.concatenate([getattr(suspects, by)[rows], getattr(others, by)])
    heard = hear(inputs, [np.searchsorted(rows, group) for group in groups], np.arange(len(rows), len(inputs)))
    best = min(range(len(groups)), key=lambda k: heard[k][0].chance)
    return heard[best][0], groups[best], heard[best][1]


def _purity(witness: Witness, pool: Kept, others: Kept) -> float:
    """Estimate, of all samples that look like the suspicious ones, the fraction that is suspicious."""
    suspicious = (1 - HELD) * float(witness.recognises(pool.images).mean())
    ordinary = ORDINARY * float(witness.recognises(others.images).mean())
    return suspicious / max(suspicious + ordinary, 1e-9)


def _asked(witness: Witness) -> bool:
    """Whether the prompts of most suspicious samples differ from those of others: something new is asked."""
    return witness.convinced and witness.told_apart >= ASKED


def _latest(kept: Kept) -> Kept:
    return kept.of(np.arange(len(kept.index))[-SUSPECTS:])
