"""Threads that wait sleep: `import pcvr` sees to it where it still can, and everything imports it before torch."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
LOADS_TORCH = {"torch", "transformers", "peft", "accelerate", "torchvision"}


def policy_after(code: str, **chosen: str) -> str:
    """``OMP_WAIT_POLICY`` in a child of a new interpreter that ran `code`, and nothing else chosen."""
    shown = "import os, subprocess, sys\nprint(os.environ.get('OMP_WAIT_POLICY'))"
    asks = f"{code}\nimport subprocess, sys\nsubprocess.run([sys.executable, '-c', {shown!r}], check=True)"
    environment = {k: v for k, v in os.environ.items() if k not in CHOICES} | {"PYTHONPATH": str(ROOT)} | chosen
    done = subprocess.run([sys.executable, "-c", asks], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_import_sets_it_for_children_too() -> None:
    assert policy_after("import pcvr") == "PASSIVE"


@pytest.mark.parametrize(
    ("name", "value", "after"),
    [("OMP_WAIT_POLICY", "ACTIVE", "ACTIVE"), ("GOMP_SPINCOUNT", "7", "None"), ("KMP_BLOCKTIME", "9", "None")],
)
def test_a_choice_of_the_user_wins(name: str, value: str, after: str) -> None:
    assert policy_after("import pcvr", **{name: value}) == after


def test_nothing_is_changed_where_torch_has_read_it() -> None:
    torch = "import sys, types\nsys.modules['torch'] = types.ModuleType('torch')"  # the name is all that counts
    assert policy_after(f"{torch}\nimport pcvr") == "None"


def test_torch_reads_it() -> None:
    """The runtime of the build that is installed says what it took from the environment."""
    code = "import pcvr, torch; torch.ones(4) @ torch.ones(4)"
    environment = {k: v for k, v in os.environ.items() if k not in CHOICES}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "TRUE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    said = [line for line in (done.stderr + done.stdout).splitlines() if "OMP_WAIT_POLICY" in line]
    assert said and all("PASSIVE" in line for line in said)


def test_these_tests_run_under_it() -> None:
    assert any(name in os.environ for name in CHOICES)


def imported_first(source: str) -> list[str]:
    """The packages that a program imports, in order, those inside functions left out."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module.split(".")[0])
    return found


def programs() -> dict[str, str]:
    """Name -> source of every notebook and benchmark; the one that compares policies chooses for itself."""
    found = {path.name: path.read_text() for path in ROOT.glob("benchmarks/*.py") if path.name != "waiting.py"}
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("solutions/*.ipynb")]:
        cells = nbformat.read(path, as_version=4).cells
        code = [cell.source for cell in cells if cell.cell_type == "code"]
        found[f"{path.parent.name}/{path.name}"] = "\n".join(line for text in code for line in _plain(text))
    return found


def _plain(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(("%", "!"))]


def test_every_notebook_and_benchmark_imports_pcvr_before_torch() -> None:
    found = programs()
    assert len(found) > 20
    for name, source in found.items():
        order = imported_first(source)
        heavy = [order.index(package) for package in LOADS_TORCH if package in order]
        assert not heavy or order.index("pcvr") < min(heavy), f"{name} loads torch before pcvr has set how threads wait"
    assert any("torch" in imported_first(source) for source in found.values())


def test_make_hands_it_to_what_it_starts() -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS")) and k not in CHOICES}
    show = ["make", "-s", "-C", str(ROOT), "--eval", "show:;@echo $$OMP_WAIT_POLICY", "show"]
    for environment, expected in ((clean, "PASSIVE"), (clean | {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        done = subprocess.run(show, env=environment, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == expected
