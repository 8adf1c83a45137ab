"""The course kit: make it, and read what students hand in.

python tools/course.py build                     the kit, into build/course
python tools/course.py grades FOLDER [--rerun]   who solved what, from FOLDER/STUDENT/NOTEBOOK.ipynb
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from bookkit.source import SourceError
from coursekit.building import CourseError, build
from coursekit.facts import FactError
from coursekit.grades import as_rows, read_submissions, summary
from coursekit.lessons import lessons
from coursekit.plans import PlanError
from coursekit.quiz import QuizError
from coursekit.rerun import rerun

from pcvr.utils.files import write_text
from pcvr.utils.terminal import run_command

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two commands and return the exit status."""
    options = _options(arguments)
    try:
        return int(options.run(options))
    except (SourceError, CourseError, QuizError, PlanError, FactError, FileNotFoundError) as problem:
        print(problem, file=sys.stderr)
        return 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("build", help="make the kit")
    made.add_argument("--out", type=Path, default=ROOT / "build/course", help="folder of the kit, made anew")
    made.add_argument("--executed", type=Path, default=ROOT / "build/workbook", help="executed notebooks, for figures")
    made.set_defaults(run=_build)
    graded = commands.add_parser("grades", help="read what students handed in")
    graded.add_argument("folder", type=Path, help="with a folder for each student")
    graded.add_argument("--rerun", action="store_true", help="run each exercise again; no sandbox")
    graded.add_argument("--out", type=Path, default=Path("grades.csv"), help="the table; a summary goes beside it")
    graded.set_defaults(run=_grades)
    return parser.parse_args(arguments)


def _build(options: argparse.Namespace) -> int:
    for sentence in build(ROOT, options.out, options.executed):
        print(sentence)
    print(f"The course kit is in {options.out}: begin with {options.out / 'index.html'}")
    return 0


def _grades(options: argparse.Namespace) -> int:
    if not options.folder.is_dir():
        raise FileNotFoundError(f"{options.folder} is no folder: it takes FOLDER/STUDENT/NOTEBOOK.ipynb.")
    grades = read_submissions(options.folder, lessons(ROOT), rerun if options.rerun else None)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(as_rows(grades))
    said = summary(grades)
    write_text(options.out.with_suffix(".md"), said)
    print(f"{said}\nWritten to {options.out} and {options.out.with_suffix('.md')}")
    return 0


if __name__ == "__main__":
    run_command(main)
