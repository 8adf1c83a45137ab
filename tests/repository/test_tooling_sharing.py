"""Workers share the tests in units: pages together, each notebook alone, elsewhere by file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sharing import unit_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/browser/test_ask_page.py::test_a", "tests/browser"),
        ("tests/browser/test_harness.py::test_b[x::y]", "tests/browser"),
        ("tests/notebooks/test_run.py::test_c[student-00]", "tests/notebooks/test_run.py::test_c[student-00]"),
        ("tests/data/test_d.py::TestE::test_f[a::b]", "tests/data/test_d.py"),
    ],
)
def test_units(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid) == unit


def outcome(tmp_path: Path, *arguments: str) -> str:
    """What pytest prints for two small files under this checkout's own conftest."""
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    for shared in (ROOT / "tests").glob("[!t]*.py"), (ROOT / "tests").glob("tiny.py"):
        for path in shared:
            (tmp_path / "tests" / path.name).write_bytes(path.read_bytes())
    one = "import os\nimport pytest\n@pytest.mark.parametrize('k', range(6))\ndef test_it(k):\n"
    for name in "ab":
        (folder / f"test_{name}.py").write_text(f"{one}    print('{name} is run by', os.getpid())\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = --import-mode=importlib\n")
    command = [sys.executable, "-m", "pytest", "-rP", str(tmp_path), *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "12 passed" in done.stdout, done.stdout + done.stderr
    return done.stdout


def test_a_file_stays_with_one_worker(tmp_path: Path) -> None:
    said = outcome(tmp_path, "-n", "2")
    by = {name: {line for line in said.splitlines() if line.startswith(f"{name} is run by")} for name in "ab"}
    assert len(by["a"]) == len(by["b"]) == 1


@pytest.mark.parametrize("arguments", [("-n", "0"), ("-p", "no:xdist")])
def test_workers_are_a_choice(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    outcome(tmp_path, *arguments)
