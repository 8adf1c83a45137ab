"""Commands that the texts name exist: scripts with their options, targets of make, and commands of pcvr."""

import re
import subprocess
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from pcvr.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = re.compile(r"python (?:-m )?((?:tools|benchmarks)[/.](?!NAME)\w+)(?:\.py)?((?: +[\w.='\"/-]+)*)")
SHARED = ROOT / "pcvr" / "experiments" / "benchmark.py"  # options of all tables
MADE = re.compile(r"<!-- (\w+):begin -->.*?<!-- \1:end -->", re.S)  # tables: they say how they were made at their time


def texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "workbook/*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines()]


def named(pattern: str | re.Pattern[str]) -> dict[tuple[str, ...], str]:
    """What matches in what people wrote, with a file that says it."""
    found: dict[tuple[str, ...], str] = {}
    for file in texts():
        for match in re.finditer(pattern, MADE.sub("", file.read_text(encoding="utf-8"))):
            found.setdefault(match.groups(), str(file.relative_to(ROOT)))
    return found


def test_the_texts_are_read() -> None:
    assert len(named(SCRIPT)) > 20 and len(named(r"`make ([a-z]+)")) > 5 and len(named(r"`pcvr ([a-z]+)")) > 5


@pytest.mark.parametrize(("said", "where"), named(SCRIPT).items())
def test_a_script_and_its_words_exist(said: tuple[str, str], where: str) -> None:
    name, words = said
    script = ROOT / f"{name.replace('.', '/')}.py"
    assert script.is_file(), where
    known = script.read_text(encoding="utf-8") + SHARED.read_text(encoding="utf-8")
    for option in re.findall(r"--[a-z-]+", words):
        assert f'"{option}"' in known, f"{where}: {script.name} has no {option}"
    if script.name == "course.py":
        assert f'"{words.split()[0]}"' in known, f"{where}: {words}"


@pytest.mark.parametrize(("said", "where"), named(r"`make ([a-z]+)").items())
def test_a_target_of_make_exists(said: tuple[str], where: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{said[0]}:", makefile, re.M), where


@pytest.mark.parametrize(("said", "where"), named(r"`pcvr ([a-z]+)").items())
def test_a_command_of_pcvr_exists(said: tuple[str], where: str) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup) and said[0] in group.commands, where
