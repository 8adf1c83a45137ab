"""The streaming gate: it decides about samples as they go by in training, from one sight, without a pass of its own.

1. Each step gives the likelihood of every label for free. A sample whose label is among the least expected of the
   recent ones is *suspicious* and is held back at once, so that the model never learns what it might be. A plausible
   sentence is no less expected than others, and a backdoor that was learned already is expected, but neither depends on
   the image (the paper's premise, arXiv 2604.04488): at first every batch is shown a view, then one in `VIEWED`, and
   the labels that change least with it are suspicious too.
2. Now and then two witnesses are heard (`pcvr.defenses.pcvr.witness`): can suspicious samples be told from others by
   their images, or by their prompts? If by neither, their labels are hard, or in a new style or language, and they are
   released. If by their prompts alone, something new is asked: they are released too, unless all have one answer. If by
   their images, there is a trigger; it may lie in a fixed place or anywhere (`pcvr.defenses.pcvr.anywhere`). Where that
   is not clear yet, they stay outside.
3. From then on a sample is flagged at its first sight: it looks like the suspicious ones and its label is not among the
   expected ones. Where the label is expected, the trigger may have been learned already, or the sample may be one that
   carries the trigger and a true label. A view decides that: the label of a backdoor hardly changes with the image.
4. Several attackers may have been at the data: what the first trigger leaves of the suspicious samples is heard again.
5. If nothing is found so, a backdoor may be learned by then: the labels of highest likelihood are heard as well
   (`pcvr.defenses.pcvr.learned`), and those that are given to any question (`pcvr.defenses.pcvr.other_question`).

When to act thus follows from what was seen, not from a share of the schedule. Two numbers are kept of each sample; the
inputs are kept of at most `SUSPECTS` samples of each suspicious kind and of `OTHERS` others, for the witnesses. All of
it is this workbook's choice, apart from the premise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from pcvr.defenses.pcvr.anywhere import Ordinary
from pcvr.defenses.pcvr.kept import Kept, grown
from pcvr.defenses.pcvr.learned import Found, LikelyLabels
from pcvr.defenses.pcvr.one_answer import Answers, says
from pcvr.defenses.pcvr.other_question import GivenLabels
from pcvr.defenses.pcvr.pools import FEWEST, HELD, ORDINARY, OTHERS, latest
from pcvr.defenses.pcvr.surprise import RecentRanks, SurpriseRanks
from pcvr.defenses.pcvr.verdicts import (
    ENOUGH,
    ONE_ANSWER,
    SHARP,
    STRETCH,
    SURELY,
    VERDICTS,
    Trigger,
    Verdict,
    further_triggers,
    hear_all,
    may_be_heard,
    most_in,
    with_groups,
)
from pcvr.defenses.pcvr.witness import Witness

EARLY, VIEWED = 512, 8
"""So many visits are all shown a view, and then one batch in so many."""
EXCHANGED = 2
"""Unless a trigger is found before it is learned, one batch in so many exchanges questions."""
REFRESH = 0.05
"""Least fraction of the visits that take the place of an earlier one among the others."""
UNEXPECTED = 0.6
"""Rank from which a label counts as not expected."""
FIRST, GROWTH, SOON = 128, 1.35, 1.2
"""Samples before the first hearing; growth of their number from one hearing to the next; and where nothing is clear."""
CROWD = 0.1
"""Weight of a batch in the running mean of samples with the trigger."""
TOLD, MOSTLY = 64, 0.5
"""Latest samples with the answers of a learned backdoor. If most look like the suspicious ones, all are held back."""


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
        further: triggers found beside the first one.
    """

    step: int
    seen: int
    verdict: str
    fraction: float
    told_apart: float
    suspicious: int
    further: int = 0


