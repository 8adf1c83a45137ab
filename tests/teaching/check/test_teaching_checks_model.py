"""The checks of notebook 01 get right answers, and typical mistakes whose message has to name them."""

import numpy as np
import pytest
import torch

from pcvr.analysis.decoding import greedy
from pcvr.teaching import check


def decode(next_logits, end, limit):
    said: list[int] = []
    while len(said) < limit:
        token = int(next_logits(said).argmax())
        if token == end:
            break
        said.append(token)
    return said


def test_greedy_decode_passes_on_right_answers():
    assert check.greedy_decode(decode)
    assert check.greedy_decode(greedy), "the package's own function"
    assert check.greedy_decode(lambda f, end, limit: np.array(decode(f, end, limit)))

    def with_tensors(next_logits, end, limit):
        said = torch.empty(0, dtype=torch.long)
        for _ in range(limit):
            token = next_logits(said).softmax(-1).argmax()
            if token == end:
                return said
            said = torch.cat([said, token[None]])
        return said

    assert check.greedy_decode(with_tensors)


def with_end(f, end, limit):
    said: list[int] = []
    while len(said) < limit:
        said.append(int(f(said).argmax()))
        if said[-1] == end:
            break
    return said


def drawn(f, end, limit):
    said: list[int] = []
    while len(said) < limit:
        token = int(torch.multinomial(f(said).softmax(-1), 1))
        if token == end:
            break
        said.append(token)
    return said


def variant(step, read=lambda said: said):
    """`decode` with another choice at each step, or with another beginning read."""

    def run(f, end, limit):
        said: list[int] = []
        while len(said) < limit:
            token = int(step(f(read(said))))
            if token == end:
                break
            said.append(token)
        return said

    return run


def endless(f, end, limit):
    said: list[int] = []
    while True:
        said.append(int(f(said).argmax()))


def late(f, end, limit):
    said = decode(f, end, limit + 1)
    return said


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (with_end, "not part of the answer"),
        (lambda f, end, limit: decode(f, end, limit)[:-1], "last word is missing"),
        (lambda f, end, limit: decode(f, end, limit)[1:], "first word is missing"),
        (lambda f, end, limit: [], "no token was kept"),
        (variant(lambda x: x.argmax(), lambda said: []), "it is never read"),
        (variant(lambda x: x.argmax(), lambda said: said[-1:]), "not only the last"),
        (lambda f, end, limit: (decode(f, end, limit) + [4] * 12)[:limit], "does not stop at `end`"),
        (variant(lambda x: x.argmin()), "argmax, not argmin"),
        (variant(lambda x: x.topk(2).indices[1]), "second most likely"),
        (drawn, "called again"),
        (endless, "more than 50"),
        (late, "stop at `limit` tokens"),
        (lambda f, end, limit: decode(f, 0, limit), "compare with the argument"),
        (variant(lambda x: x.max() * 100), "not its logit"),
        (variant(lambda x: x.max()), "not its logit"),
        (lambda f, end, limit: [0.5, 1.5], "argmax"),
        (lambda f, end, limit: "a red ball", "a list of token numbers"),
        (lambda f, end, limit: np.zeros((2, 3)), "shape"),
        (lambda f, end, limit: [int(f([]).argmax()), *[6] * 3], "is expected"),
        (lambda f, end: [], "arguments"),
    ],
)
def test_greedy_decode_names_the_mistake(mistake, word):
    torch.manual_seed(0)
    found = check.greedy_decode(mistake)
    assert not found and found.status == "mistake"
    assert word in found.message


def test_a_model_that_ends_at_once_is_asked_too():
    def first_kept(f, end, limit):
        said = [int(f([]).argmax())]
        while len(said) < limit:
            token = int(f(said).argmax())
            if token == end:
                break
            said.append(token)
        return said

    assert "before you keep a token" in check.greedy_decode(first_kept).message


def to_map(attention, image_at, grid):
    return attention.mean(0)[image_at].reshape(grid)


def test_patch_map_passes_on_right_answers():
    assert check.patch_map(to_map)
    assert check.patch_map(lambda a, at, grid: a[:, at].mean(0).view(*grid).numpy())
    assert "0." in check.patch_map(to_map).message, "it says how much falls on the picture"


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        (lambda a, at, g: a.sum(0)[at].reshape(g), "sum over heads"),
        (lambda a, at, g: a.amax(0)[at].reshape(g), "strongest head"),
        (lambda a, at, g: a[0, at].reshape(g), "the first"),
        (lambda a, at, g: a[-1, at].reshape(g), "the last"),
        (lambda a, at, g: a.mean(0)[: len(at)].reshape(g), "position 0"),
        (lambda a, at, g: a.mean(0)[-len(at) :].reshape(g), "last positions"),
        (lambda a, at, g: to_map(a, at, g) / to_map(a, at, g).sum(), "sum to 1"),
        (lambda a, at, g: to_map(a, at, g) / to_map(a, at, g).max(), "own maximum"),
        (lambda a, at, g: a.mean(0)[at].reshape(g[1], g[0]).T, "row by row"),
        (lambda a, at, g: a.mean(0)[at].reshape(g[1], g[0]), "(down, across)"),
        (lambda a, at, g: to_map(a, at, g).T, "transposed"),
        (lambda a, at, g: a[:, at].reshape(-1, *g), "still apart"),
        (lambda a, at, g: a.mean(0)[at], "row of numbers"),
        (lambda a, at, g: a.mean(0), "every token"),
        (lambda a, at, g: a.mean(1), "first axis"),
        (lambda a, at, g: to_map(a, at, g) + 0.5 * to_map(a, at, g) ** 2, "is expected there"),
        (lambda a, at, g: "a map", "an array of numbers"),
    ],
)
def test_patch_map_names_the_mistake(mistake, word):
    found = check.patch_map(mistake)
    assert not found and found.status == "mistake"
    assert word in found.message


@pytest.mark.parametrize("name", ["greedy_decode", "patch_map"])
def test_an_empty_stub_is_not_done(name):
    found = getattr(check, name)(lambda *arguments: ...)
    assert found.status == "not done" and not found
