"""Plans: what a file declares, and one sentence for whatever is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pcvr import PcvrError
from pcvr.experiments import Experiment
from pcvr.experiments.study.plan import check_plan, load_plan, plan_of

HEAD = "from pcvr.experiments import Experiment\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.py"


@pytest.mark.parametrize(
    "text",
    [
        "PLAN = [Experiment('a'), Experiment('b', seed=1), Experiment('a')]",
        "PLAN = (Experiment(name, seed=seed) for name, seed in [('a', 0), ('b', 1)])",
        "def plan():\n    yield Experiment('a')\n    yield Experiment('b', seed=1)",
        "from beside import PLAN",
        "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Row:\n    label: str\n\n"
        "PLAN = [Experiment(Row('a').label), Experiment('b', seed=1)]",
    ],
)
def test_what_a_file_declares(file: Path, text: str) -> None:
    (file.parent / "beside.py").write_text(HEAD + "PLAN = [Experiment('a'), Experiment('b', seed=1)]")
    lines = text.split("\n")
    lines.insert(1 if "__future__" in text else 0, HEAD)
    file.write_text("\n".join(lines))
    before = list(sys.path)
    try:
        plan = load_plan(file)
    finally:
        sys.modules.pop("beside", None)
    assert plan.name == "mine" and plan.rows == ["a", "b"]
    assert plan.cells == {cell.key: cell for cell in (Experiment("a"), Experiment("b", seed=1))}
    assert list(plan.only(["b"]).cells.values()) == [Experiment("b", seed=1)] and plan.only([]).cells == plan.cells
    assert sys.path == before and "pcvr_study_plan" not in sys.modules


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "neither PLAN nor plan()"),
        ("PLAN = []", "is empty"),
        ("PLAN = 3", "is 3: give a file with PLAN"),
        ("PLAN = 'abc'", "is 'abc'"),
        ("PLAN = {'a': 1}", "give a file with PLAN"),
        ("PLAN = [Experiment('a'), 4]", "entry 2 of the plan mine is 4"),
        ("PLAN = None", "neither PLAN nor plan()"),
        ("def plan(what):\n    return []", "TypeError"),
        ("def plan():\n    return 1 / 0", "line 3 (ZeroDivisionError: division by zero)"),
        ("def plan():\n    yield Experiment('a', rate=7)", "line 3: rate must lie in [0, 1]"),
        ("PLAN = [Experiment('a', rate=7)]", "line 2: rate must lie in [0, 1]"),
        ("PLAN = [Experiment('a', speed=7)]", "line 2 (TypeError"),
        ("PLAN = [\n", "line 2 (SyntaxError"),
        ("import nothing_of_this_name", "line 2 (ModuleNotFoundError"),
        ("raise SystemExit(3)", "line 2 (SystemExit: 3"),
        ("\x00", "does not run"),
    ],
)
def test_each_error_is_a_sentence(file: Path, text: str, words: str) -> None:
    file.write_text(HEAD + text)
    with pytest.raises(PcvrError) as found:
        load_plan(file)
    said = str(found.value)
    assert words in said and "\n" not in said and said.endswith(".") and "mine" in said


@pytest.mark.parametrize("make", [lambda f: None, lambda f: f.mkdir(), lambda f: f.write_bytes(b"\xff\xfe")])
def test_a_file_that_cannot_be_read(file: Path, make: object) -> None:
    make(file)  # type: ignore[operator]
    with pytest.raises(PcvrError, match=r"the plan .*mine.py' cannot be read"):
        load_plan(file)


def test_an_unknown_row(file: Path) -> None:
    with pytest.raises(PcvrError, match="unknown row 'augmet': did you mean 'augment'"):
        plan_of([Experiment("augment")]).only(["augmet"])


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Experiment("row", "pcrv"), "unknown defence 'pcrv': did you mean 'pcvr'"),
        (Experiment("row", "pcvr", {"capp": 1}), "capp"),
        (Experiment("row", attack="bad"), "unknown attack 'bad'"),
        (Experiment("row", attack_options={"sighs": 4}), "sighs"),
        (Experiment("row", task="captions"), "unknown task 'captions'"),
        (Experiment("row", "strip"), "needs trusted samples"),
        (Experiment("row", tests=1), "tests is 1: give a whole number from 2 up"),
        (Experiment("row", second="badnets"), "second is 'badnets', the first attacker's attack"),
        (Experiment("row", second="nope"), "unknown attack 'nope'"),
    ],
)
def test_what_cannot_be_built_is_refused_before_the_work(cell: Experiment, words: str) -> None:
    with pytest.raises(PcvrError) as found:
        check_plan(plan_of([Experiment("good"), cell]))
    said = str(found.value)
    assert words in said and "(row)" in said and "\n" not in said
