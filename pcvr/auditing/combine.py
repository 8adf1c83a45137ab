"""One score a sample, and a threshold with the false alarms that are to be expected from the data's own clean bulk.

A score counts in powers of ten: how improbable a sample is among ordinary ones. It adds up three parts, each the
negative decimal logarithm of a fraction of ordinary samples: of those whose labels are as unexpected; and, for a sample
whose label has the answer of a finding, of those that have this answer, and of those that look as much like it. The
last one comes from a normal distribution that is fitted to the lower half of the ordinary samples' scores, which poison
does not reach.

Under the null hypothesis, in which looking like the trigger has nothing to do with the label, the last part of an
honest sample exceeds x with probability ``10^-x``. So a threshold t flags an honest sample whose other parts add up to
r with probability ``min(1, 10^(r - t))``, and the mean over all samples is the false-alarm rate to expect. No truth
about the data is used. All of it is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pcvr.auditing.evidence import OTHERS, Finding, Inputs, findings, wide
from pcvr.auditing.store import ScoreStore
from pcvr.auditing.surprise import Surprise, ranks
from pcvr.defenses.pcvr.anywhere import AnywhereWitness, Places
from pcvr.defenses.pcvr.inputs import WORDS
from pcvr.defenses.pcvr.one_answer import says
from pcvr.defenses.pcvr.pools import ORDINARY
from pcvr.defenses.pcvr.stream import UNEXPECTED
from pcvr.defenses.pcvr.witness import ridge

FALSE_ALARMS = 0.001
"""Default fraction of clean samples that may be flagged: one in a thousand."""
LARGEST = 6.0
"""Largest part of a score: a normal distribution says nothing about rarer things."""
TRIGGERS = 3
"""Most triggers that are looked for, one after the other."""
REFINED = 384
"""Most samples with the answer that the final classifier is fitted to."""
LIKENESS = 0.05
"""Largest fraction of ordinary samples that look as much like the trigger as a flagged one."""
EXPECTED = 0.5
"""Rank below which a label is expected: samples with a trigger's answer among these are honest for the most part."""
ENOUGH_HONEST = 10
"""So many of them tell how much honest samples with the answer look like the trigger."""
ONE_BELOW = 0.1587
"""Fraction of a normal distribution that lies more than a standard deviation below its middle."""
SOLID = 5
"""Fewest flagged samples of a trigger: fewer are within the reach of chance, and prove nothing."""


@dataclass(frozen=True)
class Verdict:
    """What an audit concludes.

    Attributes:
        scores: ``[N]``, powers of ten; high is suspicious.
        flagged: bool ``[N]``.
        trigger: ``[N]``, number of the trigger that a flagged sample belongs to, from 0; -1 for none.
        threshold: of the scores; infinite where there is no evidence.
        expected: fraction of clean samples that the threshold flags, as it is expected; 0 where there is no evidence.
        triggers: the findings that are evidence for poison.
        explained: what else was found and is no poison.
        directions: of each trigger ``(mean, scale, weights)`` of its classifier, to look for it in a picture.
        tests: groups that were tried.
    """

    scores: np.ndarray
    flagged: np.ndarray
    trigger: np.ndarray
    threshold: float
    expected: float
    triggers: tuple[Finding, ...] = ()
    explained: tuple[Finding, ...] = ()
    directions: tuple[Likeness, ...] = field(default=(), repr=False)
    tests: int = 0

    @property
    def evidence(self) -> bool:
        """Whether there is evidence for poison."""
        return bool(self.triggers)


