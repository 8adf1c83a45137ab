"""Quizzes: written in Markdown in ``course/quiz/``, given out as pages for print and as GIFT, which Moodle imports.

A question is a heading of level two; what follows it is its text. Its answers are a task list: ``- [x]`` the right one,
``- [ ]`` a wrong one, each with its explanation in a quote below it::

    ## What does the attacker control?

    - [x] a few training samples
      > Image and answer of some samples: that is the threat model.
    - [ ] the loss
      > The defender runs the training.

Figures are asked for by name: see `coursekit.facts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from coursekit.facts import filled
from coursekit.pages import inline_html, page, to_html

_HEADING = re.compile(r"^## (.+)$", re.M)
_ANSWER = re.compile(r"^- \[([ x])\] ")
_LETTERS = "abcdefgh"


class QuizError(Exception):
    """A quiz that cannot be used: the sentence names file and question."""


@dataclass(frozen=True)
class Answer:
    """One answer of a question, with the reason why it is right or wrong."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """A multiple-choice question with one right answer.

    Attributes:
        text: Markdown.
        answers: in the order in which they are shown, which depends on their words alone.
    """

    text: str
    answers: tuple[Answer, ...]

    @property
    def right(self) -> str:
        """The letter of the right answer."""
        return next(letter for letter, each in zip(_LETTERS, self.answers, strict=False) if each.right)


def read_quiz(file: Path) -> list[Question]:
    """Return the questions of a file, with their figures.

    Raises:
        QuizError: the file is missing, has no question, or a question breaks the form.
        FactError: a figure is unknown.
    """
    if not file.is_file():
        raise QuizError(f"{file.parent.name}/{file.name} is missing: every notebook has a quiz.")
    parts = _HEADING.split(filled(file.read_text(encoding="utf-8")))[1:]
    found = [_question(file.name, *pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    if not found:
        raise QuizError(f"{file.name} has no question: a question is a heading of level two.")
    return found


def _question(file: str, heading: str, rest: str) -> Question:
    lines = rest.strip("\n").splitlines()
    starts = [i for i, line in enumerate(lines) if _ANSWER.match(line)]
    before = "\n".join(lines[: starts[0]] if starts else lines).strip()
    answers = [_answer(lines[a:b]) for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    where = f"{file}, {heading!r}"
    if sum(each.right for each in answers) != 1 or len(answers) < 3:
        raise QuizError(f"{where}: a question has one right answer, '- [x]', and two wrong ones or more, '- [ ]'.")
    if not all(each.why for each in answers):
        raise QuizError(f"{where}: every answer has an explanation below it, a line that begins with '  > '.")
    if len({each.text.casefold() for each in answers}) != len(answers):
        raise QuizError(f"{where}: two answers are the same once their figures are filled in.")
    mixed = sorted(answers, key=lambda each: sha256(f"{heading}\0{each.text}".encode()).digest())
    return Question(f"{heading}\n\n{before}".strip(), tuple(mixed))


def _answer(lines: Sequence[str]) -> Answer:
    mark = _ANSWER.match(lines[0])
    assert mark is not None
    said = [lines[0][mark.end() :], *(line.strip() for line in lines[1:] if not line.lstrip().startswith(">"))]
    why = [line.strip().removeprefix(">").strip() for line in lines[1:] if line.lstrip().startswith(">")]
    return Answer(" ".join(said).strip(), mark[1] == "x", " ".join(why).strip())


def quiz_page(title: str, questions: Sequence[Question], solved: bool) -> str:
    """Return a quiz as a page for print: to answer, or with the answers and why each is right or wrong."""
    items = []
    for question in questions:
        answers = []
        for letter, each in zip(_LETTERS, question.answers, strict=False):
            box = ("☑" if each.right else "☐") if solved else "☐"
            why = f'<span class="why">{inline_html(each.why)}</span>' if solved else ""
            text = f"<span>{letter}) {inline_html(each.text)}{why}</span>"
            answers.append(f'<li><span class="box" aria-hidden="true">{box}</span>{text}</li>')
        items.append(f'<li>{to_html(question.text)}<ul class="answers">{"".join(answers)}</ul></li>')
    key = f"<p>Right: {', '.join(f'{i} {q.right}' for i, q in enumerate(questions, 1))}</p>" if solved else ""
    kind = "answers" if solved else "quiz"
    return page(f"{title}: {kind}", f'<h1>{title}: {kind}</h1>\n{key}<ol class="quiz">{"".join(items)}</ol>')


def quiz_markdown(title: str, questions: Sequence[Question]) -> str:
    """Return a quiz as Markdown to answer, without the solutions."""
    lines = [f"# {title}: quiz", ""]
    for number, question in enumerate(questions, 1):
        heading, _, rest = question.text.partition("\n\n")
        lines += [f"## {number}. {heading}", "", *([rest, ""] if rest else [])]
        lines += [f"- [ ] {letter}) {a.text}" for letter, a in zip(_LETTERS, question.answers, strict=False)]
        lines.append("")
    return "\n".join(lines)


def gift(category: str, questions: Sequence[Question]) -> str:
    """Return a quiz in Moodle's GIFT format: explanations become the feedback of each answer.

    Args:
        category: under which Moodle files the questions.
        questions: of the quiz.
    """
    parts = [f"$CATEGORY: pcvr/{category}"]
    for number, question in enumerate(questions, 1):
        answers = [f"  {'=' if a.right else '~'}{_escaped(a.text)}#{_escaped(a.why)}" for a in question.answers]
        head = f"::{_escaped(f'{category}, question {number}')}::[markdown]{_escaped(question.text)} {{"
        parts.append("\n".join([head, *answers, "}"]))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """Text for GIFT: its signs escaped, line breaks as ``\\n``, formulas in the brackets that Moodle knows."""
    text = re.sub(r"\$\$(.+?)\$\$", r"\\[\1\\]", text, flags=re.DOTALL)
    text = re.sub(r"\$([^$]+)\$", r"\\(\1\\)", text)
    return re.sub(r"([~=#{}:])", r"\\\1", text.replace("\\", "\\\\")).replace("\n", "\\n")
