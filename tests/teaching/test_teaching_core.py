"""The frame of the exercises: cards, what a check returns, what it says of exceptions, the record of what passed."""

import subprocess
import sys

import numpy as np
import pytest

from pcvr import teaching
from pcvr.errors import PcvrError
from pcvr.teaching.compare import expect
from pcvr.teaching.core import Mistake, Result, ask, exercise


@pytest.fixture(autouse=True)
def _fresh_record():
    teaching.forget_results()
    yield
    teaching.forget_results()


@exercise("double a number")
def doubled(function):
    """Check a function that doubles."""
    got = ask(function, 3, call="double(3)")
    if got != 6:
        raise Mistake(f"double(3) is {got}, but 6 is expected.")
    return "Twice as much."


def test_a_solved_exercise_is_true_and_recorded():
    found = doubled(lambda x: 2 * x)
    assert found and found.status == "passed"
    assert teaching.results()["doubled"] is found
    assert teaching.exercises()["doubled"] == "double a number"


@pytest.mark.parametrize("stub", [None, ..., lambda x: None, lambda x: ...])
def test_a_stub_gets_a_calm_message_and_is_false(stub):
    found = doubled(stub)
    assert not found and found.status == "not done"
    assert repr(found).startswith("Not done yet.")


def test_not_implemented_error_counts_as_a_stub():
    def stub(x):
        raise NotImplementedError

    assert doubled(stub).status == "not done"


def test_a_mistake_is_named():
    found = doubled(lambda x: x + 2)
    assert not found and "6 is expected" in found.message


def test_an_exception_is_explained_with_the_readers_own_line():
    def broken(x):
        return np.zeros(3).reshape(x, x)

    message = doubled(broken).message
    assert "ValueError" in message and "cannot reshape" in message
    assert "return np.zeros(3).reshape(x, x)" in message


def test_wrong_arguments_are_explained():
    message = doubled(lambda: 1).message
    assert "could not be called" in message and "arguments" in message


def test_a_value_instead_of_the_function_is_named():
    assert "without calling it" in doubled(6).message


def test_shown_in_a_notebook_as_escaped_html():
    html = Result("x", "mistake", "a < b")._repr_html_()
    assert "a &lt; b" in html and 'role="status"' in html and "Not yet" in html


def test_require_passed_names_what_is_missing():
    doubled(lambda x: 2 * x)
    teaching.require_passed("doubled")
    doubled(lambda x: x)
    with pytest.raises(PcvrError, match=r"doubled: Not yet(.|\n)*other: the check has not run"):
        teaching.require_passed("doubled", "other")


def test_card_says_figures_in_words_too():
    text = teaching.card(difficulty=2, importance=5, minutes=10)
    assert "●●○○○ 2 of 5" in text and "●●●●● 5 of 5" in text and "about 10 minutes" in text


@pytest.mark.parametrize(
    ("arguments", "word"), [((0, 1, 1), "difficulty"), ((1, 6, 1), "importance"), ((1, 1, 0), "minutes")]
)
def test_card_refuses_figures_out_of_range(arguments, word):
    with pytest.raises(PcvrError, match=word):
        teaching.card(*arguments)


WANT = np.array([[0.1, 0.2, 0.4], [0.3, 0.5, 0.9]])


@pytest.mark.parametrize(
    ("got", "word"),
    [
        (-WANT, "wrong sign"),
        (3 * WANT, "3 times"),
        (WANT + 0.5, "off by +0.5 everywhere"),
        (WANT.T, "swapped"),
        (WANT.sum(0), "too many"),
        (WANT[..., None], "axis of length 1"),
        (np.stack([WANT, WANT]), "sum or mean is missing"),
        (np.ones((3, 4)), "wrong axis"),
        (np.where(WANT > 0.8, np.nan, WANT), "NaN in 1 of 6"),
        (np.where(WANT > 0.8, np.inf, WANT), "infinite"),
        (np.where(WANT > 0.8, 7, WANT), "returns 7 at [1, 2], but 0.9 is expected"),
    ],
)
def test_compare_names_shape_sign_scale_and_place(got, word):
    with pytest.raises(Mistake) as raised:
        expect(got, WANT, "f(x)", "[B, T]")
    assert word in str(raised.value)


def test_compare_prefers_a_known_mistake():
    with pytest.raises(Mistake, match="half is missing"):
        expect(2 * WANT, WANT, "f(x)", "[B, T]", {"the half is missing": 2 * WANT})


def test_no_jupyter_and_no_torch_are_imported():
    code = "import sys, pcvr.teaching; print([m for m in ('IPython', 'ipywidgets', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
