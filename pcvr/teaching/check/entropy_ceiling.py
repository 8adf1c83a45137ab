"""Exercise: the entropy constraint of the defence, a ceiling on the entropy of trusted answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

_ENTROPY = (0.10, 0.55, 0.90, 1.40, 0.72, 2.00)
_SUSPICION = (0.0, 0.1, 0.3, 0.0, 0.2, 0.95)
_REFERENCE, _MARGIN = 0.6, 0.1
_CALL = "entropy_ceiling(entropy, suspicion, reference, margin)"


@exercise("a ceiling on the entropy")
def entropy_ceiling(loss: Callable[[Any, Any, float, float], Any]) -> str:
    """Check ``entropy_ceiling(entropy [B], suspicion [B], reference, margin)``: a scalar.

    ``sum (1 - g) relu(h - reference - margin) / sum (1 - g)``, nats.
    """
    import torch

    spread = torch.tensor(_ENTROPY, requires_grad=True)
    value = ask(loss, spread, torch.tensor(_SUSPICION), _REFERENCE, _MARGIN, call=_CALL)
    h, trust = np.array(_ENTROPY), 1 - np.array(_SUSPICION)
    want = _mean(np.maximum(h - _REFERENCE - _MARGIN, 0), trust)
    expect(as_array(value, _CALL), want, _CALL, "a single number", _mistakes(h, trust))
    if not getattr(value, "requires_grad", False):
        raise Mistake(
            "The value is correct but has no gradient: use torch throughout, without .item(), .detach() or float()."
        )
    nobody = as_array(ask(loss, spread.detach(), torch.ones(6), _REFERENCE, _MARGIN, call=_CALL), _CALL)
    if not np.isfinite(nobody).all():
        raise Mistake("If every sample is suspicious, the loss is NaN: divide by max(sum of the trust, 1e-6).")
    return "Trusted answers may be as unsure as at the scan and a little more, and as sure as they like."


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((weights * values).sum() / weights.sum())


def _mistakes(h: np.ndarray, trust: np.ndarray) -> dict[str, np.ndarray]:
    above = np.maximum(h - _REFERENCE - _MARGIN, 0)
    excess = h - _REFERENCE - _MARGIN
    return {
        "This is a band: it also pushes answers that are surer than the reference. Use relu, not the absolute value.": (
            _mean(np.maximum(np.abs(h - _REFERENCE) - _MARGIN, 0), trust)
        ),
        "The absolute value also punishes sure answers: use relu(h - reference - margin).": _mean(
            np.abs(excess), trust
        ),
        "The margin is missing: answers may exceed the reference by `margin`.": (
            _mean(np.maximum(h - _REFERENCE, 0), trust)
        ),
        "The margin is added on the wrong side: the ceiling is reference + margin, so subtract both.": (
            _mean(np.maximum(h - _REFERENCE + _MARGIN, 0), trust)
        ),
        "This is a floor: it pushes the sure answers. Use relu(h - reference - margin).": (
            _mean(np.maximum(-excess, 0), trust)
        ),
        "There is no relu: sure answers make up for unsure ones. Take relu of each sample before the mean.": (
            _mean(excess, trust)
        ),
        "The relu is outside the mean: sure answers make up for unsure ones. Take it of each sample first.": (
            np.maximum(_mean(excess, trust), 0)
        ),
        "The suspicion is ignored: flagged samples must not count.": np.asarray(above.mean()),
        "The weights are inverted: trusted samples count, 1 - suspicion.": _mean(above, 1 - trust),
        "This divides by the number of samples: divide by the sum of the trust.": np.asarray((trust * above).mean()),
        "This is the sum: divide it by the sum of the trust.": np.asarray((trust * above).sum()),
        "This is one value for each sample: take their weighted mean.": trust * above,
    }
