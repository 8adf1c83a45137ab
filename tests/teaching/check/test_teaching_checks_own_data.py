"""The checks of notebook 10: right answers pass in any shape, and every mistake they know is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pcvr.teaching import check


def overlap(start: float, length: float, begin: float, long: float) -> float:
    return max(0.0, min(start + length, begin + long) - max(start, begin))


def seen(height: int, width: int, top: int, left: int, side: int) -> float:
    short = min(height, width)
    return overlap(top, side, (height - short) / 2, short) * overlap(left, side, (width - short) / 2, short) / side**2


def by_pixels(height: int, width: int, top: int, left: int, side: int) -> Any:
    short = min(height, width)
    mask = np.zeros((height, width))
    mask[(height - short) // 2 :, (width - short) // 2 :][:short, :short] = 1
    return np.array([mask[top : top + side, left : left + side].mean()])


@pytest.mark.parametrize("answer", [seen, by_pixels])
def test_seen_fraction_passes(answer: Callable[..., Any]) -> None:
    assert check.seen_fraction(answer)


def crop_top_left(h: int, w: int, top: int, left: int, side: int) -> float:
    return overlap(top, side, 0, min(h, w)) * overlap(left, side, 0, min(h, w)) / side**2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (crop_top_left, "begins top left"),
        (lambda h, w, top, left, side: seen(w, h, top, left, side), "swapped"),
        (lambda h, w, top, left, side: seen(h, w, top, left, side) * side**2, "number of pixels"),
        (lambda h, w, top, left, side: seen(h, w, top, left, side) * side, "only once"),
        (lambda h, w, top, left, side: seen(h, w, top, left, side) * side**2 / min(h, w) ** 2, "patch covers"),
        (lambda *a: 1 - seen(*a), "cut away"),
        (lambda *a: seen(*a) > 0, "whether anything"),
        (lambda *a: seen(*a) == 1, "whether the whole"),
        (lambda h, w, top, left, side: overlap(left, side, (w - min(h, w)) / 2, min(h, w)) / side, "Only the columns"),
        (lambda h, w, top, left, side: overlap(top, side, (h - min(h, w)) / 2, min(h, w)) / side, "Only the rows"),
        (lambda *a: 0.3, "returns 0.3, but 1"),
        (lambda *a: "all", "an array of numbers is expected"),
    ],
)
def test_seen_fraction_names_mistakes(answer: Callable[..., Any], words: str) -> None:
    found = check.seen_fraction(answer)
    assert not found and found.status == "mistake" and words in found.message


def test_seen_fraction_wants_no_negative_overlap() -> None:
    def signed(height: int, width: int, top: int, left: int, side: int) -> float:
        short = min(height, width)
        down, across = (height - short) / 2, (width - short) / 2
        high = min(top + side, down + short) - max(top, down)
        return high * (min(left + side, across + short) - max(left, across)) / side**2

    assert "at least 0" in check.seen_fraction(signed).message


def traced(ids: list[str], flagged: Any) -> dict[str, float]:
    sources = [name.rpartition("-")[0] for name in ids]
    found = {each: float(np.mean([b for s, b in zip(sources, flagged, strict=True) if s == each])) for each in sources}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def by_pandas(ids: list[str], flagged: Any) -> Any:
    table = pd.DataFrame({"source": [name.split("-")[0] for name in ids], "flagged": flagged})
    return table.groupby("source")["flagged"].mean().sort_values(ascending=False)


@pytest.mark.parametrize("answer", [traced, by_pandas, lambda ids, bad: list(traced(ids, bad).items())])
def test_trace_source_passes(answer: Callable[..., Any]) -> None:
    assert check.trace_source(answer)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ids, bad: {k: v * sum(i.startswith(k) for i in ids) for k, v in traced(ids, bad).items()}, "numbers"),
        (
            lambda ids, bad: {k: v * sum(i.startswith(k) for i in ids) / sum(bad) for k, v in traced(ids, bad).items()},
            "all flagged samples",
        ),
        (
            lambda ids, bad: {k: v * sum(i.startswith(k) for i in ids) / len(ids) for k, v in traced(ids, bad).items()},
            "divided by all samples",
        ),
        (lambda ids, bad: {k: 1 - v for k, v in traced(ids, bad).items()}, "*not* flagged"),
        (lambda ids, bad: {k: 100 * v for k, v in traced(ids, bad).items()}, "per cent"),
        (
            lambda ids, bad: {k: sum(i.startswith(k) for i in ids) / len(ids) for k in traced(ids, bad)},
            "count the flagged ones only",
        ),
        (lambda ids, bad: dict(reversed(traced(ids, bad).items())), "highest fraction first"),
        (lambda ids, bad: dict(list(traced(ids, bad).items())[:1]), "leaves out"),
        (lambda ids, bad: dict(zip(ids, map(float, bad), strict=True)), "the part before the last '-'"),
        (lambda ids, bad: dict.fromkeys(traced(ids, bad), 0.7), "gives 0.7"),
        (lambda ids, bad: 1.0, "returns a float, but a mapping"),
        (lambda ids, bad: "web", "returns a str, but a mapping"),
    ],
)
def test_trace_source_names_mistakes(change: Callable[..., Any], words: str) -> None:
    found = check.trace_source(change)
    assert not found and found.status == "mistake" and words in found.message


def alarms(rest: Any, threshold: float) -> Any:
    return np.minimum(1, 10 ** (rest - threshold)).sum()


@pytest.mark.parametrize(
    "answer", [alarms, lambda r, t: sum(min(1, 10 ** (p - t)) for p in r), lambda r, t: [alarms(r, t)]]
)
def test_expected_alarms_passes(answer: Callable[..., Any]) -> None:
    assert check.expected_alarms(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda r, t: (10 ** (r - t)).sum(), "min(1, ...)"),
        (lambda r, t: np.minimum(1, 10 ** (r - t)).mean(), "expected *fraction*"),
        (lambda r, t: np.minimum(1, 10 ** (t - r)).sum(), "sign is turned"),
        (lambda r, t: np.minimum(1, np.exp(r - t)).sum(), "uses e"),
        (lambda r, t: (r >= t).sum(), "the part for the picture is missing"),
        (lambda r, t: len(r) * 10**-t, "has its own probability"),
        (lambda r, t: 1 - np.prod(1 - np.minimum(1, 10 ** (r - t))), "at least one alarm"),
        (lambda r, t: np.minimum(1, 10 ** (r - t)), "add the probabilities up"),
        (lambda r, t: 3.5, "returns 3.5, but"),
    ],
)
def test_expected_alarms_names_mistakes(answer: Callable[..., Any], words: str) -> None:
    found = check.expected_alarms(answer)
    assert not found and found.status == "mistake" and words in found.message


@pytest.mark.parametrize("exercise", [check.seen_fraction, check.trace_source, check.expected_alarms])
@pytest.mark.parametrize("blank", [..., None])
def test_a_stub_is_not_done(exercise: Callable[..., Any], blank: Any) -> None:
    assert exercise(lambda *_: blank).status == "not done"