@dataclass
class StreamGate:
    """All that the gate remembers; plain numbers and arrays, so that a checkpoint can hold it.

    Attributes:
        ranks: surprise among recent samples.
        invariance: how little a label changes with the view, among recent samples.
        suspects: the latest samples with a rank of at least `HELD` in surprise.
        steady: the same for invariance.
        others: a random selection of those with ranks below `ORDINARY`.
        likely: samples with the most likely labels.
        given: samples whose labels are given to another question too.
        seen: visits so far.
        due: visits at which the witnesses are heard next.
        verdict: one of `VERDICTS`.
        witness: the witness that recognises the trigger, if there is one.
        answers: stretches of tokens, of which the labels of samples with the trigger have one; none if their labels
            have nothing in common.
        further: triggers that were found beside the first one.
        doubt: whether there may be another one.
        learned: whether the backdoor was learned when its trigger was found.
        told: whether the recent samples with its answers looked like the suspicious ones.
        crowd: running mean of the fraction of a batch that looks like the suspicious ones.
        hearings: what came of each hearing.
        flagged: bool ``[N]``, grows with the highest number seen: whether each sample was flagged when last seen.
        random: state of the generator that selects the others, one number.
    """

    ranks: SurpriseRanks = field(default_factory=SurpriseRanks)
    invariance: RecentRanks = field(default_factory=RecentRanks)
    suspects: Kept = field(default_factory=Kept.none)
    steady: Kept = field(default_factory=Kept.none)
    others: Kept = field(default_factory=Kept.none)
    likely: LikelyLabels = field(default_factory=LikelyLabels)
    given: GivenLabels = field(default_factory=GivenLabels)
    seen: int = 0
    due: int = FIRST
    verdict: str = VERDICTS[0]
    witness: Witness | None = None
    answers: Answers = ()
    further: list[Trigger] = field(default_factory=list)
    doubt: bool = False
    learned: bool = False
    told: list[bool] = field(default_factory=list)
    crowd: float = 0.0
    hearings: list[Hearing] = field(default_factory=list)
    flagged: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    random: int = 0

    def wants_views(self, step: int) -> bool:
        """Return whether the batch of a step is to be shown a view."""
        return self.seen < EARLY or step % VIEWED == 0

    def wants_questions(self, step: int) -> bool:
        """Return whether the samples of a step's batch are to exchange questions."""
        return (self.witness is None or self.learned) and (self.seen < EARLY or step % EXCHANGED == 0)

    def see(
        self,
        batch: Kept,
        step: int,
        judge: bool = True,
        steady: np.ndarray | None = None,
        likely: np.ndarray | None = None,
        given: np.ndarray | None = None,
    ) -> None:
        """Take in a batch; hear the witnesses if that is due and wanted.

        Args:
            batch: samples with the ranks of their surprise.
            step: optimiser steps so far.
            judge: whether witnesses are heard at all.
            steady: ``[B]``, the ranks of their invariance; None if the batch was shown no view. Once batches are shown
                views, only those give samples to the others: poison may be as expected as they are.
            likely: ``[B]``, the ranks of their labels' likelihoods; None if these do not count.
            given: ``[B]``, the likelihoods of their labels where another question is asked, NaN where none was; None if
                the samples exchanged no questions.
        """
        self.suspects = latest(self.suspects.joined(batch.of(batch.rank >= HELD)))
        ordinary, refresh = batch.rank < ORDINARY, REFRESH
        if steady is not None:
            self.steady = latest(self.steady.joined(replace(batch, rank=steady).of(steady >= HELD)))
            ordinary &= steady < ORDINARY
            refresh *= VIEWED
        elif self.invariance.recent:
            ordinary[:] = False
        if likely is not None:
            self.likely.take_in(batch, likely)
        if given is not None:
            self.given.take_in(batch, given)
        known = self.recognised(batch)
        self.crowd += CROWD * (float(known.mean()) - self.crowd)
        if self.learned:
            self.told = [*self.told, *known[says(batch.labels, self.answers)].tolist()][-TOLD:]
        generator = np.random.default_rng([self.random, self.seen])
        # Random, with a bias to the present, since the images of an earlier model's hard samples may differ.
        kept = generator.random(int(ordinary.sum())) < max(refresh, OTHERS / (self.seen + 1))
        others = self.others.joined(batch.of(ordinary).of(kept))
        self.others = others.of(np.sort(generator.permutation(len(others.index))[:OTHERS]))
        self.seen += len(batch.index)
        soon = self.witness is None and self.given.due
        if judge and (self.seen >= self.due or soon):
            self.judge(step)
            self.due = round(self.seen * (SOON if self.doubt or self.verdict == VERDICTS[0] else GROWTH))

    def judge(self, step: int) -> None:
        """Hear the witnesses and come to a verdict."""
        if not may_be_heard(self.others):
            return
        pools = with_groups((self.suspects, self.steady))
        tried = most_in(pools)
        known = Verdict(self.verdict, self.witness, self.answers)
        said: tuple[int, Witness] | None = None
        usual = cache(lambda: Ordinary.of(self.others.images))
        if heard := hear_all(pools, self.others, usual):
            verdict, witness, suspicious = heard
            said = suspicious, witness
            early = verdict.name == "nothing" and tried < ENOUGH
            self.verdict, self.witness, self.answers = Verdict("undecided") if early else verdict
        if self.witness is not None and (heard or not self.learned):
            self.learned = False
        elif found := self._learned():
            self.verdict, self.witness, self.answers, self.learned = "trigger", found.witness, found.answers, True
            said = found.group, found.witness
        elif self.learned:  # what is kept back is no longer likely, and not yet unexpected
            self.verdict, self.witness, self.answers = known
        if self.witness is None or self.learned:
            self.further, self.doubt = [], False
        elif heard:
            first = Trigger(self.witness, self.answers, self._looks_at)
            both = self.suspects, self.steady
            self.further, self.doubt = further_triggers(both, self.others, usual, first, self.further)
        if said is not None:
            share = said[0] / max(1, self.seen)
            told = said[1].told_apart
            self.hearings.append(Hearing(step, self.seen, self.verdict, share, told, tried, len(self.further)))

    def _learned(self) -> Found | None:
        """Return the trigger of a backdoor that was learned, if there is one."""
        common = self.others, STRETCH, ONE_ANSWER, SURELY
        return self.likely.hear(*common) or self.given.hear(*common)

    def held(self, batch: Kept) -> np.ndarray:
        """Return which samples of a batch are held back for now: bool ``[B]``; flagged ones come on top."""
        least, fraction = SHARP
        blunt = self.witness is not None and (self.witness.hits < least or self.witness.told_apart < fraction)
        unclear = blunt or self.doubt or self.verdict == "undecided"
        held = np.asarray(batch.rank >= (HELD if unclear else np.inf))
        # What is trained on keeps a learned backdoor: a witness that misses some of the poison is not enough.
        if self.learned and len(self.told) >= FEWEST and np.mean(self.told) >= MOSTLY:
            held |= says(batch.labels, self.answers)
        return held

    @property
    def _looks_at(self) -> str:
        return Verdict(self.verdict).by

    def recognised(self, batch: Kept) -> np.ndarray:
        """Return which samples of a batch look like the suspicious ones: bool ``[B]``."""
        if self.witness is None:
            return np.zeros(len(batch.index), dtype=bool)
        known = self.witness.recognises(getattr(batch, self._looks_at))
        return np.logical_or.reduce([known, *(trigger.recognises(batch) for trigger in self.further)])

    def unexpected(self, batch: Kept) -> tuple[np.ndarray, np.ndarray]:
        """Return for samples with the trigger whether the label is not expected, and whether a view has to decide.

        Where triggers have one answer, or a few, other labels are true ones unless they are among the least expected.
        Where the backdoor was learned already, the answer decides alone; so it does where more samples have the trigger
        than can be among the least expected, since then no rank tells them.

        Returns:
            bool ``[B]`` each.
        """
        fits = says(batch.labels, self.answers) if self.answers else np.ones(len(batch.index), dtype=bool)
        for trigger in self.further:
            fits |= trigger.fits(batch)
        if self.learned or (self.answers and self.crowd > 1 - HELD):
            return fits, np.zeros_like(fits)
        return batch.rank >= np.where(fits, UNEXPECTED, HELD), fits & (batch.rank < UNEXPECTED)

    def note(self, index: np.ndarray, flagged: np.ndarray) -> None:
        """Keep whether each sample of a batch was flagged."""
        self.flagged = grown(self.flagged, index, False)
        self.flagged[index] = flagged
