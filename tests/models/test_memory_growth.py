"""The peak of memory does not grow with the data: measured on large pictures, at one size and at ten times that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.growth import HEIGHT, MANY, WIDTH

ROOM = 60
"""MiB that a peak may vary by: a few pictures more or less are under way at a time."""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process reset its peak")
def test_peaks_do_not_grow_with_the_data(tiny_folder: Path, tmp_path: Path) -> None:
    kept = MANY * HEIGHT * WIDTH * 3 / 2**20
    assert kept >= 3 * ROOM, "kept pictures would show"
    done = subprocess.run(
        [sys.executable, "-m", "tests.growth", str(tiny_folder), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    growth = json.loads(done.stdout.splitlines()[-1])
    assert growth and all(grown < ROOM for grown in growth.values()), growth
