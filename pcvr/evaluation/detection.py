"""How well a low score tells suspects from clean samples: AUROC, its error, and what the gate makes of the scores."""

from __future__ import annotations

import math

import numpy as np

from pcvr.defenses.pcvr.gate import fit_gate
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number, check_whole


def auroc_of_low(clean: np.ndarray, suspect: np.ndarray) -> float:
    """How well a *low* value tells suspects: the chance that a suspect lies below a clean one (ties count half).

    Args:
        clean: ``[N]`` values of clean samples.
        suspect: ``[M]`` values of triggered or poisoned samples.

    Returns:
        0.5 for no telling apart, 1 where every suspect lies below every clean one.

    Raises:
        PcvrError: one of the two groups is empty.
    """
    if not len(clean) or not len(suspect):
        raise PcvrError(f"{len(clean)} clean and {len(suspect)} suspect values: AUROC needs at least one of each.")
    order = np.sort(np.asarray(clean))
    above = len(order) - np.searchsorted(order, suspect, side="right")
    level = np.searchsorted(order, suspect, side="right") - np.searchsorted(order, suspect, side="left")
    return float((above + level / 2).mean() / len(order))


def auroc_error(auroc: float, clean: int, suspects: int) -> float:
    """Half the width of an AUROC's 95 % interval, by the formula of Hanley and McNeil (Radiology 143, 1982).

    It takes both groups for samples of exponential scores; near 0 and 1 it is too sure of itself.

    Args:
        auroc: 0 to 1.
        clean: how many clean values there were, from 1 up.
        suspects: how many suspect ones.
    """
    check_number("auroc", auroc, 0, 1)
    check_whole("clean", clean, 1)
    check_whole("suspects", suspects, 1)
    two_suspects = auroc / (2 - auroc)  # the chance that two random suspects both lie below one random clean value
    two_clean = 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (suspects - 1) * (two_suspects - auroc**2) + (clean - 1) * (two_clean - auroc**2)
    return 1.96 * math.sqrt(max(variance, 0.0) / (clean * suspects))


def flagged_by_gate(scores: np.ndarray, poisoned: np.ndarray) -> tuple[float, float]:
    """What the defence's gate makes of scores: the share of the poison that it suspects, and of the clean samples.

    Args:
        scores: ``[N]``, low is suspicious.
        poisoned: ``[N]`` bool, the truth; some are and some are not.

    Returns:
        Recall and rate of false alarms, both 0 to 1; both 0 where the gate finds no low cluster.
    """
    truth = np.asarray(poisoned, dtype=bool)
    if truth.all() or not truth.any():
        raise PcvrError(f"{truth.sum()} of {len(truth)} samples are poisoned: give some of each kind.")
    flagged = fit_gate(scores).suspicion > 0.5
    return float(flagged[truth].mean()), float(flagged[~truth].mean())
