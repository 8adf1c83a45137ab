"""A new attack or defence is one file: tables, README, pictures and tests do without a row of it, and take one."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import readme

from pcvr.attacks import ATTACKS, Attack, register_attack
from pcvr.defenses import DEFENSES, Defense, register_defense
from pcvr.experiments import Experiment, further_attacks, results
from pcvr.experiments.benchmark import make_table, table_parser
from tests.experiments.test_benchmark import pretended
from tests.repository import test_readme as claims

NAME = "newcomer"


@pytest.fixture(autouse=True)
def newcomers() -> Iterator[None]:
    """An attack and a defence of that name."""

    @register_attack(NAME)
    def build(preset: str = "scaled", **options: Any) -> Attack:
        return ATTACKS["badnets"](preset, **options)

    @register_defense
    @dataclass(frozen=True)
    class Newcomer(Defense):
        name = NAME

    yield
    ATTACKS.unregister(NAME)
    DEFENSES.unregister(NAME)


def test_every_claim_of_the_readme_still_holds() -> None:
    assert NAME in ATTACKS and NAME in DEFENSES and further_attacks()[-1]
    plain = [test for name, test in inspect.getmembers(claims, inspect.isfunction) if name.startswith("test_")]
    found = [test for test in plain if not inspect.signature(test).parameters]
    assert len(found) >= 9
    for test in found:
        test()
    for file, pattern, count in claims.COUNTED:
        claims.test_what_is_counted_in_words_is_there_as_often(file, pattern, count)


@pytest.mark.parametrize(
    ("name", "always"), [("attacks", True), ("defenses", True), ("distributions", False), ("premise", False)]
)
def test_its_row_can_be_made(name: str, always: bool) -> None:
    benchmark = import_module(f"benchmarks.{name}")
    by = results.load(name).by
    plan = benchmark.plan()
    assert (NAME in {getattr(experiment, by) for experiment in plan}) == always
    if not always:
        assert {experiment.label for experiment in benchmark.plan([NAME])} & {NAME, "defended"}


def test_its_row_goes_into_table_readme_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in results.FOLDER.glob("*.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    texts = [file.read_text(encoding="utf-8") for file in readme.FILES]
    assert [readme.filled(text) for text in texts] == texts
    rows: dict[str, dict[str, Any]] = {
        "attacks": {"attack": NAME},
        "defenses": {"defense": NAME, "attack": "sig"},
    }
    for name, given in rows.items():
        before = results.load(name)
        words = ["--only", NAME, "--out", str(tmp_path / f"{name}.json"), "--runs", str(tmp_path / "runs")]
        plan = [Experiment(NAME, **given)]
        table = make_table(table_parser(name, "").parse_args(words), plan, run=pretended)
        assert table.rows == [*before.rows, NAME] and table.runs[:-1] == before.runs
    lines = set("\n".join(map(readme.filled, texts)).splitlines()) - set("\n".join(texts).splitlines())
    assert len([line for line in lines if line.startswith(f"| {NAME} |")]) == 2
    captions = [line for line in lines if line.startswith("*")]
    assert len(captions) == 2 and all(f"; {NAME}: `python benchmarks/" in line for line in captions)
    assert len(lines) == 4, "every other line stays"
    for name in rows:
        assert readme.drawn(name).startswith(b"\x89PNG")
