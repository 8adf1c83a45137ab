"""Exercise: greedy decoding, one word at a time, with a function that returns the logits of the next word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_END = 0
_PATH = (3, 5, 2, 5, 1)
"""The answer of the toy model in the check. It contains 5 twice, once after 3 and once after 2."""
_V, _LOWEST = 7, 1


@exercise("greedy decoding")
def greedy_decode(decode: Callable[[Callable[[list[int]], Any], int, int], Any]) -> str:
    """Check ``decode(next_logits, end, limit)``: the most likely token each step, up to `end`, at most `limit`."""
    call = "decode(next_logits, end=0, limit=12)"
    answer, *again = (_tokens(_run(decode, _Model(), 12, call), call) for _ in range(4))
    if any(other != answer for other in again):
        raise Mistake(
            f"{call} returns other tokens when it is called again: take the most likely token, do not sample."
        )
    _whole(answer, call)
    short = "decode(next_logits, end=0, limit=3)"
    cut = _tokens(_run(decode, _Model(), 3, short), short)
    if cut != list(_PATH[:3]):
        raise Mistake(f"{short} returns {cut}, but {list(_PATH[:3])} is expected: stop at `limit` tokens.")
    none = "decode(next_logits, end=0, limit=12) of a model that ends at once"
    empty = _tokens(_run(decode, _Model(()), 12, none), none)
    if empty:
        raise Mistake(f"{none} returns {empty}, but no token is expected: check for `end` before you keep a token.")
    other = _Model(end=6)
    last = _tokens(_run(decode, other, 12, "decode(next_logits, end=6, limit=12)"), "decode")
    if last != list(_PATH):
        raise Mistake(f"With end=6 it returns {last}, but {list(_PATH)} is expected: compare with the argument `end`.")
    return "You take the most likely token at each step, append it before the next step, and stop at the end."


class _Model:
    """A toy language model over seven tokens that gives one fixed answer; after a wrong beginning it gives token 4."""

    def __init__(self, path: tuple[int, ...] = _PATH, end: int = _END) -> None:
        self.path, self.end, self.calls = path, end, 0

    def __call__(self, so_far: Any) -> Any:
        import torch

        self.calls += 1
        if self.calls > 50:
            raise _Endless
        said = [int(token) for token in so_far]
        right = said == list(self.path[: len(said)])
        following = (*self.path, self.end)[len(said)] if right and len(said) <= len(self.path) else 4
        logits = torch.linspace(-3, -2, _V)
        logits[_LOWEST] = -5.0
        # Above every token number, so that a logit (max) in place of a token (argmax) is seen even after int().
        logits[following], logits[(following + 3) % _V] = _V + 2.25, _V + 1.5
        return logits


class _Endless(Exception):
    """Raised if the reader's loop does not stop."""


def _run(decode: Callable[..., Any], model: _Model, limit: int, call: str) -> Any:
    try:
        return ask(decode, model, model.end, limit, call=call)
    except Mistake as mistake:
        if isinstance(mistake.__cause__, _Endless):
            raise Mistake(f"{call} asked for more than 50 tokens: stop at `end` and at `limit` tokens.") from None
        raise


def _tokens(value: Any, call: str) -> list[int]:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Mistake(f"{call} returns a {type(value).__name__}, but a list of token numbers is expected.") from None
    if array.ndim != 1:
        raise Mistake(f"{call} returns an array of shape {list(array.shape)}, but a list of token numbers is expected.")
    if (array != np.floor(array)).any():
        raise Mistake(
            f"{call} returns numbers that are not integers: keep the token's number (argmax), not its logit (max)."
        )
    if array.size and (array.min() < 0 or array.max() >= _V):
        raise Mistake(
            f"{call} returns {array.tolist()}, but the tokens are numbered 0 to {_V - 1}: keep the token's number "
            "(argmax), not its logit (max)."
        )
    return [int(token) for token in array]


def _whole(answer: list[int], call: str) -> None:
    want = list(_PATH)
    if answer == want:
        return
    fact = f"{call} returns {answer}, but {want} is expected"
    stuck = want[:2] + [4] * 10
    known = (
        (answer == [*want, _END], "the end token is not part of the answer: stop before you keep it"),
        (answer == want[:-1], "the last word is missing"),
        (answer == want[1:], "the first word is missing"),
        (answer == [], "no token was kept: append each token to the answer before the next step"),
        (answer == want[:1] * 12, "each step has to read the answer so far, but here it is never read"),
        (answer == stuck, "each step has to read *all* tokens so far, not only the last one"),
        (len(answer) > len(want) and answer[: len(want)] == want, "it does not stop at `end`"),
        (bool(answer) and answer[0] == _LOWEST, "the smallest logit was taken: use argmax, not argmin"),
        (bool(answer) and answer[0] == (want[0] + 3) % _V, "the second most likely token was taken: use argmax"),
    )
    for applies, why in known:
        if applies:
            raise Mistake(f"{fact}: {why}.")
    raise Mistake(f"{fact}.")