@dataclass(frozen=True)
class Likeness:
    """A linear score of how much an input looks like a trigger, in robust standard deviations of ordinary samples.

    Attributes:
        mean: ``[D]``, of the inputs.
        scale: ``[D]``, standard deviations of the inputs.
        weights: ``[D]``.
        middle: median score of ordinary samples.
        spread: their standard deviation, from the lower half.
        by: ``"images"`` or ``"prompts"``.
        places: what is usual in each place of an image, if the score looks at what is not; the columns are then those
            of `Places.unusual`.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    middle: float
    spread: float
    by: str
    places: Places | None = None

    def of(self, inputs: np.ndarray) -> np.ndarray:
        """Return the score of each input: ``[B, D]`` -> ``[B]``."""
        rows = _columns(inputs, self.places)
        rows = wide(rows, len(self.mean)).astype(np.float32)
        return self.standard(((rows - self.mean) / self.scale) @ self.weights)

    def standard(self, values: np.ndarray) -> np.ndarray:
        """Return raw scores in standard deviations above the median."""
        return np.asarray((values - self.middle) / self.spread, dtype=np.float64)


def conclude(store: ScoreStore, surprise: Surprise, false_alarms: float = FALSE_ALARMS, seed: int = 0) -> Verdict:
    """Look for triggers, score all samples, and set the threshold.

    Args:
        store: the scores of all samples.
        surprise: of all labels.
        false_alarms: largest expected fraction of the clean samples that are flagged.
        seed: of the draw of the ordinary samples.
    """
    unexpected = _decades(1 - surprise.rank)
    scores, trigger = unexpected.copy(), np.full(store.count, -1)
    triggers: list[Finding] = []
    explained: list[Finding] = []
    ways: list[Likeness] = []
    threshold, expected, tests = np.inf, 0.0, 0
    while len(triggers) < TRIGGERS:
        found, tests = findings(store, surprise, seed, trigger >= 0, tests)
        explained = explained or [each for each in found if not each.poison]
        added = False
        for best in (each for each in found if each.poison):
            likeness, alike, matched, rare = _likeness(store, surprise, best, trigger >= 0, seed)
            rest = unexpected + np.where(matched, rare, 0.0)
            near = matched & (alike >= -np.log10(LIKENESS))
            limit, rate = threshold_of(rest[matched & ~near], store.count, false_alarms)
            flagged = near & (rest + alike >= limit) & (trigger < 0)
            if flagged.sum() < SOLID:
                continue
            trigger[flagged] = len(triggers)
            scores = np.where(matched, np.maximum(scores, rest + alike), scores)
            triggers.append(best)
            ways.append(likeness)
            threshold, expected, added = min(threshold, limit), expected + rate, True
            break
        if not added:
            break
    # A larger group around a trigger, diluted by honest samples, is not called innocent beside it.
    guilty = {answer for one in triggers for answer in one.answers}
    explained = [one for one in explained if guilty.isdisjoint(one.answers)]
    flagged = trigger >= 0
    if flagged.any() and scores[~flagged].max(initial=0.0) < scores[flagged].min():
        # A higher threshold, between the two, flags the same samples, and no more false alarms than expected.
        threshold = max(threshold, float(scores[~flagged].max(initial=0.0) + scores[flagged].min()) / 2)
    return Verdict(
        scores, trigger >= 0, trigger, float(threshold), float(expected), tuple(triggers), tuple(explained),
        tuple(ways), tests,
    )  # fmt: skip


def threshold_of(rest: np.ndarray, count: int, false_alarms: float) -> tuple[float, float]:
    """Return the least threshold whose expected false-alarm rate is small enough, and that rate.

    Args:
        rest: ``[M]``, the parts of the scores of honest samples with the answer that do not depend on the image.
        count: samples of the data; those without the answer are never flagged.
        false_alarms: largest rate.
    """
    floor = -np.log10(LIKENESS)
    # A sample has to look like the trigger whatever its other parts are: so the rate has this upper limit.
    grid = np.arange(0.0, 3 * LARGEST + 0.05, 0.05)
    rates = np.minimum(10.0 ** np.minimum(0.0, rest[:, None] - grid), LIKENESS).sum(0) / max(1, count)
    place = int(np.argmax(rates <= false_alarms))
    return max(float(grid[place]), floor), float(rates[place])


def _likeness(
    store: ScoreStore, surprise: Surprise, found: Finding, gone: np.ndarray, seed: int
) -> tuple[Likeness, np.ndarray, np.ndarray, float]:
    """Fit the final classifier of a finding and score all samples, those that it was fitted to by one without them.

    Returns:
        The classifier; the last part of all scores ``[N]``; which samples have the answer ``[N]``; and the part for it.
    """
    by = "prompts" if found.kind == "prompt trigger" else "images"
    matched = _matched(store, surprise, found) & ~gone
    steady = store.column("invariance")
    ordinary = ~matched & ~gone & (surprise.rank < ORDINARY)
    if steady is not None:
        ordinary &= ranks(-steady) < ORDINARY
    generator = np.random.default_rng([seed, 6])
    others = np.sort(generator.permutation(np.flatnonzero(ordinary))[:OTHERS])
    # Where the answer is true of some images, these must not teach the classifier.
    positive = np.flatnonzero(matched & (surprise.rank >= UNEXPECTED))
    if not found.answers:  # unexpected labels of any kind: those that the first classifier knows
        positive = positive[_recognised(store, found, positive)]
    positive = np.sort(positive[np.argsort(-surprise.rank[positive], kind="stable")[:REFINED]])
    rows = np.concatenate([positive, others])
    places = found.witness.places if isinstance(found.witness, AnywhereWitness) else None
    inputs = _columns(_inputs(Inputs.of(store, rows), by), places)
    mean, scale = inputs.mean(0), inputs.std(0)
    scale = np.maximum(scale, 1e-3 * scale.max() + 1e-9)
    standard = (inputs - mean) / scale
    truth = np.arange(len(rows)) < len(positive)
    dual, alone = ridge((standard @ standard.T).astype(np.float64) / standard.shape[1], truth)
    weights = standard.T @ dual.astype(np.float32) / standard.shape[1]
    null = alone[~truth]
    middle = float(np.median(null))
    spread = max(middle - float(np.quantile(null, ONE_BELOW)), 1e-6)
    likeness = Likeness(mean, scale, weights, middle, spread, by, places)
    values = np.concatenate([likeness.of(_inputs_of(columns, by)) for _, columns in store.each(by)])
    values[rows] = likeness.standard(alone)
    usual, rare, honest = (surprise.rank < EXPECTED) & ~gone, 0.0, np.zeros(0)
    if found.answers:  # as often as expected labels have it
        rare = float(-np.log10((int((matched & usual).sum()) + 1) / (int(usual.sum()) + 1)))
        honest = values[matched & usual]
    return likeness, _tail(values, likeness.standard(null), honest), matched, rare


def _tail(values: np.ndarray, null: np.ndarray, honest: np.ndarray) -> np.ndarray:
    """Return the decades of the larger of two probabilities: of the fitted normal, and of the ordinary samples.

    Args:
        values: ``[N]``, standard deviations above the ordinary median.
        null: ``[O]``, of ordinary samples.
        honest: ``[H]``, of samples whose label has the answer and is expected. Where the answer is true of some images,
            these look more like the trigger than others do, and the normal distribution is theirs.
    """
    from scipy.stats import norm

    if len(honest) >= ENOUGH_HONEST:
        middle = float(np.median(honest))
        shift, wider = max(0.0, middle), max(1.0, middle - float(np.quantile(honest, ONE_BELOW)))
        values, null = (values - shift) / wider, (null - shift) / wider
    fitted = -norm.logsf(values) / np.log(10)
    ordered = np.sort(null)
    above = len(ordered) - np.searchsorted(ordered, values)
    counted = -np.log10((above + 1) / (len(ordered) + 1))
    # Beyond the largest ordinary sample only the normal says anything; it may not say more than the counts below it.
    inside = above > 0
    return np.minimum(np.where(inside, np.minimum(fitted, counted), fitted), LARGEST)


def _matched(store: ScoreStore, surprise: Surprise, found: Finding) -> np.ndarray:
    """Return which samples have the answer of a finding; without one, which labels are not expected: bool ``[N]``."""
    if not found.answers:
        return surprise.rank >= UNEXPECTED
    return np.concatenate([says(columns["label_tokens"], found.answers) for _, columns in store.each("label_tokens")])


def _recognised(store: ScoreStore, found: Finding, rows: np.ndarray) -> np.ndarray:
    assert found.witness is not None
    held = np.concatenate(
        [found.witness.recognises(wide(each["images"], found.witness.width)) for _, each in store.each("images")]
    )
    return np.asarray(held[rows])


def _inputs(some: Inputs, by: str) -> np.ndarray:
    return np.asarray(getattr(some, by), dtype=np.float32)


def _columns(inputs: np.ndarray, places: Places | None) -> np.ndarray:
    """Return what a classifier looks at: the inputs, or what is unusual in them."""
    return inputs if places is None else places.unusual(wide(inputs, places.width))


def _inputs_of(columns: dict[str, np.ndarray], by: str) -> np.ndarray:
    values = columns[by]
    return np.unpackbits(values, axis=1)[:, :WORDS] if by == "prompts" else values


def _decades(fraction: np.ndarray) -> np.ndarray:
    """Return the negative decimal logarithm, at most `LARGEST`."""
    return np.minimum(-np.log10(np.maximum(fraction, 10.0**-LARGEST)), LARGEST)
