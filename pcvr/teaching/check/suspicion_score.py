"""Exercise: the score of a training sample, from its tokens' divergences and the likelihood of its label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import ask, exercise

_DIVERGENCE = (0.30, 0.05, 0.12, 0.02, 0.01, 0.40, 0.22, 0.08, 0.03)
_OWNER = (0, 0, 0, 0, 1, 2, 2, 2, 2)  # unequal lengths, so that a mean differs from a sum
_LIKELIHOOD = (0.02, 0.75, 0.001)
_CALL = "suspicion_score(divergence, owner, likelihood)"

Known = dict[str, np.ndarray]


@exercise("the score of a sample")
def suspicion_score(score: Callable[[Any, Any, Any], Any]) -> str:
    """Check ``suspicion_score(divergence [A], owner [A], likelihood [B])``: sums plus likelihood, ``[B]``."""
    import torch

    given = torch.tensor(_DIVERGENCE), torch.tensor(_OWNER), torch.tensor(_LIKELIHOOD)
    got = as_array(ask(score, *given, call=_CALL), _CALL)
    divergence, owner, likelihood = (np.array(each) for each in (_DIVERGENCE, _OWNER, _LIKELIHOOD))
    sums = np.bincount(owner, divergence)
    expect(got, sums + likelihood, _CALL, "[B]: one score per sample", _mistakes(divergence, owner, sums, likelihood))
    return "A low score: no word depends on the patches, and the model did not expect the label anyway."


def _mistakes(divergence: np.ndarray, owner: np.ndarray, sums: np.ndarray, likelihood: np.ndarray) -> Known:
    counts = np.bincount(owner)
    wrong_way = "The likelihood has the wrong sign: a label that the model expects anyway must get a *higher* score"
    return {
        "This is the mean over the tokens: take the sum, since in a mean many other words hide the one that depends on "
        "the trigger.": sums / counts + likelihood,
        "This is the mean over the tokens, without the likelihood: take the sum, and add the likelihood.": sums
        / counts,
        "The likelihood is missing: a confident honest answer is invariant too, and only the likelihood clears it.": (
            sums
        ),
        f"{wrong_way}. Add it.": sums - likelihood,
        f"{wrong_way}: add it, without 1 - p.": sums + 1 - likelihood,
        "The likelihood is multiplied: add it. A product with a small likelihood makes every rare answer suspicious.": (
            sums * likelihood
        ),
        "The likelihood is added once for each token: add it once, to the sum of the sample.": (
            np.bincount(owner, divergence + likelihood[owner])
        ),
        "The likelihood enters as its logarithm: add the probability itself.": sums + np.log(likelihood),
        "The sign is wrong: a low score must mean that the answer hardly depends on the image.": -(sums + likelihood),
        "This is one value for each token: add up the tokens of a sample (index_add).": (
            divergence + likelihood[owner]
        ),
        "This is one number for the whole batch: keep the samples apart, [B].": np.asarray((sums + likelihood).sum()),
    }
