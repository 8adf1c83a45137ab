"""Exercise: the principal angles between what two changes of a matrix look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

Known = dict[str, np.ndarray]


@exercise("principal angles of two updates")
def principal_angles(function: Callable[[Any, Any, int], Any]) -> str:
    """Check ``principal_angles(received, benign, k)``: two ``[out, in]`` changes -> k angles in degrees, ascending."""
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(7, 12)), rng.normal(size=(7, 12))
    for received, benign, k, where in (
        (one, other, 3, ""),
        (one, other, 5, " with k = 5"),
        (one, one + 0.3 * other, 4, " of two similar changes"),
    ):
        call = f"principal_angles(received, benign, {k}){where}"
        got = as_array(ask(function, received.copy(), benign.copy(), k, call=call), call)
        expect(got, _angles(received, benign, k), call, "[k]", _mistakes(received, benign, k), 1e-4)
    call = "principal_angles(received, received, 3)"
    got = as_array(ask(function, one.copy(), one.copy(), 3, call=call), call)
    if np.isnan(got).any():
        raise Mistake(
            f"{call} returns NaN: by rounding, a cosine can lie above 1 and then has no angle. Clip to [0, 1]."
        )
    expect(got, np.zeros(3), call, "[k]", tolerance=1e-3)
    return "A direction that benign training takes too has a small angle. OrthoPurify removes those beyond 50 degrees."


def _vectors(matrix: np.ndarray, k: int) -> np.ndarray:
    """The top k right singular vectors, as rows."""
    return np.asarray(np.linalg.svd(matrix)[2][:k])


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.clip(np.linalg.svd(left @ right.T, compute_uv=False), 0, 1)


def _angles(received: np.ndarray, benign: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(np.rad2deg(np.arccos(_cosines(_vectors(received, k), _vectors(benign, k)))))


def _mistakes(received: np.ndarray, benign: np.ndarray, k: int) -> Known:
    right = _angles(received, benign, k)
    mine, theirs = _vectors(received, k), _vectors(benign, k)
    direct = np.rad2deg(np.arccos(np.clip(np.abs((mine * theirs).sum(1)), 0, 1)))
    left = np.rad2deg(np.arccos(_cosines(_vectors(received.T, k), _vectors(benign.T, k))))
    whole = np.rad2deg(np.arccos(_cosines(np.linalg.svd(received)[2], np.linalg.svd(benign)[2])))
    columns = np.rad2deg(np.arccos(_cosines(np.linalg.svd(received)[2][:, :k].T, np.linalg.svd(benign)[2][:, :k].T)))
    wrong = {
        "The angles are in radians: give degrees.": np.deg2rad(right),
        "These are the cosines: the angles are their arccos, in degrees.": np.cos(np.deg2rad(right)),
        "The angles fall: sort them in ascending order.": right[::-1],
        "These are sines of the angles, or angles counted from 90 degrees: use arccos.": 90 - right,
        "The vectors are compared pair by pair. Principal angles need the SVD of the k x k matrix of all their "
        "products: within a subspace, the order of vectors means nothing.": direct,
        "The vectors are compared pair by pair (and sorted). Take the SVD of the matrix of all their products.": (
            np.sort(direct)
        ),
        "These are the left singular vectors, what the changes write. The inputs that they read are the right ones.": (
            left
        ),
        "All right singular vectors are compared: take the first k of each.": whole,
        "numpy returns V transposed: the right singular vectors are the first k *rows* of its third result.": columns,
    }
    return {message: value for message, value in wrong.items() if not np.array_equal(value, right)}
