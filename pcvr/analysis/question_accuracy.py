"""Ask questions about scenes whose answers are known, and count the correct answers by kind of question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pcvr.data.scenes.telegrams import TERSE_PROMPT
from pcvr.errors import PcvrError
from pcvr.evaluation.generate import generate
from pcvr.tasks import get_task
from pcvr.utils.checks import check_seed

if TYPE_CHECKING:
    from pcvr.data.sample import Sample
    from pcvr.data.scenes import Scene
    from pcvr.models.vlm import VisionLanguageModel

_BEGINNINGS = (
    ("list the objects.", "list everything"),
    ("what colour", "colour of an object"),
    ("how many", "how many"),
    ("is there", "is it there?"),
    ("where is", "where is it?"),
    ("which object is on", "which is on that side?"),
    ("which object is the", "which is the largest?"),
    ("which object", "which has that colour?"),
)
_RELATIONS = ("left of", "above")


@dataclass(frozen=True)
class Grade:
    """A model's accuracy on one kind of question.

    Attributes:
        kind: what was asked, in a few words.
        correct: number of correct answers, word for word.
        n: number of questions.
        guess: correct answers of a model that never looks and always gives the commonest answer.
        miss: question, answer and truth of a wrong answer; empty if there is none.
    """

    kind: str
    correct: int
    n: int
    guess: int
    miss: tuple[str, ...] = ()


def kind_of(question: str) -> str:
    """Return the kind of a question about a scene, in a few words."""
    for beginning, kind in _BEGINNINGS:
        if question.startswith(beginning):
            return kind
    if question.startswith("is the"):
        return "left of, above" if any(f" {how} " in question for how in _RELATIONS) else "is it that colour?"
    return "other"


def usual_question(vlm: VisionLanguageModel, sample: Sample, task: str) -> str:
    """Return the usual question for a base model: models with the embedded vocabulary learnt lists, not captions."""
    terse = get_task(task).prompt is not None and vlm.tokenizer.init_kwargs.get("pcvr_word_level", False)
    return TERSE_PROMPT if terse else sample.prompt


def bare_words(text: str) -> str:
    """Return the words alone in lower case, to compare answers."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def question_accuracy(vlm: VisionLanguageModel, scenes: Sequence[Scene], seed: int = 0) -> list[Grade]:
    """Ask `vlm` one question of each kind about each scene.

    Args:
        vlm: the model.
        scenes: such as ``pcvr.data.scenes.Scenes(n=24, split="test").scene(i)``.
        seed: picks the questions.

    Returns:
        A grade for each kind of question, the best first.

    Raises:
        PcvrError: there are no scenes.
    """
    if not scenes:
        raise PcvrError("there are no scenes to ask about: give at least one.")
    check_seed(seed)
    rng = np.random.default_rng(seed)
    asked = [(scene, *turn) for scene in scenes for turn in _questions(scene, rng)]
    images = {id(scene): scene.picture() for scene in scenes}
    answers = generate(vlm, [images[id(scene)] for scene, _, _ in asked], [question for _, question, _ in asked])
    kinds: dict[str, list[tuple[str, str, str]]] = {}
    for (_, question, truth), answer in zip(asked, answers, strict=True):
        kinds.setdefault(kind_of(question), []).append((question, answer, truth))
    grades = [_grade(kind, turns) for kind, turns in kinds.items()]
    return sorted(grades, key=lambda grade: -grade.correct / grade.n)


def _questions(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return the list of objects, and one question of each kind, as pairs ``(question, truth)``."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for group in scene.questions():
        for question, truth in group:
            by_kind.setdefault(kind_of(question), []).append((question, truth))
    return [scene.telegrams()[0], *(turns[int(rng.integers(len(turns)))] for turns in by_kind.values())]


def _grade(kind: str, turns: Sequence[tuple[str, str, str]]) -> Grade:
    wrong = [turn for turn in turns if bare_words(turn[1]) != bare_words(turn[2])]
    commonest = Counter(bare_words(truth) for _, _, truth in turns).most_common(1)[0][1]
    return Grade(kind, len(turns) - len(wrong), len(turns), commonest, wrong[0] if wrong else ())
