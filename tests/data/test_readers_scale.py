"""A hundred thousand entries are read in seconds and in little memory, their pictures looked for included."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.readers import measure, write_many
from pcvr.data import CocoCaptions


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is asked of POSIX")
def test_a_hundred_thousand_pictures(tmp_path: Path) -> None:
    path = write_many(tmp_path / "many", 100_000)
    _, seconds, grown = measure("pcvr", path)
    assert seconds < 10  # of the processor: what else the machine does is not its fault
    assert grown < 300, "MiB"


def test_the_big_file_is_one_of_captions(tmp_path: Path) -> None:
    data = CocoCaptions(write_many(tmp_path / "many", 50))
    assert len(data) == 50
    identity, _, _, references = data._records.texts(49)
    assert identity == "346"
    assert len(references) == 5
    assert all(text.startswith("Picture 49 shows") for text in references)
