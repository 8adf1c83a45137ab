"""Exercise: the rank of a word among all words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.teaching.compare import as_array, expect
from pcvr.teaching.core import Mistake, ask, exercise

if TYPE_CHECKING:
    import torch


@exercise("the rank of a word in a distribution")
def rank_of(function: Callable[[Any, Any], Any]) -> str:
    """Check ``rank_of(logits, token)``: float ``[V]`` and a token -> its place, 1 for the most likely one."""
    cases = _cases()
    given: list[float] = []
    for logits, token in cases:
        call = f"rank_of(logits, token={token})"
        got = as_array(ask(function, logits.clone(), token, call=call, begun=bool(given)), call)
        if got.size != 1:
            raise Mistake(f"{call} returns {got.size} numbers, but one is expected: the rank of this word.")
        given.append(float(got.reshape(())))
    want = np.array([_rank(*case) for case in cases])
    for message, wrong in _MISTAKES.items():
        if np.allclose(given, [float(wrong(*case)) for case in cases]):
            raise Mistake(message)
    expect(np.array(given), want, "rank_of(logits, token)", "a number for each of several words")
    return "A backdoored model may rank the target second long before it says it: greedy decoding hides that."


def _cases() -> list[tuple[torch.Tensor, int]]:
    import torch

    cases = []
    for seed in range(3):
        logits = torch.randn(9 + seed, generator=torch.Generator().manual_seed(seed))
        cases += [(logits, token) for token in (2, int(logits.argmax()), int(logits.argmin()))]
    return cases


def _rank(logits: torch.Tensor, token: int) -> float:
    return 1.0 + float((logits > logits[token]).sum())


_COUNT = "count the words with a larger logit."
_MISTAKES: dict[str, Callable[[torch.Tensor, int], Any]] = {
    "This counts from 0: the most likely word has rank 1.": lambda x, t: _rank(x, t) - 1,
    "This counts the less likely words: the most likely word has rank 1.": lambda x, t: len(x) - _rank(x, t) + 1,
    "This counts the less likely words, from 0: the most likely word has rank 1.": lambda x, t: len(x) - _rank(x, t),
    f"argsort gives the words in order, the likely ones first: {_COUNT}": lambda x, t: x.argsort(descending=True)[t],
    f"argsort gives the words in order, the unlikely ones first: {_COUNT}": lambda x, t: x.argsort()[t],
    f"This is the logit itself: {_COUNT}": lambda x, t: x[t],
    "This is the most likely word: its rank is wanted for a given word.": lambda x, t: x.argmax(),
}
