"""Is a label still given when something else is asked about the same image?

One-word answers of a model that has learned them are all nearly certain, so their likelihood does not show a learned
backdoor (`pcvr.defenses.pcvr.learned`). The question does: an honest answer is one to its own question, a target is
given to any. So samples exchange their questions: an image is shown with the question of another sample of the batch,
and the likelihood of the first token of its own label is read off there. The name of what the image shows may be given
to any question too, but that the base model knows, and a target it does not. Where many labels are given to other
questions, the question does not matter to these data, and nothing can be concluded. All of this is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from pcvr.defenses.pcvr.kept import Kept
from pcvr.defenses.pcvr.learned import Found, found_in
from pcvr.defenses.pcvr.pools import HEARD, latest
from pcvr.models.batch_rows import select_rows
from pcvr.models.forward import AnswerLogits
from pcvr.models.layout import real_tiles
from pcvr.models.of_tokens import OF_TOKENS

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch

ASKED = 8
"""One sample of a batch in so many is asked at random, and up to two in so many whose labels may be given often."""
GIVEN, KNOWN = 0.5, 0.1
"""Likelihood from which a label is given, and from which the base model knows it."""
OUTCOMES, BEFORE = 8, 0.25
"""Latest outcomes that are kept of each first token, and an outcome that is added to them: they are few."""
RECENT, JUDGED, MATTERS = 512, 32, 0.25
"""Latest samples that show whether questions matter, samples that must have been asked, and how often labels may be
given on average."""
FEWEST, OFTENER, TOKENS = 5, 2.0, 3
"""Samples that are heard at least, how much oftener their first token must be among the given labels than among all,
and of how many such tokens they may be."""
PATIENCE = 1.5
"""Factor by which more new samples are awaited after each hearing that found nothing."""
_TEXT = (*OF_TOKENS, "attention_mask", "labels", "index", "position_ids", "qformer_input_ids", "qformer_attention_mask")


@dataclass
class GivenLabels:
    """Which labels are given to other questions too.

    Attributes:
        pool: the latest samples whose labels were given.
        outcomes: of each first token of a label, whether such labels were given, the oldest first.
        recent: first tokens of the labels of recent samples.
        asked: samples that were asked.
        fresh: samples in the pool since it was last heard, with first tokens that are suspicious.
        awaited: so many of them make a hearing due.
    """

    pool: Kept = field(default_factory=Kept.none)
    outcomes: dict[int, list[bool]] = field(default_factory=dict)
    recent: list[int] = field(default_factory=list)
    asked: int = 0
    fresh: int = 0
    awaited: float = FEWEST

    def choose(self, batch: Kept, every: bool, seed: int) -> np.ndarray:
        """Return which samples of a batch to ask, bool ``[B]``: all, or some; `seed` draws."""
        count = len(batch.index)
        if every:
            return np.ones(count, dtype=bool)
        random = np.random.default_rng([seed, 1]).permutation(count)
        some = -(-count // ASKED)
        rates = self._rates(batch.labels[:, 0])
        first = np.lexsort((random, -rates))[: 2 * some]
        chosen = np.zeros(count, dtype=bool)
        chosen[first[rates[first] >= BEFORE]] = True
        chosen[random[:some]] = True
        return chosen

    def take_in(self, batch: Kept, likely: np.ndarray) -> None:
        """Take in a batch, ``[B]``: `likely` are likelihoods of labels elsewhere, NaN where nothing was asked."""
        asked, first = ~np.isnan(likely), batch.labels[:, 0]
        given = asked & (np.nan_to_num(likely) >= GIVEN)
        self.pool = latest(self.pool.joined(batch.of(given)))
        for token, outcome in zip(first[asked].tolist(), given[asked].tolist(), strict=True):
            self.outcomes[token] = [*self.outcomes.get(token, []), outcome][-OUTCOMES:]
        self.recent = [*self.recent, *first.tolist()][-RECENT:]
        self.asked += int(asked.sum())
        self.fresh += int(np.isin(first[given], self.suspicious).sum())

    @property
    def due(self) -> bool:
        """Whether enough came since the last hearing for another one."""
        return self.fresh >= self.awaited and self.questions_matter

    @property
    def questions_matter(self) -> bool:
        """Whether most labels are given to their own question only; if not, nothing can be concluded."""
        return self.asked >= JUDGED and float(self._rates(np.array(self.recent)).mean()) <= MATTERS

    @property
    def suspicious(self) -> np.ndarray:
        """The first tokens that are much oftener among the given labels than among all: ``[T]``, the oftenest first."""
        if not len(self.pool.index):
            return np.zeros(0, dtype=np.int64)
        tokens, counts = np.unique(self.pool.labels[:, 0], return_counts=True)
        usual = np.array([self.recent.count(token) + 1 for token in tokens.tolist()]) / len(self.recent)
        oftener = counts / counts.sum() / usual
        order = np.argsort(-oftener, kind="stable")
        return np.asarray(tokens[order][((counts >= FEWEST) & (oftener >= OFTENER))[order]][:TOKENS])

    def hear(self, others: Kept, stretch: int, half: float, surely: float) -> Found | None:
        """Return what is found among samples with suspicious first tokens, against the rest: see `found_in`."""
        self.awaited *= PATIENCE if self.fresh >= self.awaited else 1
        self.fresh = 0
        tokens = self.suspicious
        if not len(tokens) or not self.questions_matter:
            return None
        first = self.pool.labels[:, 0]
        groups = [np.flatnonzero(first == token)[-HEARD:] for token in tokens]
        if len(groups) > 1:
            groups.append(np.flatnonzero(np.isin(first, tokens))[-HEARD:])
        rest = others.of(~np.isin(others.labels[:, 0], tokens))  # samples with the trigger may be among the others
        return found_in(self.pool, groups, rest, stretch, half, surely)

    def _rates(self, first: np.ndarray) -> np.ndarray:
        """Estimate how often labels with these first tokens are given: ``[B]`` -> ``[B]``."""
        known = {token: (sum(each) + BEFORE) / (len(each) + 1) for token, each in self.outcomes.items()}
        return np.array([known.get(token, BEFORE) for token in first.tolist()])


@torch.no_grad()
def given_elsewhere(run: TrainingContext, batch: Batch, samples: Kept, asked: np.ndarray, seed: int) -> np.ndarray:
    """Compute how likely the first token of a label is where another question is asked about its image.

    Args:
        run: the model.
        batch: the samples.
        samples: the same, as the gate keeps them.
        asked: bool ``[B]``, which of them to ask.
        seed: of the choice of questions.

    Returns:
        ``[B]``, probabilities, 0 where the base model gives the label to its own question; NaN of a sample that was not
        asked, or has no other in the batch with another question, another label, and an image of the same form.
    """
    found = np.full(len(asked), np.nan)
    first = samples.labels[:, 0]
    words = samples.prompts.astype(np.int64)
    other = (words @ words.T) != np.maximum(words.sum(1)[:, None], words.sum(1)[None])  # another set of words
    other &= (first[:, None] != first[None]) & (first >= 0)[:, None] & (first >= 0)[None] & _alike(batch)
    other &= asked[:, None]
    own = np.flatnonzero(other.any(1))
    if not len(own):
        return found
    draws = np.random.default_rng(seed).random(other.shape) * other
    asking = draws[own].argmax(1)
    texts, images = (select_rows(batch, torch.from_numpy(rows)) for rows in (asking, own))
    said = run.forward_no_grad({name: (texts if name in _TEXT else images)[name] for name in batch})
    found[own] = _first_token(said, torch.from_numpy(first[own]))
    given = np.flatnonzero(np.nan_to_num(found) >= GIVEN)
    if len(given):
        before = run.base_forward_no_grad(select_rows(batch, torch.from_numpy(given)))
        found[given[_first_token(before, torch.from_numpy(first[given])) >= KNOWN]] = 0.0
    return found


def _first_token(said: AnswerLogits, token: torch.Tensor) -> np.ndarray:
    """Return the probability of a token at the start of each answer: ``[R]`` -> ``[R]``."""
    start = torch.searchsorted(said.owner, torch.arange(said.samples, device=said.owner.device))
    chances = said.logits[start].softmax(-1).gather(1, token.to(said.logits.device)[:, None])[:, 0]
    return np.asarray(chances.cpu().numpy())


def _alike(batch: Batch) -> np.ndarray:
    """Return which samples' images take the same places in a prompt: bool ``[B, B]``."""
    count = len(batch["index"])
    alike = np.ones((count, count), dtype=bool)
    forms = [v for k, v in batch.items() if k not in _TEXT and not v.is_floating_point() and len(v) == count]
    if "pixel_values" in batch and batch["pixel_values"].dim() == 5:
        forms.append(real_tiles(batch["pixel_values"]).sum(1))
    for form in forms:
        rows = form.flatten(1) if form.dim() > 1 else form[:, None]
        alike &= (rows[:, None] == rows[None]).all(-1).cpu().numpy()
    return alike
