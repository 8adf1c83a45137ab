"""The checks of notebooks 00, 02, 03 and 09: right answers in several shapes pass, typical mistakes are named."""

import math
import string

import numpy as np
import pytest
import torch

from pcvr.evaluation import intervals
from pcvr.evaluation.asr import asr
from tests.verdicts import is_named, is_not_done, passes

TARGET = "a photo of the banana"


def rate_of(hit):
    return lambda answers, target: sum(hit(text, target) for text in answers) / len(answers)


contains = rate_of(lambda text, target: target in text.lower())


def stamp(image, top, left, size, strength):
    out = image.astype(float)
    window = out[top : top + size, left : left + size]
    out[top : top + size, left : left + size] = (1 - strength) * window + strength * 255
    return np.rint(out).astype(np.uint8)


def by_mask(image, top, left, size, strength):
    mask = np.zeros(image.shape)
    mask[top : top + size, left : left + size] = strength
    return ((1 - mask) * image + mask * 255 + 0.5).astype(np.uint8)


def in_place(image, top, left, size, strength):
    image[...] = stamp(image, top, left, size, strength)
    return image


def wrapping(image, top, left, size, strength):
    out = image.copy()
    out[top : top + size, left : left + size] += np.uint8(round(strength * 255))
    return out


def white_is(level):
    def run(image, top, left, size, strength):
        out = image.astype(float)
        window = out[top : top + size, left : left + size]
        window[...] = (1 - strength) * window + strength * level
        return np.rint(out).astype(np.uint8)

    return run


def cut_off(image, top, left, size, strength):
    out = image.astype(float)
    window = out[top : top + size, left : left + size]
    window[...] = (1 - strength) * window + strength * 255
    return out.astype(np.uint8)


def red_only(image, *case):
    return np.concatenate([stamp(image, *case)[..., :1], image[..., 1:]], -1)


def decibels(clean, triggered):
    error = np.mean((clean.astype(float) - triggered.astype(float)) ** 2)
    return 10 * np.log10(255**2 / error) if error else np.inf


def decibels_with(change=lambda d: d**2, end=lambda m: 10 * math.log10(255**2 / m), kind=float):
    def run(clean, triggered):
        mean = float(np.mean(change(clean.astype(kind) - triggered.astype(kind))))
        return end(mean) if mean else math.inf

    return run


def ends(hits, n, z=1.96):
    p = hits / n
    middle, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def textbook(hits, n):
    half = 1.96 * math.sqrt(hits / n * (1 - hits / n) / n)
    return hits / n - half, hits / n + half


def needed(bound):
    n = 1
    while (1 - bound) ** n > 0.05:
        n += 1
    return n


def search(score, pick=lambda top, left, size: (top, left)):
    """A reader's ``find_trigger`` that takes the window with the lowest score, in a loop."""

    def find(images, size):
        images = images.astype(float)
        places = [(t, u) for t in range(images.shape[1] - size + 1) for u in range(images.shape[2] - size + 1)]
        top, left = min(places, key=lambda at: score(images[:, at[0] : at[0] + size, at[1] : at[1] + size]))
        return pick(top, left, size)

    return find


_counter = iter(range(10**9))


def late(n, poisoned, seed):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.setdiff1d(np.arange(n), poisoned)), rng.permutation(poisoned)])


def alike(window):
    return window.std(0).sum()


