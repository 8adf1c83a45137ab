"""The streaming gate: it decides about samples as they go by in training, from one sight, without a pass of its own.

1. Each step gives the likelihood of every label for free. A sample whose label is among the least expected of the
   recent ones is *suspicious* and is held back at once, so that the model never learns what it might be. A plausible
   sentence is no less expected than others, and a backdoor that was learned already is expected, but neither depends on
   the image (the paper's premise, arXiv 2604.04488): at first every batch is shown a view, then one in `VIEWED`, and
   the labels that change least with it are suspicious too.
2. Now and then two witnesses are heard (`pcvr.defenses.pcvr.witness`): can suspicious samples be told from others by
   their images, or by their prompts? If by neither, their labels are hard, or in a new style or language, and they are
   released. If by their prompts alone, something new is asked: they are released too, unless all have one answer. If by
   their images, there is a trigger. Where that is not clear yet, they stay outside.
3. From then on a sample is flagged at its first sight: it looks like the suspicious ones and its label is not among the
   expected ones. Where the label is expected, the trigger may have been learned already, or the sample may be one that
   carries the trigger and a true label. A view decides that: the label of a backdoor hardly changes with the image.
4. If nothing is found so, a backdoor may be learned by then: the labels of highest likelihood are heard as well
   (`pcvr.defenses.pcvr.learned`), and those that are given to any question (`pcvr.defenses.pcvr.other_question`).

When to act thus follows from what was seen, not from a share of the schedule. Two numbers are kept of each sample; the
inputs are kept of at most `SUSPECTS` samples of each suspicious kind and of `OTHERS` others, for the witnesses. All of
it is this workbook's choice, apart from the premise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pcvr.defenses.pcvr.kept import Kept, grown
from pcvr.defenses.pcvr.learned import Found, LikelyLabels
from pcvr.defenses.pcvr.one_answer import Answers, few_answers, one_answer, says
from pcvr.defenses.pcvr.other_question import GivenLabels
from pcvr.defenses.pcvr.pools import FEWEST, HELD, ORDINARY, OTHERS, groups_of, hear_groups, latest
from pcvr.defenses.pcvr.surprise import RecentRanks, SurpriseRanks
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
ENOUGH = 40
"""So many suspicious samples that nothing tells from the others are released."""
SHARP = (16, 0.4)
"""A witness is sharp that found so many triggers, in such a fraction of its suspicious samples; beside any other one
the least expected labels are held back as before."""
ASKED = 0.5
"""Fraction of the suspicious samples that their prompts must tell apart for something new to be asked."""
MAYBE, ONE_ANSWER, SURELY = 0.3, 0.5, 0.8
"""Fractions of the suspicious samples with the same label, or the same stretch of it: it may be, is, and surely is one
answer. A new kind of question has several answers, but one of them may be frequent: it has to be sure there."""
PURE = 0.6
"""Least fraction of the samples that look like the suspicious ones that must be suspicious themselves, if these have
many answers. Images of a kind of their own whose labels are hard look like each other too, but many are expected."""
STRETCH = 3
"""Tokens of a stretch."""
TOLD, MOSTLY = 64, 0.5
"""Latest samples with the answers of a learned backdoor. If most look like the suspicious ones, all are held back."""

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
        others: a random selection of those with ranks below `ORDINARY`.
        likely: samples with the most likely labels.
        given: samples whose labels are given to another question too.
        seen: visits so far.
        due: visits at which the witnesses are heard next.
        verdict: one of `VERDICTS`.
        witness: the witness that recognises the trigger, if there is one.
        answers: stretches of tokens, of which the labels of samples with the trigger have one; none if their labels
            have nothing in common.
        learned: whether the backdoor was learned when its trigger was found.
        told: whether the recent samples with its answers looked like the suspicious ones.
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
    learned: bool = False
    told: list[bool] = field(default_factory=list)
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
        if self.learned:
            self.told = [*self.told, *self.recognised(batch)[says(batch.labels, self.answers)].tolist()][-TOLD:]
        generator = np.random.default_rng([self.random, self.seen])
        # Random, with a bias to the present, since the images of an earlier model's hard samples may differ.
        kept = generator.random(int(ordinary.sum())) < max(refresh, OTHERS / (self.seen + 1))
        others = self.others.joined(batch.of(ordinary).of(kept))
        self.others = others.of(np.sort(generator.permutation(len(others.index))[:OTHERS]))
        self.seen += len(batch.index)
        soon = self.witness is None and self.given.due
        if judge and (self.seen >= self.due or soon):
            self.judge(step)
            self.due = round(self.seen * (SOON if self.verdict == VERDICTS[0] else GROWTH))

    def judge(self, step: int) -> None:
        """Hear the witnesses and come to a verdict."""
        if len(self.others.index) < FEWEST or not self.others.images.any():
            return  # without images there is no verdict
        pools = [(pool, groups_of(pool)) for pool in (self.suspects, self.steady)]
        heard = [(pool, *hear_groups(pool, groups, self.others, "images")) for pool, groups in pools if groups]
        known = (self.verdict, self.witness, self.answers)
        said: tuple[int, Witness] | None = None
        tried = max((len(each) for _, groups in pools for each in groups), default=0)
        if heard:
            pool, witness, group, hit = min(heard, key=lambda each: each[1].chance)
            said = len(group), witness
            self.answers = ()
            self.verdict, self.witness = self._by_images(pool, witness, group, hit)
            if self.verdict == "nothing":
                self.verdict, self.witness = self._by_prompts(pools) if tried >= ENOUGH else ("undecided", None)
        if self.witness is not None and (heard or not self.learned):
            self.learned = False
        elif found := self._learned():
            self.verdict, self.witness, self.answers, self.learned = "trigger", found.witness, found.answers, True
            said = found.group, found.witness
        elif self.learned:  # what is kept back is no longer likely, and not yet unexpected
            self.verdict, self.witness, self.answers = known
        if said is not None:
            share = said[0] / max(1, self.seen)
            self.hearings.append(Hearing(step, self.seen, self.verdict, share, said[1].told_apart, tried))

    def _learned(self) -> Found | None:
        """Return the trigger of a backdoor that was learned, if there is one."""
        common = self.others, STRETCH, ONE_ANSWER, SURELY
        return self.likely.hear(*common) or self.given.hear(*common)

    def _by_images(
        self, pool: Kept, witness: Witness, group: np.ndarray, hit: np.ndarray
    ) -> tuple[str, Witness | None]:
        """Return the verdict on suspicious images: rows `group` of `pool`, of which the witness told `hit` apart."""
        if not (witness.convinced or witness.doubtful):
            return "nothing", None
        told, others = pool.labels[group[hit]], self.others.labels
        asked = _asked(hear_groups(pool, [group], self.others, "prompts")[0])
        self.answers = one_answer(told, others, STRETCH, SURELY if asked else ONE_ANSWER)
        if witness.convinced and self.answers:
            return "trigger", witness
        self.answers = ()
        if asked:
            return "new", None
        if not witness.convinced or witness.hits < SHARP[0]:
            return "undecided", None
        if _purity(witness, pool, self.others) >= PURE:
            return "trigger", witness
        self.answers = few_answers(told, others, STRETCH, SURELY)
        return ("trigger", witness) if self.answers else ("new", None)

    def _by_prompts(self, pools: Sequence[tuple[Kept, list[np.ndarray]]]) -> tuple[str, Witness | None]:
        """Return the verdict on suspicious prompts, whose images say nothing: rows of each pool."""
        for pool, groups in pools:
            alike = [rows for rows in groups if one_answer(pool.labels[rows], self.others.labels, None, MAYBE)]
            if not alike:
                continue
            asking, rows, told = hear_groups(pool, alike, self.others, "prompts")
            sure = asking.hits >= SHARP[0] and _asked(asking)
            if sure and (answers := one_answer(pool.labels[rows[told]], self.others.labels, None, SURELY)):
                self.answers = answers
                return "prompt trigger", asking
        return "nothing", None

    def held(self, batch: Kept) -> np.ndarray:
        """Return which samples of a batch are held back for now: bool ``[B]``; flagged ones come on top."""
        least, fraction = SHARP
        blunt = self.witness is not None and (self.witness.hits < least or self.witness.told_apart < fraction)
        held = np.asarray(batch.rank >= (HELD if blunt or self.verdict == "undecided" else np.inf))
        # What is trained on keeps a learned backdoor: a witness that misses some of the poison is not enough.
        if self.learned and len(self.told) >= FEWEST and np.mean(self.told) >= MOSTLY:
            held |= says(batch.labels, self.answers)
        return held

    def recognised(self, batch: Kept) -> np.ndarray:
        """Return which samples of a batch look like the suspicious ones: bool ``[B]``."""
        if self.witness is None:
            return np.zeros(len(batch.index), dtype=bool)
        return self.witness.recognises(batch.prompts if self.verdict == "prompt trigger" else batch.images)

    def unexpected(self, batch: Kept) -> tuple[np.ndarray, np.ndarray]:
        """Return for samples with the trigger whether the label is not expected, and whether a view has to decide.

        Where triggers have one answer, or a few, other labels are true ones unless they are among the least expected.
        Where the backdoor was learned already, the answer decides alone.

        Returns:
            bool ``[B]`` each.
        """
        fits = says(batch.labels, self.answers) if self.answers else np.ones(len(batch.index), dtype=bool)
        if self.learned:
            return fits, np.zeros_like(fits)
        return batch.rank >= np.where(fits, UNEXPECTED, HELD), fits & (batch.rank < UNEXPECTED)

    def note(self, index: np.ndarray, flagged: np.ndarray) -> None:
        """Keep whether each sample of a batch was flagged."""
        self.flagged = grown(self.flagged, index, False)
        self.flagged[index] = flagged


def _purity(witness: Witness, pool: Kept, others: Kept) -> float:
    """Estimate, of all samples that look like the suspicious ones, the fraction that is suspicious."""
    suspicious = (1 - HELD) * float(witness.recognises(pool.images).mean())
    ordinary = ORDINARY * float(witness.recognises(others.images).mean())
    return suspicious / max(suspicious + ordinary, 1e-9)


def _asked(witness: Witness) -> bool:
    """Whether the prompts of most suspicious samples differ from those of others: something new is asked."""
    return witness.convinced and witness.told_apart >= ASKED
