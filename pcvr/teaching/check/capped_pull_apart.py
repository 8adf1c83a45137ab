"""Exercise: the loss that pulls two views apart, gated on suspicion and capped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

_DIVERGENCE = (0.02, 0.10, 0.55, 0.30, 0.69, 0.05)
_GATE = (0.90, 0.40, 0.70, 0.05, 0.20, 0.60)
_CAP = 0.25
_FLOOR = 1e-6


@exercise("pull the views apart, up to a cap")
def capped_pull_apart(loss: Callable[[Any, Any, float], Any]) -> str:
    """Check ``capped_pull_apart(div, gate, cap)``: ``sum(gate * relu(cap - div)) / sum(gate)``, a scalar.

    ``div`` [B] and ``cap`` are in nats, ``gate`` [B] is in [0, 1], where 1 is suspected.
    """
    import torch

    call = "capped_pull_apart(div, gate, cap)"

    def run(div: Any, gate: Any) -> tuple[Any, Any]:
        d = torch.tensor(div, dtype=torch.float32, requires_grad=True)
        return ask(loss, d, torch.tensor(gate, dtype=torch.float32), _CAP, call=call), d

    value, _ = run(_DIVERGENCE, _GATE)
    div, gate = np.array(_DIVERGENCE), np.array(_GATE)
    known = {**_wrong_sign_or_cap(div, gate), **_wrong_gate(div, gate)}
    expect(as_array(value, call), _reference(div, gate), call, "a single number", known)
    # Small gates: their sum is under 1, and a floor that is too high would show.
    value, _ = run(_DIVERGENCE, gate / 10)
    if not np.isclose(as_array(value, call), _reference(div, gate / 10), rtol=1e-3):
        raise Mistake("With small gates the loss shrinks: divide by max(sum(gate), 1e-6), not by a larger floor.")
    _closed_gate(run([0.1] * 6, [0.0] * 6)[0], call)
    _gradient(*run(_DIVERGENCE, _GATE), gate)
    return "The suspected samples are pushed apart, as far as the cap and no further, and the others are left alone."


def _closed_gate(value: Any, call: str) -> None:
    got = as_array(value, call)
    if not np.isfinite(got):
        raise Mistake("With every gate at 0 the loss is NaN or infinite: divide by max(sum(gate), 1e-6).")
    if abs(got) > 1e-4:
        raise Mistake(f"With every gate at 0 the loss must be 0, and it is {float(got):.4g}.")


def _gradient(value: Any, d: Any, gate: np.ndarray) -> None:
    if not getattr(value, "requires_grad", False):
        raise Mistake(
            "The value is right, but carries no gradient: keep to torch, without .item(), .detach() or float()."
        )
    value.backward()
    want = -gate * (np.array(_DIVERGENCE) < _CAP) / gate.sum()
    if d.grad is None or not np.allclose(d.grad.numpy(), want, atol=1e-4):
        raise Mistake(
            "The value is right, but its gradient is not: let div itself, no copy of it, run through the loss."
        )


def _reference(div: np.ndarray, gate: np.ndarray) -> np.ndarray:
    return np.asarray((gate * np.maximum(_CAP - div, 0)).sum() / max(gate.sum(), _FLOOR))


def _wrong_sign_or_cap(div: np.ndarray, gate: np.ndarray) -> dict[str, np.ndarray]:
    sign = "The sign is wrong: the loss must fall as the divergence grows"
    no_cap = "There is no cap: the loss keeps falling however far apart the views are. Use relu(cap - div)"
    back = "What is beyond the cap is pulled back"

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray((gate * values).sum() / gate.sum())

    return {
        f"{sign}. Take relu(cap - div) as it is, without a minus in front.": -mean(np.maximum(_CAP - div, 0)),
        f"{sign}, up to the cap: relu(cap - div), not relu(div - cap).": mean(np.maximum(div - _CAP, 0)),
        f"{sign}, and there is no cap: this is the gated mean of div. Use relu(cap - div).": mean(div),
        f"{sign}: relu(cap - div), not min(div, cap).": mean(np.minimum(div, _CAP)),
        f"{no_cap}, not cap - div alone.": mean(_CAP - div),
        f"{no_cap}, not -div.": -mean(div),
        f"{back}: relu(cap - div), not the absolute value.": mean(np.abs(_CAP - div)),
        f"{back}: relu(cap - div), not the square of cap - div.": mean((_CAP - div) ** 2),
        "The gap is squared: a plain relu(cap - div) is asked for.": mean(np.maximum(_CAP - div, 0) ** 2),
        "This is off by the cap: its gradient is right, but it should be 0 when all is done. Use relu(cap - div).": (
            -mean(np.minimum(div, _CAP))
        ),
    }


def _wrong_gate(div: np.ndarray, gate: np.ndarray) -> dict[str, np.ndarray]:
    gap = np.maximum(_CAP - div, 0)
    total = gate.sum()
    ignored = "The gate is ignored: every sample is pulled apart, the clean ones too. Multiply with gate"
    inverted = "The gate is inverted: 1 means suspected, and those are the ones to pull apart"
    apart = "This is one number for each sample: sum over the batch"
    return {
        f"{ignored}.": gap.mean(),
        f"{ignored} before you sum.": gap.sum() / total,
        f"{inverted}.": ((1 - gate) * gap).sum() / (1 - gate).sum(),
        f"{inverted}; then divide by the sum of the gates.": ((1 - gate) * gap).sum() / total,
        f"{inverted}; then divide by the sum of the gates, not by the number of samples.": ((1 - gate) * gap).mean(),
        "This divides by the number of samples: divide by the sum of the gates, so that few suspects count in full.": (
            (gate * gap).mean()
        ),
        "This is the sum: divide it by the sum of the gates, max(sum(gate), 1e-6).": (gate * gap).sum(),
        f"{apart}, then divide by the sum of the gates.": gate * gap,
        f"{apart} as well.": gate * gap / total,
    }
