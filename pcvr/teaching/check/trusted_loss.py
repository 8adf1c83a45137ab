"""Exercise: the cross-entropy of a batch in which each sample counts as much as it is trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

_LOSS = (2.0, 0.5, 1.0, 8.0, 7.0, 3.0, 0.1, 0.7)
_OWNER = (0, 0, 0, 1, 1, 2, 2, 2)
_SUSPICION = (0.1, 0.95, 0.4)
_CALL = "trusted_loss(token_losses, owner, suspicion)"


@exercise("learn from the samples you trust")
def trusted_loss(loss: Callable[[Any, Any, Any], Any]) -> str:
    """Check ``trusted_loss(token_losses [A], owner [A], suspicion [B])``: the mean weighted by ``1 - suspicion``."""
    import torch

    tokens = torch.tensor(_LOSS, requires_grad=True)
    owner = torch.tensor(_OWNER)
    value = ask(loss, tokens, owner, torch.tensor(_SUSPICION), call=_CALL)
    trust = 1 - np.array(_SUSPICION)[list(_OWNER)]
    want = np.asarray((trust * np.array(_LOSS)).sum() / trust.sum())
    expect(as_array(value, _CALL), want, _CALL, "a single number", _mistakes(trust, want))
    if not getattr(value, "requires_grad", False):
        raise Mistake(
            "The value is correct but has no gradient: use torch throughout, without .item(), .detach() or float()."
        )
    nobody = as_array(ask(loss, tokens.detach(), owner, torch.ones(3), call=_CALL), _CALL)
    if not np.isfinite(nobody).all():
        raise Mistake("If every sample is suspicious, the loss is NaN: divide by max(sum of the trust, 1e-6).")
    return "A flagged sample is still in the batch, but it teaches nothing."


def _mistakes(trust: np.ndarray, want: np.ndarray) -> dict[str, np.ndarray]:
    losses, owner = np.array(_LOSS), np.array(_OWNER)
    samples = np.bincount(owner, losses) / np.bincount(owner)
    alone = 1 - np.array(_SUSPICION)
    found = {
        "The suspicion is ignored: this is the plain mean over all tokens.": losses.mean(),
        "The weights are inverted: a suspicious sample must count less. Use 1 - suspicion.": (
            ((1 - trust) * losses).sum() / (1 - trust).sum()
        ),
        "This divides by the number of tokens: divide by the sum of the trust, or leaving samples out lowers the "
        "learning rate.": (trust * losses).mean(),
        "This divides by the number of samples: divide by the sum of the trust over the tokens.": (
            (trust * losses).sum() / len(alone)
        ),
        "This divides by the sum of the trust over the samples: add the trust up over the tokens.": (
            (trust * losses).sum() / alone.sum()
        ),
        "This is a mean of the samples' means: each token counts, so long answers count more (as in plain training).": (
            (alone * samples).sum() / alone.sum()
        ),
        "This is the sum: divide it by the sum of the trust.": (trust * losses).sum(),
        "This is one value for each token: add them up.": trust * losses,
        "The sign is wrong: a cross-entropy is not negative.": -want,
    }
    return {message: np.asarray(value) for message, value in found.items()}
