"""Lesson plans: written as TOML in ``course/plans/``, with minutes that come from the notebooks, not from the plan.

A plan has a title, a frame and sessions; a session has steps. A step does one thing:

- ``work = "02"``: everybody works through the notebook; its minutes are those of `coursekit.lessons`;
- ``show = "03"``: the teacher shows it: running time, predictions, and a minute for each slide;
- ``solve = "auroc"``: one exercise, with the minutes of its card;
- ``quiz = "02"``: the quiz, at a minute and a half a question;
- ``home = "06"``: to be worked through at home, no minutes of the session;
- ``talk = 10``: minutes that the plan sets: an introduction, a break, a discussion.

``say`` tells the teacher what the step is for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from coursekit.handouts import student
from coursekit.lessons import Lesson
from coursekit.slides import slides_of

SLIDE_MINUTES = 1.0
QUESTION_MINUTES = 1.5
_KINDS = ("work", "show", "solve", "quiz", "home", "talk")


class PlanError(Exception):
    """A plan that cannot be used: the sentence names file and step."""


@dataclass(frozen=True)
class Step:
    """One step of a session.

    Attributes:
        what: in words, with a link to the notebook.
        minutes: rounded up.
        say: what it is for.
        known: False if a running time in it was not measured.
    """

    what: str
    minutes: int
    say: str
    known: bool


@dataclass(frozen=True)
class Session:
    """Steps that follow each other without a longer pause, and the minutes that they may take."""

    title: str
    frame: int
    steps: tuple[Step, ...]

    @property
    def minutes(self) -> int:
        """The minutes of its steps."""
        return sum(step.minutes for step in self.steps)


@dataclass(frozen=True)
class Plan:
    """A lesson plan."""

    title: str
    aim: str
    sessions: tuple[Session, ...]


def read_plan(file: Path, lessons: Sequence[Lesson], questions: Mapping[str, int]) -> Plan:
    """Return a plan with its minutes.

    Args:
        file: TOML.
        lessons: of the checkout.
        questions: how many questions the quiz of each notebook has, by its number.

    Raises:
        PlanError: a step names what is not there, or two things at once.
    """
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    sessions = []
    for each in content["session"]:
        steps = tuple(_step(file.name, step, lessons, questions) for step in each["step"])
        sessions.append(Session(each["title"], int(each["minutes"]), steps))
    return Plan(content["title"], content["aim"].strip(), tuple(sessions))


def _step(file: str, step: Mapping[str, Any], lessons: Sequence[Lesson], questions: Mapping[str, int]) -> Step:
    kinds = [kind for kind in _KINDS if kind in step]
    if len(kinds) != 1 or "say" not in step:
        raise PlanError(f"{file}: a step has 'say' and one of {', '.join(_KINDS)}, and this one is {dict(step)}.")
    (kind,) = kinds
    value, say = step[kind], str(step["say"])
    if kind == "talk":
        return Step("talk", int(value), say, True)
    if kind == "solve":
        for each in lessons:
            if value in each.cards:
                return Step(f"exercise `{value}` of {_link(each)}", each.cards[value]["minutes"], say, True)
        raise PlanError(f"{file}: no notebook has an exercise {value!r}.")
    lesson = next((each for each in lessons if each.number == value), None)
    if lesson is None:
        raise PlanError(f"{file}: there is no notebook {value!r}.")
    if kind == "quiz":
        return Step(f"quiz of {_link(lesson)}", ceil(QUESTION_MINUTES * questions[lesson.number]), say, True)
    found = lesson.minutes
    known = found.waiting is not None
    if kind == "home":
        return Step(f"at home: {_link(lesson)}, {ceil(found.total)} minutes", 0, say, known)
    if kind == "work":
        return Step(f"work through {_link(lesson)}", ceil(found.total), say, known)
    shown = SLIDE_MINUTES * len(slides_of(student(lesson))) + found.predicting + (found.waiting or 0)
    return Step(f"show {_link(lesson)}", ceil(shown), say, known)


def _link(lesson: Lesson) -> str:
    return f"[{lesson.number} {lesson.title.partition(':')[0]}](../student/{lesson.name}.ipynb)"


def plan_markdown(plan: Plan, made: str) -> str:
    """Return a plan to read.

    Args:
        plan: with its minutes.
        made: one sentence that says where running times are from.
    """
    lines = [f"# {plan.title}", "", plan.aim, ""]
    for session in plan.sessions:
        lines += [f"## {session.title}", "", "| from minute | minutes | what | for what |", "| --- | --- | --- | --- |"]
        begin = 0
        for step in session.steps:
            mark = "" if step.known else " *"
            lines.append(f"| {begin} | {step.minutes}{mark} | {step.what} | {step.say} |")
            begin += step.minutes
        left = session.frame - session.minutes
        spare = f"{left} minutes to spare" if left >= 0 else f"{-left} minutes too long"
        lines += ["", f"{session.minutes} of {session.frame} minutes: {spare}.", ""]
    lines += ["## Where the minutes are from", "", made, ""]
    if not all(step.known for session in plan.sessions for step in session.steps):
        lines += ["\\* without the running time of the cells, which was not measured yet.", ""]
    return "\n".join(lines)
