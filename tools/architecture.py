"""Write the generated parts of ``docs/architecture.md`` and its picture: ``python tools/architecture.py [--check]``.

The picture is drawn from `STEPS`; the list of folders comes from their docstrings, the order of the floors from
CONTRIBUTING.md, and the table of notebooks from the imports in their sources. ``--check`` only compares.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pcvr.plots.style import CLEAN, DEFENDED, INK, TRIGGERED, figure_style
from pcvr.utils.files import write_text

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.png"


class Step(NamedTuple):
    """One box of the picture.

    Attributes:
        call: what a user writes, after ``pcvr.``.
        folder: where it lives, below ``pcvr/``.
        at: column and row of the box.
        colour: of its edge.
        to: calls that take what it gives.
    """

    call: str
    folder: str
    at: tuple[float, float]
    colour: str
    to: tuple[str, ...]


STEPS = (
    Step("open_data", "data", (0, 2), CLEAN, ("poison",)),
    Step("get_attack", "attacks", (0, 1), TRIGGERED, ("poison",)),
    Step("load", "models, defenses", (1.15, 1), CLEAN, ("finetune",)),
    Step("poison", "attacks", (1.15, 2), TRIGGERED, ("finetune",)),
    Step("get_defense", "defenses", (1.15, 0), DEFENDED, ("finetune",)),
    Step("finetune", "training", (2.3, 1), DEFENDED, ("evaluate", "generate")),
    Step("evaluate", "evaluation", (3.45, 1.6), CLEAN, ("Record",)),
    Step("generate", "evaluation", (3.45, 0.4), CLEAN, ("notebooks",)),
    Step("Record", "evaluation", (4.6, 1.6), CLEAN, ("notebooks",)),
    Step("notebooks", "analysis,\nexperiments,\nplots, widgets", (5.75, 1), INK, ()),
)
_BOX = (0.86, 0.62)  # in columns and rows


def picture() -> Figure:
    """The flow from data and attack through fine-tuning with a defence to a Record and the notebooks."""
    where = {step.call: step.at for step in STEPS}
    with figure_style():
        figure = Figure(figsize=(8.2, 3.7), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlim=(-0.5, 6.25), ylim=(-0.5, 2.5))
        axes.set_axis_off()
        for step in STEPS:
            x, y = step.at
            corner = (x - _BOX[0] / 2, y - _BOX[1] / 2)
            axes.add_patch(
                FancyBboxPatch(
                    corner, *_BOX, boxstyle="round,pad=0,rounding_size=0.06", fc="white", ec=step.colour, lw=2
                )
            )
            axes.text(x, y + 0.12, step.call, ha="center", va="center", weight="bold", color=INK, fontsize=10)
            folder = step.folder if "," in step.folder else f"pcvr/{step.folder}/"
            axes.text(x, y - 0.11, folder, ha="center", va="center", color=INK, fontsize=8, linespacing=1.0)
            for target in step.to:
                tx, ty = where[target]
                start, end = (x + _BOX[0] / 2, y), (tx - _BOX[0] / 2, ty)
                axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=INK, lw=1))
    return figure


def floors() -> list[str]:
    """The order of the floors, low to high, as the sentence in CONTRIBUTING.md has it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sentence = re.search(r"Floors, from low to high: ([^.]+)\.", text)
    if sentence is None:
        raise SystemExit("CONTRIBUTING.md has no sentence 'Floors, from low to high: ...'.")
    return re.findall(r"`(\w+)`", sentence[1])


def folders() -> list[str]:
    """One line a folder: what its docstring says first, lowest floor first."""
    order = floors()
    found = [path.parent for path in (ROOT / "pcvr").rglob("__init__.py") if path.parent != ROOT / "pcvr"]
    names = sorted(
        (folder.relative_to(ROOT / "pcvr").as_posix() for folder in found), key=lambda n: (_floor(n, order), n)
    )
    lines = ["| folder | what it holds |", "| --- | --- |"]
    for name in names:
        said = ast.get_docstring(ast.parse((ROOT / "pcvr" / name / "__init__.py").read_text(encoding="utf-8"))) or ""
        lines.append(f"| `{name}/` | {' '.join(said.split(chr(10) * 2)[0].split())} |")
    return lines


def _floor(name: str, order: list[str]) -> int:
    return order.index(name.split("/")[0])


def notebooks() -> list[str]:
    """Which notebook imports which modules, public calls of ``pcvr`` itself left out."""
    lines = ["| notebook | modules |", "| --- | --- |"]
    for source in sorted((ROOT / "workbook").glob("[0-9]*.py")):
        modules = {
            node.module.removeprefix("pcvr.")
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pcvr.")
        }
        lines.append(f"| {source.stem} | {', '.join(f'`{module}`' for module in sorted(modules))} |")
    return lines


PARTS = {"folders": folders, "notebooks": notebooks}


def written(page: str) -> str:
    """`page` with the generated part between each pair of marks made again."""
    for name, make in PARTS.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise SystemExit(f"{PAGE.name} needs one {begin} and one {end}.")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{chr(10).join(make())}\n{end}{rest.split(end)[1]}"
    return page


def main() -> None:
    """Write or compare."""
    text = PAGE.read_text(encoding="utf-8")
    fresh = written(text)
    if "--check" in sys.argv[1:]:
        raise SystemExit(
            0 if fresh == text else "docs/architecture.md is not up to date: run python tools/architecture.py"
        )
    write_text(PAGE, fresh)
    picture().savefig(PICTURE, dpi=110, metadata={"Software": None})
    print(f"wrote {PAGE.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
