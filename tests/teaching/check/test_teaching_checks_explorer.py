"""The checks of notebook 07: right answers pass, and every mistake they know is named."""

import numpy as np
import pytest

from pcvr.experiments import grid
from pcvr.teaching import check


def by_rule(beats):
    """A reader's ``frontier`` whose idea of beating is ``beats(asr, utility, other asr, other utility)``."""

    def find(asr, utility):
        n = range(len(asr))
        return [i for i in n if not any(beats(asr[i], utility[i], asr[j], utility[j]) for j in n)]

    return find


def right(a, u, b, v):
    return b <= a and v >= u and (b, v) != (a, u)


def by_sorting(asr, utility):
    """Another way to the same: from low ASR upwards, each level has to bring more utility than all below it."""
    left, best = [], -np.inf
    for level in sorted(set(asr)):
        at = np.flatnonzero(asr == level)
        top = utility[at].max()
        if top > best:
            left += at[utility[at] == top].tolist()
            best = top
    return sorted(left)


@pytest.mark.parametrize("answer", [by_rule(right), by_sorting, grid.frontier, lambda a, u: np.array(by_sorting(a, u))])
def test_frontier_passes_on_right_answers(answer):
    assert check.frontier(answer)


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (by_rule(lambda a, u, b, v: b <= a and v >= u), "compared with itself"),
        (by_rule(lambda a, u, b, v: b < a and v > u), "as good in one figure"),
        (by_rule(lambda a, u, b, v: right(-a, u, -b, v)), "direction of the ASR"),
        (by_rule(lambda a, u, b, v: right(a, -u, b, -v)), "direction of the utility"),
        (by_rule(lambda a, u, b, v: right(-a, -u, -b, -v)), "Both directions"),
        (by_rule(lambda a, u, b, v: b < a or v > u), "either figure"),
        (by_rule(lambda a, u, b, v: b < a), "lowest ASR"),
        (by_rule(lambda a, u, b, v: v > u), "highest utility"),
        (lambda a, u: [i for i in range(len(a)) if i not in by_sorting(a, u)], "that are beaten"),
        (lambda a, u: list({(a[i], u[i]): i for i in by_sorting(a, u)}.values()), "Of two equal points"),
        (lambda a, u: by_sorting(a, u)[::-1], "ascending"),
        (lambda a, u: np.isin(np.arange(len(a)), by_sorting(a, u)), "mask"),
        (lambda a, u: a[by_sorting(a, u)], "must be integers"),
        (lambda a, u: [i + 1 for i in by_sorting(a, u)], "numbered 0 to"),
        (lambda a, u: by_sorting(a, u) * 2, "twice"),
        (lambda a, u: 3, "a list of indices"),
        (lambda a, u: "012", "a list of indices"),
        (lambda a, u: [0], "is expected"),
        (lambda a: [], "arguments"),
    ],
)
def test_frontier_names_the_mistake(mistake, word):
    found = check.frontier(mistake)
    assert found.status == "mistake"
    assert word in found.message


def within(asr, utility, least, fits=np.greater_equal):
    order = sorted(np.flatnonzero(fits(utility, least)), key=lambda i: (asr[i], -utility[i], i))
    return order[0] if order else -1


def masked(asr, utility, least):
    if utility.max() < least:
        return -1
    held = np.where(utility >= least, asr, np.inf)
    return int(np.where(held == held.min(), utility, -np.inf).argmax())


def in_part(asr, utility, least):
    fits = np.flatnonzero(utility >= least)
    return fits.tolist().index(within(asr, utility, least)) if len(fits) else -1


def first_of_ties(asr, utility, least):
    return -1 if utility.max() < least else int(np.where(utility >= least, asr, np.inf).argmin())


@pytest.mark.parametrize("answer", [within, masked, lambda *given: np.int64(masked(*given))])
def test_choose_setting_passes_on_right_answers(answer):
    assert check.choose_setting(answer)


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (lambda a, u, least: int(a.argmin()), "lowest ASR of all. Leave out"),
        (lambda a, u, least: within(a, u, 0), "budget is ignored"),
        (lambda a, u, least: int(u.argmax()), "highest utility"),
        (lambda a, u, least: int(u.argmax()) if u.max() >= least else -1, "highest utility if it is enough"),
        (lambda a, u, least: within(a, u, least, np.greater), "compare with >="),
        (lambda a, u, least: within(a, u, least, np.less_equal), "comparison is reversed"),
        (in_part, "fits[k]"),
        (first_of_ties, "Several settings"),
        (lambda a, u, least: int(u.argmax()) if u.max() < least else masked(a, u, least), "return -1"),
        (lambda a, u, least: int(a.argmin()) if u.max() < least else masked(a, u, least), "not the lowest ASR of all"),
        (lambda a, u, least: 1, "is expected"),
        (lambda a, u, least: 0 if u.max() < least else masked(a, u, least), "return -1"),
        (lambda a, u, least: float(a.min()), "one index"),
        (lambda a, u, least: [0, 1], "one index"),
        (lambda a, u, least: u >= least, "one index"),
        (lambda a, u: 0, "arguments"),
    ],
)
def test_choose_setting_names_the_mistake(mistake, word):
    found = check.choose_setting(mistake)
    assert found.status == "mistake"
    assert word in found.message


@pytest.mark.parametrize("name", ["frontier", "choose_setting"])
def test_an_empty_stub_is_not_done(name):
    found = getattr(check, name)(lambda *arguments: ...)
    assert found.status == "not done" and not found
