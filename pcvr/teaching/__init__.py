"""Exercises of the notebooks: cards, checks that name the mistake, and a record of the checks that passed.

In a notebook::

    from pcvr.teaching import check
    check.poison_indices(choose)  # the last line of the cell: shows the result

Nothing here imports Jupyter: a check returns a :class:`Result`, which shows itself in a notebook and in a terminal.
"""

from pcvr.teaching import check
from pcvr.teaching.card import card
from pcvr.teaching.core import Result, exercises, forget_results, require_passed, results
from pcvr.teaching.handing_in import hand_in

__all__ = ["Result", "card", "check", "exercises", "forget_results", "hand_in", "require_passed", "results"]
