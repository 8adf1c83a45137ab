"""The store of scores: shards are whole or not there, and of one plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pcvr import PcvrError
from pcvr.auditing.store import SHARD, ScoreStore
from tests.auditing.stores import Made


def test_columns_and_rows_come_back(tmp_path: Path) -> None:
    made = Made(2 * SHARD + 3)
    store = made.written(tmp_path / "scores")
    assert store.missing() == [] and store.shards == 3 and len(store.ids()) == made.count
    steady = store.column("invariance")
    assert steady is not None and np.array_equal(steady, made.invariance) and store.column("nll_after") is None
    rows = np.array([2 * SHARD + 2, 0, SHARD, SHARD - 1])
    assert np.array_equal(store.rows("images", rows), made.images[rows])
    assert store.rows("images", np.zeros(0, int)).shape[0] == 0


def test_slices_come_back_as_they_are(tmp_path: Path) -> None:
    """A slice has the bytes of other columns between its own."""
    store = ScoreStore(tmp_path / "scores", {}, 4)
    wide = np.arange(40, dtype=np.float16).reshape(4, 10)
    store.write(0, {"images": wide[:, :7]}, list("abcd"))
    assert np.array_equal(store.read(0, "images")["images"], wide[:, :7])


def test_ids_of_any_script(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "scores", {}, 3)
    ids = ["图-1", "צ", "a\udcff"]
    store.write(0, {"nll": np.zeros(3)}, ids)
    assert store.ids() == ["图-1", "צ", "a\\udcff"]


def test_another_plan_is_refused(tmp_path: Path) -> None:
    ScoreStore(tmp_path / "scores", {"model": "a", "seed": 0}, 5)
    with pytest.raises(PcvrError, match=r"another audit \(other model\)"):
        ScoreStore(tmp_path / "scores", {"model": "b", "seed": 0}, 5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(PcvrError, match="holds no scores of an audit"):
        ScoreStore(tmp_path / "other", {}, 5)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    store = Made(10).written(tmp_path / "scores")
    store.path(0).write_bytes(b"\x05\x00")
    with pytest.raises(PcvrError, match=r"scores-000000.safetensors is damaged"):
        store.column("nll")
    store.path(0).unlink()
    assert store.missing() == [0]
