"""Compare the reader's values with the expected ones and name the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake


def as_array(value: Any, call: str) -> np.ndarray:
    """Return the reader's value as a float array; torch tensors are accepted.

    Raises:
        Mistake: if the value is not an array of numbers.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Mistake(f"{call} returns a {type(value).__name__}, but an array of numbers is expected.") from None


def same(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> bool:
    """Return whether two arrays have the same shape and agree within the tolerance (absolute and relative)."""
    return got.shape == want.shape and bool(np.allclose(got, want, rtol=tolerance, atol=tolerance))


def expect(
    got: np.ndarray,
    want: np.ndarray,
    call: str,
    axes: str,
    known: Mapping[str, np.ndarray] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Raise :class:`Mistake` with the kind of difference unless the arrays agree.

    Args:
        got: the reader's array.
        want: the expected array.
        call: the call as text, for messages.
        axes: the expected shape in words, ``"[B, T]"`` or ``"a single number"``.
        known: messages of typical mistakes, each with the array that the mistake gives; checked before all else.
        tolerance: absolute and relative.

    Raises:
        Mistake: naming the typical mistake, otherwise shape (a number may also have the shape ``[1]``),
            NaN, sign, scale or offset, otherwise the largest gap.
    """
    if want.ndim == 0 and got.size == 1:
        got = got.reshape(())  # a number in brackets is a number
    if same(got, want, tolerance):
        return
    alike = got.shape != want.shape and got.squeeze().shape == want.squeeze().shape
    if alike and same(got.reshape(want.shape), want, tolerance):
        raise Mistake(
            f"The values are correct, but the shape is {list(got.shape)} instead of {list(want.shape)}, that is "
            f"{axes}: there is an axis of length 1 too many. Leave keepdim=True out, or use squeeze()."
        )
    for message, wrong in (known or {}).items():
        if same(got, wrong, tolerance):
            raise Mistake(message)
    _shape(got, want, call, axes)
    if np.isnan(got).any():
        raise Mistake(f"{call} returns NaN in {np.isnan(got).sum()} of {got.size} places: look for log 0 or 0 / 0.")
    if np.isinf(got).any():
        raise Mistake(f"{call} returns an infinite value in {np.isinf(got).sum()} of {got.size} places.")
    if same(got, -want, tolerance):
        raise Mistake(f"{call} has the wrong sign; the absolute value is correct.")
    _scale(got, want, call, tolerance)
    at = np.unravel_index(int(np.argmax(np.abs(got - want))), want.shape)
    where = f" at {[int(i) for i in at]}" if at else ""
    raise Mistake(f"{call} returns {got[at]:.5g}{where}, but {want[at]:.5g} is expected there.")


def _shape(got: np.ndarray, want: np.ndarray, call: str, axes: str) -> None:
    if got.shape == want.shape:
        return
    if got.ndim > want.ndim and got.squeeze().shape == want.squeeze().shape:
        raise Mistake(
            f"{call} has the shape {list(got.shape)}, but {list(want.shape)}, that is {axes}, is expected: an axis of "
            "length 1 is left over. Remove it with squeeze, or leave keepdim=True out of the sum or mean."
        )
    sizes = f"{call} has the shape {list(got.shape)}, but {list(want.shape)}, that is {axes}, is expected"
    if got.ndim > want.ndim:
        raise Mistake(f"{sizes}: one sum or mean is missing.")
    if got.ndim < want.ndim:
        raise Mistake(f"{sizes}: there is one sum or mean too many.")
    if sorted(got.shape) == sorted(want.shape):
        raise Mistake(f"{sizes}: the axes are swapped.")
    raise Mistake(f"{sizes}: the sum or mean runs over the wrong axis.")


def _scale(got: np.ndarray, want: np.ndarray, call: str, tolerance: float) -> None:
    """Raise if the arrays differ by one factor or one constant everywhere; needs at least two values."""
    if want.size < 2:
        return
    factor = float((got * want).sum() / max(float((want * want).sum()), 1e-30))
    if factor != 0 and same(got, factor * want, tolerance):
        raise Mistake(
            f"{call} is {factor:.4g} times the expected value everywhere: there is a factor missing or too many."
        )
    offset = float((got - want).mean())
    if same(got, want + offset, tolerance):
        raise Mistake(f"{call} is off by {offset:+.4g} everywhere: there is a constant missing or too many.")
