"""Comparing what the reader's function gives with what is expected, and naming the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake


def as_array(value: Any, call: str) -> np.ndarray:
    """The reader's value as a float array; tensors of torch are taken as they are.

    Raises:
        Mistake: it is no array of numbers.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Mistake(f"{call} gives a {type(value).__name__}, and an array of numbers is expected.") from None


def same(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> bool:
    """Whether two arrays have one shape and agree within the tolerance (absolute and relative)."""
    return got.shape == want.shape and bool(np.allclose(got, want, rtol=tolerance, atol=tolerance))


def expect(
    got: np.ndarray,
    want: np.ndarray,
    call: str,
    axes: str,
    known: Mapping[str, np.ndarray] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Pass silently when the arrays agree, else say what the difference looks like.

    Args:
        got: the reader's array.
        want: the expected array.
        call: how the call reads, for messages.
        axes: the expected shape in words, ``"[B, T]"`` or ``"a single number"``.
        known: typical mistakes, each with the array it would give; looked at before any general guess.
        tolerance: absolute and relative.

    Raises:
        Mistake: names the typical mistake, else the wrong shape, NaN, sign, scale or offset, else the largest gap.
    """
    if same(got, want, tolerance):
        return
    for message, wrong in (known or {}).items():
        if same(got, wrong, tolerance):
            raise Mistake(message)
    _shape(got, want, call, axes)
    if np.isnan(got).any():
        raise Mistake(f"{call} gives NaN in {np.isnan(got).sum()} of {got.size} places: look for log 0 or 0 / 0.")
    if np.isinf(got).any():
        raise Mistake(f"{call} gives an infinite value in {np.isinf(got).sum()} of {got.size} places.")
    if same(got, -want, tolerance):
        raise Mistake(f"{call} has the wrong sign: the size is right.")
    _scale(got, want, call, tolerance)
    at = np.unravel_index(int(np.argmax(np.abs(got - want))), want.shape)
    where = f" at {[int(i) for i in at]}" if at else ""
    raise Mistake(f"{call} gives {got[at]:.5g}{where}, and {want[at]:.5g} is expected there.")


def _shape(got: np.ndarray, want: np.ndarray, call: str, axes: str) -> None:
    if got.shape == want.shape:
        return
    sizes = f"{call} has the shape {list(got.shape)}, and {list(want.shape)}, that is {axes}, is expected"
    if got.ndim > want.ndim:
        raise Mistake(f"{sizes}: there is a sum or mean still to take.")
    if got.ndim < want.ndim:
        raise Mistake(f"{sizes}: one sum or mean too many was taken.")
    if sorted(got.shape) == sorted(want.shape):
        raise Mistake(f"{sizes}: the axes are swapped.")
    raise Mistake(f"{sizes}: the sum or mean runs over the wrong axis.")


def _scale(got: np.ndarray, want: np.ndarray, call: str, tolerance: float) -> None:
    """Say so when the two differ by one factor or by one constant everywhere; needs two values to be sure."""
    if want.size < 2:
        return
    factor = float((got * want).sum() / max(float((want * want).sum()), 1e-30))
    if factor != 0 and same(got, factor * want, tolerance):
        raise Mistake(f"{call} is {factor:.4g} times what is expected, everywhere: a factor is missing or too many.")
    offset = float((got - want).mean())
    if same(got, want + offset, tolerance):
        raise Mistake(f"{call} is off by {offset:+.4g} everywhere: a constant is missing or too many.")
