"""What a hearing comes to: a trigger in images or prompts, something new, nothing, or nothing clear yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pcvr.defenses.pcvr.anywhere import Ordinary, hear_anywhere
from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.one_answer import Answers, few_answers, one_answer, says
from pcvr.defenses.pcvr.pools import FEWEST, HEARD, HELD, ORDINARY, groups_of, hear_groups
from pcvr.defenses.pcvr.witness import Witness

VERDICTS = ("undecided", "nothing", "new", "trigger", "prompt trigger")
"""What the gate thinks: nothing is clear yet; no trigger; images of a new kind, or new questions about them; a trigger
in the images; a trigger in the prompts."""
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
TRIGGERS = 4
"""Most triggers at a time: several attackers may have been at the data."""

Heard = tuple[Kept, Witness, np.ndarray, np.ndarray]
"""A pool, the witness that tells most of it apart, the group of rows that it was fitted to, and its hits."""
Usual = Callable[[], Ordinary | None]
Pools = Sequence[tuple[Kept, list[np.ndarray]]]
"""Pools of suspicious samples, each with the groups of rows that are heard."""


class Verdict(NamedTuple):
    """What came of a hearing.

    Attributes:
        name: one of `VERDICTS`.
        witness: recognises the trigger, if there is one.
        answers: stretches of tokens, of which the labels of samples with the trigger have one; none if they have
            nothing in common.
    """

    name: str
    witness: Witness | None = None
    answers: Answers = ()

    @property
    def by(self) -> str:
        """What the witness looks at: ``"images"`` or ``"prompts"``."""
        return "prompts" if self.name == "prompt trigger" else "images"


@dataclass
class Trigger:
    """A trigger that was found beside the first one.

    Attributes:
        witness: recognises it.
        answers: as of `Verdict`.
        by: ``"images"`` or ``"prompts"``, what the witness looks at.
    """

    witness: Witness
    answers: Answers
    by: str

    def recognises(self, batch: Kept) -> np.ndarray:
        """Return which samples have the trigger: bool ``[B]``."""
        return self.witness.recognises(getattr(batch, self.by))

    def fits(self, batch: Kept) -> np.ndarray:
        """Return which samples have the trigger and one of its answers, if it has any: bool ``[B]``."""
        return self.recognises(batch) & (says(batch.labels, self.answers) if self.answers else True)


def with_groups(pools: Sequence[Kept]) -> Pools:
    """Return each pool with the groups of rows that are heard."""
    return [(pool, groups_of(pool)) for pool in pools]


def clearest(pools: Pools, others: Kept | Ordinary) -> Heard | None:
    """Return the pool on which a witness of images tells most apart, the witness, its group and its hits; or None.

    Args:
        pools: suspicious samples.
        others: what they are set against: samples for a witness of fixed places, what is usual for one of any places.
    """
    heard: list[Heard] = []
    for pool, groups in pools:
        if groups:
            if isinstance(others, Ordinary):
                heard.append((pool, *hear_anywhere(pool, groups, others)))
            else:
                heard.append((pool, *hear_groups(pool, groups, others, "images")))
    return min(heard, key=lambda each: each[1].chance) if heard else None


def by_images(
    pool: Kept, witness: Witness, group: np.ndarray, hit: np.ndarray, others: Kept, size: int | None = None
) -> Verdict:
    """Return the verdict on suspicious images: rows `group` of `pool`, of which the witness told `hit` apart.

    Args:
        pool: suspicious samples.
        witness: fitted to the group.
        group: rows of the pool.
        hit: bool, one for each row.
        others: what they were set against.
        size: of the whole pool, if `pool` is a part of it.
    """
    if not (witness.convinced or witness.doubtful):
        return Verdict("nothing")
    told = pool.labels[group[hit]]
    asked = _asked(hear_groups(pool, [group], others, "prompts")[0])
    answers = one_answer(told, others.labels, STRETCH, SURELY if asked else ONE_ANSWER)
    if witness.convinced and answers:
        return Verdict("trigger", witness, answers)
    if asked:
        return Verdict("new")
    if not witness.convinced or witness.hits < SHARP[0]:
        return Verdict("undecided")
    if _purity(witness, pool, others, size or len(pool.index)) >= PURE:
        return Verdict("trigger", witness)
    answers = few_answers(told, others.labels, STRETCH, SURELY)
    return Verdict("trigger", witness, answers) if answers else Verdict("new")


def by_places(heard: Heard, others: Kept, size: int | None = None) -> Verdict:
    """Return the verdict on what is unusual in suspicious images, wherever it is: `heard` is of `clearest`.

    What is in an image goes with what is said of it. So this is a trigger only if hardly any honest image has it, also
    where the labels are one answer.
    """
    verdict = by_images(*heard, others, size)
    if verdict.name == "new":
        return Verdict("nothing")
    if verdict.witness and _purity(verdict.witness, heard[0], others, size or len(heard[0].index)) < PURE:
        return Verdict("nothing")
    return verdict


def by_prompts(pools: Pools, others: Kept) -> Verdict:
    """Return the verdict on suspicious prompts, whose images say nothing: rows of each pool."""
    for pool, groups in pools:
        alike = [rows for rows in groups if one_answer(pool.labels[rows], others.labels, None, MAYBE)]
        if not alike:
            continue
        asking, rows, told = hear_groups(pool, alike, others, "prompts")
        sure = asking.hits >= SHARP[0] and _asked(asking)
        if sure and (answers := one_answer(pool.labels[rows[told]], others.labels, None, SURELY)):
            return Verdict("prompt trigger", asking, answers)
    return Verdict("nothing")


def most_in(pools: Pools) -> int:
    """Return the number of samples in the largest group."""
    return max((len(rows) for _, groups in pools for rows in groups), default=0)


def hear_all(pools: Pools, others: Kept, usual: Usual) -> tuple[Verdict, Witness, int] | None:
    """Hear the witnesses one after the other: fixed places of images, any places, and if both say nothing, prompts.

    Any places are looked at where fixed ones say nothing, or little although there are many suspicious samples.

    Args:
        pools: suspicious samples.
        others: what they are set against.
        usual: returns what is usual in images of the others.

    Returns:
        The verdict, the witness of images that was heard for it, and the number of samples that this one was fitted to;
        None if there are too few suspicious samples.
    """
    if (heard := clearest(pools, others)) is None:
        return None
    verdict, tried = by_images(*heard, others), most_in(pools)
    blunt = verdict.witness is not None and verdict.witness.told_apart < SHARP[1]
    if verdict.name == "nothing" or (verdict.name == "undecided" and tried >= ENOUGH) or (blunt and tried >= HEARD):
        ordinary = usual()
        if ordinary and (anywhere := clearest(pools, ordinary)):
            found = by_places(anywhere, others)
            clearer = found.witness and not (blunt and found.witness.chance > heard[1].chance)
            if clearer or (verdict.name, found.name) == ("nothing", "undecided"):
                verdict, heard = found, anywhere
    if verdict.name == "nothing" and tried >= ENOUGH:
        verdict = by_prompts(pools, others)
    return verdict, heard[1], len(heard[2])


def further_triggers(
    pools: Sequence[Kept], others: Kept, usual: Usual, first: Trigger, known: Sequence[Trigger] = ()
) -> tuple[list[Trigger], bool]:
    """Look for more triggers in what the first one leaves of the suspicious samples.

    The witness of any places has few columns and costs a tenth of that of fixed places, so this one is heard again only
    where images have no places.

    Args:
        pools: suspicious samples.
        others: what they are set against.
        usual: returns what is usual in images of the others.
        first: the trigger that was found.
        known: further triggers of the last time. One of them stays while it explains enough that the others leave.

    Returns:
        The further triggers, and whether there may be another one: so few samples are left that more will show.
    """
    whole = [pool for pool in pools if len(pool.index)]
    found, rest, doubt = [first], _left(whole, first), False
    while len(found) < TRIGGERS:
        groups = with_groups(rest)
        ordinary = usual()
        heard = clearest(groups, ordinary or others)
        if heard is None:
            break
        size = next(len(pool.index) for pool, part in zip(whole, rest, strict=True) if part is heard[0])
        verdict = by_places(heard, others, size) if ordinary else by_images(*heard, others, size)
        if verdict.name == "nothing" and most_in(groups) >= ENOUGH:
            verdict = by_prompts(groups, others)
        if verdict.witness is None:
            doubt = verdict.name == "undecided" and most_in(groups) < ENOUGH
            break
        trigger = Trigger(verdict.witness, verdict.answers, verdict.by)
        found, rest = [*found, trigger], _left(rest, trigger)
    for trigger in known:
        stands = any(_stands(trigger, part, others, len(pool.index)) for part, pool in zip(rest, whole, strict=True))
        if stands and len(found) < TRIGGERS:
            found, rest = [*found, trigger], _left(rest, trigger)
    return found[1:], doubt


def _left(pools: Sequence[Kept], trigger: Trigger) -> list[Kept]:
    """Return what a trigger does not explain: a sample that has it may still have an answer of another one."""
    return [pool.of(~trigger.fits(pool)) if len(pool.index) else pool for pool in pools]


def _stands(trigger: Trigger, rest: Kept, others: Kept, size: int) -> bool:
    """Whether a trigger still explains enough of the `rest` of a pool of a `size`, and hardly anything else."""
    if not len(rest.index) or trigger.fits(rest).sum() < FEWEST:
        return False
    if trigger.answers:
        return float(says(rest.labels[trigger.recognises(rest)], trigger.answers).mean()) >= ONE_ANSWER
    return _purity(trigger.witness, rest, others, size) >= PURE


def may_be_heard(others: Kept) -> bool:
    """Whether there is anything to set suspicious images against; without images there is no verdict."""
    return len(others.index) >= FEWEST and bool(others.images.any())


def _purity(witness: Witness, pool: Kept, others: Kept, size: int) -> float:
    """Estimate, of all samples that look like the suspicious ones, the fraction that is suspicious."""
    suspicious = (1 - HELD) * float(witness.recognises(pool.images).sum()) / size
    ordinary = ORDINARY * float(witness.recognises(others.images).mean())
    return suspicious / max(suspicious + ordinary, 1e-9)


def _asked(witness: Witness) -> bool:
    """Whether the prompts of most suspicious samples differ from those of others: something new is asked."""
    return witness.convinced and witness.told_apart >= ASKED
