"""The layout: no circle of imports, no import upwards, a small root, and tests in the folders of what they test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.layers import circle, floors, imported, imports, place, places, upward

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pcvr"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
GRAPH = imports(PACKAGE)


def folders(top: Path) -> set[str]:
    """The folders under `top` with modules of their own, as paths from there."""
    return {
        file.parent.relative_to(top).as_posix()
        for file in top.rglob("*.py")
        if file.parent != top and not file.name.startswith("__")
    }


def test_every_module_is_read() -> None:
    assert len(GRAPH) == len(list(PACKAGE.rglob("*.py"))) > 150
    assert "pcvr.training.finetune" in GRAPH["pcvr.training"]
    assert sum(map(len, GRAPH.values())) > 500


def test_no_circle_of_imports() -> None:
    assert circle(GRAPH) == []
    assert circle(places(GRAPH)) == []


def test_no_import_goes_up() -> None:
    order = floors(TEXT)
    assert set(order) == set(places(GRAPH)), "the floors in CONTRIBUTING.md name every place"
    assert upward(GRAPH, order) == []


def test_the_root_is_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def test_only_the_command_line_imports_the_making_of_models() -> None:
    importing = {place(module) for module, others in GRAPH.items() if any(place(o) == "pretraining" for o in others)}
    assert importing <= {"pretraining", "cli"}


def test_tests_lie_in_the_folders_of_what_they_test() -> None:
    named = re.search(r"^- `tests/` (.*?)^- ", TEXT, re.M | re.S)
    assert named, "CONTRIBUTING.md has no item about the folders of tests"
    special = set(re.findall(r"`(\w+)`", named[1]))
    tested = {f.parent.relative_to(ROOT / "tests").as_posix() for f in (ROOT / "tests").rglob("test_*.py")}
    assert folders(PACKAGE) - tested == set(), "folders without tests"
    assert tested - folders(PACKAGE) - special - {"."} == set(), "tests of no folder"
    assert special <= tested, "special folders without tests"
    root_modules = {file.stem for file in PACKAGE.glob("*.py")}
    assert {file.stem.removeprefix("test_") for file in (ROOT / "tests").glob("test_*.py")} <= root_modules


def listed() -> set[str]:
    """The public submodules: a row names a package, and its public modules beside or below it."""
    table = TEXT.partition("## Public submodules")[2].partition("\n## ")[0]
    found = set()
    for package, modules in re.findall(r"^\| `(pcvr\.\w+)` \| (.*) \|$", table, re.M):
        found |= {package if name == "itself" else f"{package}.{name}" for name in re.findall(r"[\w.]+", modules)}
    return found


def test_every_public_submodule_is_there() -> None:
    assert len(listed()) > 40
    assert listed() <= GRAPH.keys()


def test_readme_docs_and_notebooks_use_public_submodules_only() -> None:
    modules = GRAPH.keys() - {"pcvr"}
    used = {(name, f.name) for f in (ROOT / "workbook").glob("*.py") for name in imported("", f, modules)}
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        used |= {
            (n, file.name) for n in re.findall(r"(?:from|import) (pcvr\.[\w.]+)", file.read_text(encoding="utf-8"))
        }
    assert len(used) > 40
    assert sorted(use for use in used if use[0] not in listed()) == [], "list them in CONTRIBUTING, Public submodules"


FLOORS = "Floors, from low to high: `low` < `middle`, `side` < `high` < `__init__`."


class TestFakeTrees:
    """The checks themselves: each finds what it is there for."""

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        package = tmp_path / "house"
        for name in ("__init__", "low/__init__", "low/a", "low/b", "middle/__init__", "middle/c", "side", "high"):
            file = package / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
        write(package, "middle/c", "from house.low import a\nimport house.low.b")
        write(package, "high", "def f():\n    from house.middle.c import x")
        write(package, "__init__", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.high import f")
        return package

    def test_a_clean_tree(self, tree: Path) -> None:
        graph = imports(tree)
        assert graph["house.middle.c"] == {"house.low.a", "house.low.b"}
        assert graph["house.high"] == {"house.middle.c"} and graph["house"] == {"house.high"}
        assert places(graph) == {
            "__init__": {"high"}, "low": set(), "middle": {"low"}, "side": set(), "high": {"middle"}
        }  # fmt: skip
        assert circle(graph) == [] and upward(graph, floors(FLOORS)) == []

    @pytest.mark.parametrize(
        "line", ["from house.low.b import y", "from house.low import b", "from . import b", "from .b import y"]
    )
    @pytest.mark.parametrize(
        "around", ["{}", "def f():\n    {}", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {}"]
    )
    def test_a_circle_of_modules_is_found(self, tree: Path, line: str, around: str) -> None:
        write(tree, "low/a", around.format(line))
        assert circle(imports(tree)) == []
        write(tree, "low/b", "import house.low.a")
        assert set(circle(imports(tree))) == {"house.low.a", "house.low.b"}

    def test_a_circle_of_places_is_found(self, tree: Path) -> None:
        write(tree, "low/b", "import house.side")
        write(tree, "side", "import house.low.a")
        graph = imports(tree)
        assert circle(graph) == [] and set(circle(places(graph))) == {"low", "side"}

    @pytest.mark.parametrize(
        ("name", "line", "other"),
        [
            ("low/a", "from house.high import f", "house.high"),
            ("low/__init__", "from ..middle.c import x", "house.middle.c"),
            ("side", "def f():\n    import house.middle.c", "house.middle.c"),
            ("side", "from house import f", "house"),
        ],
    )
    def test_an_import_upwards_is_found(self, tree: Path, name: str, line: str, other: str) -> None:
        write(tree, name, line)
        module = f"house.{name.replace('/', '.').removesuffix('.__init__')}"
        assert upward(imports(tree), floors(FLOORS)) == [f"{module} imports {other}"]


def write(package: Path, name: str, code: str) -> None:
    (package / f"{name}.py").write_text(code + "\n")