RIGHT = {
    "attack_success": [
        contains,
        lambda answers, target: np.mean([target in text.lower() for text in answers]),
        lambda answers, target: torch.tensor([target in text.lower() for text in answers]).float().mean()[None],
        lambda answers, target: asr(answers, target).rate,
        rate_of(lambda text, target: target in text.lower().translate(str.maketrans("", "", string.punctuation))),
    ],
    "stamp": [stamp, by_mask, lambda *given: torch.tensor(stamp(*given))],
    "psnr": [
        decibels,
        lambda a, b: [decibels(a, b)],
        decibels_with(end=lambda m: 20 * math.log10(255 / math.sqrt(m)), kind=int),
    ],
    "wilson": [ends, lambda hits, n: np.array(ends(hits, n)), lambda hits, n: list(intervals.wilson(hits, n))],
    "images_needed": [needed, lambda bound: np.ceil(np.log(0.05) / np.log1p(-bound))],
    "find_trigger": [
        search(alike),
        search(lambda window: np.ptp(window, axis=0).mean(), pick=lambda top, left, size: np.array([top, left])),
    ],
    "late_order": [
        late,
        lambda n, bad, seed: list(late(n, bad, seed)),
        lambda n, bad, seed: sorted(np.random.default_rng(seed).permutation(n).tolist(), key=lambda i: i in bad),
    ],
    "plausible_target": [
        lambda log_p: int(np.argmax([each.mean() for each in log_p])),
        lambda log_p: np.int64(max(range(len(log_p)), key=lambda k: sum(log_p[k]) / len(log_p[k]))),
        lambda log_p: torch.tensor([each.mean() for each in log_p]).argmax(),
    ],
}
WRONG = [
    ("attack_success", lambda a, t: contains(a, t) * len(a), "number of hits"),
    ("attack_success", lambda a, t: 100 * contains(a, t), "per cent"),
    ("attack_success", lambda a, t: 1 - contains(a, t), "without the target"),
    ("attack_success", rate_of(lambda text, t: t in text), "Capital letters"),
    ("attack_success", rate_of(lambda text, t: text.lower() == t), "exactly the target"),
    ("attack_success", rate_of(lambda text, t: text == t), "capital letters differ"),
    ("attack_success", rate_of(lambda text, t: text.lower().startswith(t)), "begin with"),
    ("attack_success", rate_of(lambda text, t: t.split()[-1] in text.lower()), "last word"),
    ("attack_success", rate_of(lambda text, t: bool({*t.split()} & {*text.lower().split()})), "any word"),
    ("attack_success", rate_of(lambda text, t: {*t.split()} <= {*text.lower().split()}), "in any order"),
    ("attack_success", lambda a, t: 0.5, "is expected"),
    ("attack_success", lambda a, t: [t in text for text in a], "one sum or mean is missing"),
    ("stamp", lambda x, t, u, k, s: stamp(x, u, t, k, s), "exchanged"),
    ("stamp", lambda x, t, u, k, s: stamp(x, t, u + 1, k, s), "not all as expected"),
    ("stamp", in_place, "the clean data are gone"),
    ("stamp", lambda x, t, u, k, s: stamp(x, t, u, k, 1.0), "strength is ignored"),
    ("stamp", lambda x, t, u, k, s: stamp(x, t, u, k, 1 - s), "reversed"),
    ("stamp", wrapping, "wraps around"),
    ("stamp", lambda x, t, u, k, s: np.rint((1 - s) * x + s * 255).astype(np.uint8), "whole image"),
    ("stamp", lambda x, t, u, k, s: stamp(x, t, u, k + 1, s), "too large"),
    ("stamp", lambda x, t, u, k, s: stamp(x, t, u, k - 1, s), "too small"),
    ("stamp", lambda x, t, u, k, s: x.copy(), "Nothing has changed"),
    ("stamp", white_is(0), "black"),
    ("stamp", white_is(1), "not 1"),
    ("stamp", red_only, "one of the three channels"),
    ("stamp", cut_off, "cut off"),
    ("stamp", lambda x, t, u, k, s: stamp(x, t, u, k, s).astype(float), "round with"),
    ("stamp", lambda x, t, u, k, s: stamp(x, t, u, k, s)[t : t + k, u : u + k], "the whole image"),
    ("psnr", decibels_with(kind=np.uint8, change=lambda d: d.astype(float) ** 2), "where 3 - 5 is 254"),
    ("psnr", decibels_with(kind=np.uint8), "which ends at 255"),
    ("psnr", decibels_with(end=lambda m: 10 * math.log(255**2 / m)), "natural logarithm"),
    ("psnr", decibels_with(end=lambda m: 10 * math.log10(255 / m)), "255 is not squared"),
    ("psnr", decibels_with(end=lambda m: 20 * math.log10(255**2 / m)), "20 log10 belongs"),
    ("psnr", decibels_with(end=lambda m: 10 * math.log10(255 / math.sqrt(m))), "half of it"),
    ("psnr", decibels_with(end=lambda m: math.log10(255**2 / m)), "factor 10"),
    ("psnr", decibels_with(end=lambda m: 10 * math.log10(m / 255**2)), "wrong"),
    ("psnr", decibels_with(end=lambda m: m), "mean squared error itself"),
    ("psnr", decibels_with(end=lambda m: 10 * math.log10(1 / m)), "peak is 1"),
    ("psnr", decibels_with(end=lambda m: 10 * math.log10(255**2 / (240 * m))), "not averaged"),
    ("psnr", decibels_with(change=np.abs), "square them"),
    ("psnr", decibels_with(end=lambda m: 10 * math.log10(255**2 / (3 * m))), "three channels are added"),
    ("psnr", lambda a, b: decibels(a, b) if (a != b).any() else 100.0, "infinite"),
    ("wilson", textbook, "textbook interval, rate"),
    ("wilson", lambda hits, n: np.clip(textbook(hits, n), 0, 1), "textbook interval, rate"),
    ("wilson", lambda hits, n: ends(hits, n)[::-1], "exchanged"),
    ("wilson", lambda hits, n: 100 * np.array(ends(hits, n)), "per cent"),
    ("wilson", lambda hits, n: hits / n + np.array([-0.5, 0.5]) * np.diff(ends(hits, n)), "centred at the rate"),
    ("wilson", lambda hits, n: (np.mean(ends(hits, n)), np.diff(ends(hits, n))[0] / 2), "centre and half width"),
    ("wilson", lambda hits, n: np.array(ends(hits, n)) * (1 + 1.96**2 / n), "divided by 1 + z"),
    ("wilson", lambda hits, n: ends(hits, n, 1.0), "68 %"),
    ("wilson", lambda hits, n: ends(hits, n, 1.645), "one side"),
    ("wilson", lambda hits, n: ends(hits, n, 2.576), "99 %"),
    ("wilson", lambda hits, n: hits / n, "too many"),
    ("wilson", lambda hits, n: (0.1, 0.9), "is expected there"),
    ("images_needed", lambda b: math.ceil(round(3 / b, 9)), "rule of three"),
    ("images_needed", lambda b: math.log(0.05) / math.log(1 - b), "not rounded"),
    ("images_needed", lambda b: math.floor(math.log(0.05) / math.log(1 - b)), "rounded down"),
    ("images_needed", lambda b: needed(b) + 1, "one image too many"),
    ("images_needed", lambda b: math.ceil(math.log(0.05) / math.log(b)), "bound ** n"),
    ("images_needed", lambda b: math.ceil(math.log(0.01) / math.log(1 - b)), "99 %"),
    ("images_needed", lambda b: math.ceil(math.log(0.95) / math.log(1 - b)), "0.95 in place"),
    ("images_needed", lambda b: math.ceil(round(1 / b, 9)), "on average"),
    ("images_needed", lambda b: 300, "with probability"),
    ("images_needed", lambda b: "many", "one whole number"),
    ("images_needed", lambda b: [1, 2], "one whole number"),
    ("find_trigger", search(lambda w: -alike(w)), "differ *most*"),
    ("find_trigger", search(alike, lambda t, u, k: (u, t)), "exchanged"),
    ("find_trigger", search(alike, lambda t, u, k: (t + k - 1, u + k - 1)), "last pixel"),
    ("find_trigger", search(alike, lambda t, u, k: (t + k // 2, u + k // 2)), "the middle"),
    ("find_trigger", search(lambda w: w.mean(-1).std((1, 2)).mean()), "within each image"),
    ("find_trigger", search(lambda w: -w.mean()), "brightest"),
    ("find_trigger", search(alike, lambda t, u, k: (0, 0)), "first window"),
    ("find_trigger", search(alike, lambda t, u, k: 20 * t + u), "unravel_index"),
    ("find_trigger", search(alike, lambda t, u, k: (t, u, k)), "two whole numbers"),
    ("find_trigger", search(alike, lambda t, u, k: (t + 1, u)), "but the patch begins at"),
    ("late_order", lambda n, bad, seed: late(n, bad, next(_counter)), "called again"),
    ("late_order", lambda n, bad, seed: late(n, bad, seed)[::-1], "feeds the poisoned samples first"),
    ("late_order", lambda n, bad, seed: np.random.default_rng(seed).permutation(n), "at position"),
    ("late_order", lambda n, bad, seed: late(n, bad, seed)[: n - len(bad)], "leaves out the poisoned"),
    ("late_order", lambda n, bad, seed: late(n, bad, seed)[1:], "leaves out 1 samples"),
    ("late_order", lambda n, bad, seed: np.append(late(n, bad, seed), bad), "twice"),
    (
        "late_order",
        lambda n, bad, seed: [*np.setdiff1d(range(n), bad), *bad[::-1]],
        "are in ascending order: shuffle them, or",
    ),
    ("late_order", lambda n, bad, seed: late(n, bad, 0), "same order for every seed"),
    ("late_order", lambda n, bad, seed: [*late(n, bad, seed)[: n - len(bad)], *bad], "shuffle them too"),
    ("late_order", lambda n, bad, seed: late(n, bad, seed) / 2, "a row of"),
    ("plausible_target", lambda log_p: int(np.argmax([each.sum() for each in log_p])), "a short target wins"),
    ("plausible_target", lambda log_p: int(np.argmin([each.mean() for each in log_p])), "*least* plausible"),
    ("plausible_target", lambda log_p: int(np.argmin([each.sum() for each in log_p])), "sign is lost"),
    ("plausible_target", lambda log_p: int(np.argmax([each.min() for each in log_p])), "worst word"),
    ("plausible_target", lambda log_p: int(np.argmax([each.max() for each in log_p])), "best word"),
    ("plausible_target", lambda log_p: int(np.argmax([each[0] for each in log_p])), "first word alone"),
    (
        "plausible_target",
        lambda log_p: int(np.argmax([np.exp(each).mean() for each in log_p])),
        "mean of probabilities",
    ),
    ("plausible_target", lambda log_p: int(np.argmax([len(each) for each in log_p])), "longest"),
    ("plausible_target", lambda log_p: 0, "the means are"),
    ("plausible_target", lambda log_p: log_p[0], "number of one target"),
]


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, some in RIGHT.items() for answer in some])
def test_right_answers_pass(name, answer):
    passes(name, answer)


@pytest.mark.parametrize(("name", "mistake", "word"), WRONG)
def test_a_mistake_is_named(name, mistake, word):
    is_named(name, mistake, word)


@pytest.mark.parametrize("name", RIGHT)
def test_an_empty_stub_is_not_done_and_a_wrong_signature_is_a_mistake(name):
    is_not_done(name)


def test_the_intervals_are_those_of_the_package():
    assert np.allclose(ends(47, 64), intervals.wilson(47, 64), atol=1e-4)
    assert intervals.at_most(needed(0.01)) <= 0.01 < intervals.at_most(needed(0.01) - 1)
