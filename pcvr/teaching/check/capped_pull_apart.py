"""Exercise: the loss that pulls two views apart, weighted by suspicion and capped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

_DIVERGENCE = (0.02, 0.10, 0.55, 0.30, 0.69, 0.05)
_GATE = (0.90, 0.40, 0.70, 0.05, 0.20, 0.60)
_FAR = (0.60, 0.69, 0.55, 0.10, 0.69, 0.45)
"""Divergences whose mean is above the cap, and one of them below."""
_CAP = 0.25
_FLOOR = 1e-6


@exercise("pull the views apart, up to a cap")
def capped_pull_apart(loss: Callable[[Any, Any, float], Any]) -> str:
    """Check ``capped_pull_apart(div, gate, cap)``: ``sum(gate * relu(cap - div)) / sum(gate)``, a scalar.

    ``div`` [B] and ``cap`` are in nats, ``gate`` [B] is in [0, 1], where 1 is most suspicious.
    """
    import torch

    call = "capped_pull_apart(div, gate, cap)"

    def run(div: Any, gate: Any) -> tuple[Any, Any]:
        d = torch.tensor(div, dtype=torch.float32, requires_grad=True)
        return ask(loss, d, torch.tensor(gate, dtype=torch.float32), _CAP, call=call), d

    value, _ = run(_DIVERGENCE, _GATE)
    div, gate = np.array(_DIVERGENCE), np.array(_GATE)
    known = {**_wrong_sign_or_cap(div, gate), **_wrong_gate(div, gate)}
    _cap_of_the_mean(run, as_array(value, call), div, gate, call)
    expect(as_array(value, call), _reference(div, gate), call, "a single number", known)
    # Small gates: their sum is below 1, so a floor that is too high changes the value.
    value, _ = run(_DIVERGENCE, gate / 10)
    if not np.isclose(as_array(value, call), _reference(div, gate / 10), rtol=1e-3):
        raise Mistake("With small gates the loss is too small: divide by max(sum(gate), 1e-6), not by a larger floor.")
    _closed_gate(run([0.1] * 6, [0.0] * 6)[0], call)
    _gradient(*run(_DIVERGENCE, _GATE), gate)
    return "The views of suspicious samples are pulled apart up to the cap, and other samples are not pushed."


def _cap_of_the_mean(run: Callable[..., Any], got: np.ndarray, div: np.ndarray, gate: np.ndarray, call: str) -> None:
    """Raise if the cap acts on a mean; as long as that is below the cap, the value is the one without any cap."""
    means = (gate * div).sum() / gate.sum(), div.mean()
    far = (gate * _FAR).sum() / gate.sum(), np.mean(_FAR)
    capped = [np.allclose(got, max(_CAP - mean, 0), atol=1e-6) for mean in means]
    assert min(far) > _CAP
    if any(capped) and np.allclose(as_array(run(_FAR, gate)[0], call), 0, atol=1e-6):
        raise Mistake(
            "The cap is on the mean of the batch: samples that are far apart make up for others. Take relu(cap - div) "
            "of each sample, then the mean weighted by the gate."
        )


def _closed_gate(value: Any, call: str) -> None:
    got = as_array(value, call)
    if not np.isfinite(got):
        raise Mistake("With every gate at 0 the loss is NaN or infinite: divide by max(sum(gate), 1e-6).")
    if abs(got) > 1e-4:
        raise Mistake(f"With every gate at 0 the loss must be 0, but it is {float(got):.4g}.")


def _gradient(value: Any, d: Any, gate: np.ndarray) -> None:
    if not getattr(value, "requires_grad", False):
        raise Mistake(
            "The value is correct but has no gradient: use torch throughout, without .item(), .detach() or float()."
        )
    value.backward()
    want = -gate * (np.array(_DIVERGENCE) < _CAP) / gate.sum()
    if d.grad is None or not np.allclose(d.grad.numpy(), want, atol=1e-4):
        raise Mistake(
            "The value is correct, but its gradient is not: compute the loss from div itself, not from a copy."
        )


def _reference(div: np.ndarray, gate: np.ndarray) -> np.ndarray:
    return np.asarray((gate * np.maximum(_CAP - div, 0)).sum() / max(gate.sum(), _FLOOR))


def _wrong_sign_or_cap(div: np.ndarray, gate: np.ndarray) -> dict[str, np.ndarray]:
    sign = "The sign is wrong: the loss must fall when the divergence grows"
    no_cap = "There is no cap: the loss keeps falling, no matter how far apart the views are. Use relu(cap - div)"
    back = "A divergence beyond the cap is pulled back"

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray((gate * values).sum() / gate.sum())

    return {
        f"{sign}. Use relu(cap - div) without a minus in front.": -mean(np.maximum(_CAP - div, 0)),
        f"{sign}, up to the cap: use relu(cap - div), not relu(div - cap).": mean(np.maximum(div - _CAP, 0)),
        f"{sign}, and there is no cap: this is the gated mean of div. Use relu(cap - div).": mean(div),
        f"{sign}: use relu(cap - div), not min(div, cap).": mean(np.minimum(div, _CAP)),
        f"{no_cap}, not cap - div alone.": mean(_CAP - div),
        f"{no_cap}, not -div.": -mean(div),
        f"{back}: use relu(cap - div), not the absolute value.": mean(np.abs(_CAP - div)),
        f"{back}: use relu(cap - div), not the square of cap - div.": mean((_CAP - div) ** 2),
        "The gap is squared: use relu(cap - div) without the square.": mean(np.maximum(_CAP - div, 0) ** 2),
        "This is off by the cap: its gradient is correct, but it must be 0 at the cap. Use relu(cap - div).": (
            -mean(np.minimum(div, _CAP))
        ),
    }


def _wrong_gate(div: np.ndarray, gate: np.ndarray) -> dict[str, np.ndarray]:
    gap = np.maximum(_CAP - div, 0)
    total = gate.sum()
    ignored = "The gate is ignored: all samples are pulled apart, also the clean ones. Multiply by gate"
    inverted = "The gate is inverted: 1 means suspicious, and suspicious samples are to be pulled apart"
    apart = "This is one number for each sample: sum over the batch"
    return {
        f"{ignored}.": gap.mean(),
        f"{ignored} before you sum.": gap.sum() / total,
        f"{inverted}.": ((1 - gate) * gap).sum() / (1 - gate).sum(),
        f"{inverted}; then divide by the sum of the gates.": ((1 - gate) * gap).sum() / total,
        f"{inverted}; then divide by the sum of the gates, not by the number of samples.": ((1 - gate) * gap).mean(),
        "This divides by the number of samples: divide by the sum of the gates, so that few samples count in full.": (
            (gate * gap).mean()
        ),
        "This is the sum: divide it by the sum of the gates, max(sum(gate), 1e-6).": (gate * gap).sum(),
        f"{apart}, then divide by the sum of the gates.": gate * gap,
        f"{apart} as well.": gate * gap / total,
    }
