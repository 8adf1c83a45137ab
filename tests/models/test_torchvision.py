"""A torchvision of another build than torch's: one sentence wherever transformers would stumble over it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the path with an installed torchvision that cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(BROKEN, encoding="utf-8")
    (folder / "torchvision-0.99.dist-info").mkdir()
    (folder / "torchvision-0.99.dist-info" / "METADATA").write_text("Name: torchvision\nVersion: 0.99\n", "utf-8")
    return folder


def run(root: Path, broken: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(broken), str(root)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_is_one_sentence_everywhere(root: Path, broken: Path) -> None:
    tries = (
        "pcvr.load('tiny-llava')",
        "pcvr.finetune",
        "import pcvr.pretraining.pretrain",
        "import pcvr.training.backdoor_watch",
    )
    code = "import pcvr\n" + "".join(
        f"try:\n    {each}\nexcept pcvr.PcvrError as problem:\n    print(problem)\n" for each in tries
    )
    done = run(root, broken, "-c", code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(tries)
    for line in lines:
        assert line.startswith("torchvision is installed and does not work with torch")
        assert "operator torchvision::nms does not exist" in line and "pip uninstall torchvision" in line


def test_the_command_line_says_it(root: Path, broken: Path, tmp_path: Path) -> None:
    done = run(root, broken, "-m", "pcvr", "train", str(tmp_path / "out"), "--samples", "8", "--max-steps", "1")
    assert done.returncode == 2 and "torchvision is installed and does not work" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
