"""Exercise: greedy decoding, a word at a time, from a function that gives the logits of the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pcvr.teaching.core import Mistake, ask, exercise

_END = 0
_PATH = (3, 5, 2, 5, 1)
"""The answer of the toy model that the check asks: it says 5 twice, once after 3 and once after 2."""
_V, _LOWEST = 7, 1


@exercise("greedy decoding")
def greedy_decode(decode: Callable[[Callable[[list[int]], Any], int, int], Any]) -> str:
    """Check ``decode(next_logits, end, limit)``: the likeliest token at each step, up to `end`, at most `limit`."""
    call = "decode(next_logits, end=0, limit=12)"
    answer, *again = (_tokens(_run(decode, _Model(), 12, call), call) for _ in range(4))
    if any(other != answer for other in again):
        raise Mistake(f"{call} gives other tokens when it is called again: take the likeliest token, do not draw one.")
    _whole(answer, call)
    short = "decode(next_logits, end=0, limit=3)"
    cut = _tokens(_run(decode, _Model(), 3, short), short)
    if cut != list(_PATH[:3]):
        raise Mistake(f"{short} gives {cut}, and {list(_PATH[:3])} is expected: stop when `limit` tokens are said.")
    none = "decode(next_logits, end=0, limit=12) of a model that ends at once"
    empty = _tokens(_run(decode, _Model(()), 12, none), none)
    if empty:
        raise Mistake(f"{none} gives {empty}, and no token is expected: look for `end` before you keep a token.")
    other = _Model(end=6)
    last = _tokens(_run(decode, other, 12, "decode(next_logits, end=6, limit=12)"), "decode")
    if last != list(_PATH):
        raise Mistake(f"With end=6 it gives {last}, and {list(_PATH)} is expected: compare with the argument `end`.")
    return "The likeliest word at each step, read again before the next one, up to the end and no further."


class _Model:
    """A toy language model over seven tokens that knows one answer by heart; a wrong beginning leads it astray."""

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
        logits[following], logits[(following + 3) % _V] = 2.0, 1.5
        return logits


class _Endless(Exception):
    """The reader's loop does not stop."""


def _run(decode: Callable[..., Any], model: _Model, limit: int, call: str) -> Any:
    try:
        return ask(decode, model, model.end, limit, call=call)
    except Mistake as mistake:
        if isinstance(mistake.__cause__, _Endless):
            raise Mistake(
                f"{call} asked for more than 50 tokens: stop at `end`, and stop when `limit` tokens are said."
            ) from None
        raise


def _tokens(value: Any, call: str) -> list[int]:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise Mistake(f"{call} gives a {type(value).__name__}, and a list of token numbers is expected.") from None
    if array.ndim != 1:
        raise Mistake(f"{call} gives something of shape {list(array.shape)}, and a list of token numbers is expected.")
    if (array != np.floor(array)).any():
        raise Mistake(
            f"{call} gives numbers that are not whole: keep the token's number (argmax), not its logit (max)."
        )
    return [int(token) for token in array]


def _whole(answer: list[int], call: str) -> None:
    want = list(_PATH)
    if answer == want:
        return
    fact = f"{call} gives {answer}, and {want} is expected"
    stuck = want[:2] + [4] * 10
    known = (
        (answer == [*want, _END], "the end token is no word of the answer: stop before you keep it"),
        (answer == want[:-1], "the last word is missing"),
        (answer == want[1:], "the first word is missing"),
        (answer == [], "nothing was kept: put each token into the answer before you go on"),
        (answer == want[:1] * 12, "the answer so far has to be read before the next word, and here it never is"),
        (answer == stuck, "each step has to read *all* tokens so far, not only the last one"),
        (len(answer) > len(want) and answer[: len(want)] == want, "it does not stop at `end`"),
        (bool(answer) and answer[0] == _LOWEST, "the smallest logit was taken: argmax, not argmin"),
        (bool(answer) and answer[0] == (want[0] + 3) % _V, "the second likeliest token was taken"),
    )
    for applies, why in known:
        if applies:
            raise Mistake(f"{fact}: {why}.")
    raise Mistake(f"{fact}.")
