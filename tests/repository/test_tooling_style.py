"""Style and types of the whole checkout."""

import subprocess
import sys


def run(root, *command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing(root):
    run(root, "ruff", "check", "--output-format=concise", ".")


def test_mypy_finds_nothing(root):
    run(root, "mypy")
