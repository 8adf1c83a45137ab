"""An audit as a whole, on a tiny model: object, files, resuming, workers, bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pcvr import (
    Audit,
    AuditConfig,
    PcvrError,
    Sample,
    VisionLanguageModel,
    audit,
    get_attack,
    load,
    open_data,
    poison,
)
from pcvr.auditing import reading
from pcvr.auditing.explain import GRID, likeness_map
from pcvr.auditing.scoring import answer_key, score_batch
from pcvr.models.encode import EncodedData
from pcvr.models.modes import eval_mode
from pcvr.training.loop_context import LoopContext
from tests.tiny import Numbers

N, RATE = 240, 0.06


@pytest.fixture(scope="module")
def found() -> Iterator[Audit]:
    data = poison(open_data("scenes", n=N), get_attack("badnets"), RATE)
    yield audit(data, load("tiny-llava", device="cpu"))


def test_the_triggered_pictures_are_flagged(found: Audit) -> None:
    truth = np.isin(np.arange(N), found.data.poisoned)  # type: ignore[attr-defined]
    assert found.evidence and found.flagged[truth].mean() >= 0.9 and not found.flagged[~truth].any()
    assert np.array_equal(found.keep(), np.flatnonzero(~found.flagged)) and len(found) == N
    assert set(found.worst(12)) <= set(np.flatnonzero(truth))
    said = str(found)
    assert said.startswith(f"Evidence for poison: {found.flagged.sum()} of {N} samples") and "false alarms" in said


def test_issues_have_a_row_for_every_sample(found: Audit, tmp_path: Path) -> None:
    table = found.issues()
    assert len(table) == N and table["id"].tolist() == [found.data[i].id for i in range(N)]
    assert table["flagged"].tolist() == found.flagged.tolist() and table["repeats"].max() == round(RATE * N)
    assert table.select_dtypes("number").notna().all().all()
    for ending, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        again = read(found.save(tmp_path / f"scores{ending}"))
        assert again["score"].to_numpy() == pytest.approx(table["score"].to_numpy()) and len(again) == N
    with pytest.raises(PcvrError, match=r"ends with .csv or .parquet"):
        found.save(tmp_path / "scores.xlsx")
    found.save_summary(tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["flagged"] == found.flagged.sum() and summary["triggers"][0]["kind"] == "image trigger"


def test_the_report_is_one_page(found: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcvr.auditing.explain.DRAWS", 40)
    page = found.report(tmp_path / "report.html", "pcvr audit <data>")
    assert page == (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    for words in ("Summary", "image trigger", "threshold", "The worst samples", "Equal answers", "cannot see"):
        assert words in page
    assert "pcvr audit &lt;data&gt;" in page and "looks like the trigger" in page
    assert all(re.findall(r'<img [^>]*alt="[^"]+"', page)) and page.count("<img") >= 25
    assert page.count("the model says") == 12 and "the model says" not in found.report(worst=0)
    with pytest.raises(PcvrError, match="worst is -1"):
        found.report(worst=-1)


def test_a_map_shows_where_the_trigger_is(found: Audit) -> None:
    worst = int(found.worst(1)[0])
    values = likeness_map(found.model, found.verdict.directions[0], found.data[worst])
    row, column = np.unravel_index(values.argmax(), GRID)
    assert values.shape == GRID and (int(row), int(column)) == (7, 7), "the square is bottom right"


def test_no_evidence_is_said_so(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    clean = audit(Numbers(80), tiny, config=AuditConfig(attention=False))
    assert not clean.evidence and not clean.flagged.any() and len(clean.keep()) == 80
    assert str(clean).startswith("No evidence for poison in 80 samples") and "no proof" in str(clean)
    assert "attention" not in clean.issues() and clean.summary()["threshold"] is None
    assert "No evidence for poison" in clean.report()


def test_scores_are_what_they_say(tiny: VisionLanguageModel) -> None:
    data = Numbers(6)
    encoded = EncodedData(tiny, data)
    run = LoopContext(tiny, 0, tiny)
    with eval_mode(tiny.model):
        scores = score_batch(run, encoded.batch(range(6)))
        row = encoded.batch([2])
        with torch.no_grad():
            output = tiny.model(**{k: v for k, v in row.items() if k not in ("index",)})
    assert scores["nll"][2] == pytest.approx(float(output.loss), rel=1e-3)
    assert (scores["invariance"] >= 0).all() and scores["attention"].shape[0] == 6 == len(scores["images"])
    assert ((scores["attention"] >= 0) & (scores["attention"] <= 1)).all()
    assert scores["label_tokens"].shape == scores["token_nll"].shape
    mean = (scores["token_nll"].astype(float).sum(1)) / scores["tokens"]
    assert mean == pytest.approx(scores["nll"], rel=1e-2)


def test_equal_answers_have_one_key() -> None:
    assert answer_key("A red  Ball") == answer_key("a red ball ") != answer_key("a red bell")
    assert answer_key("猫") != answer_key("犬") and 0 <= answer_key("é") < 2**63


def test_a_warm_up_adds_a_loss(tiny_folder: Path, tmp_path: Path) -> None:
    config = AuditConfig(warm_up=2)
    found = audit(Numbers(60), tiny_folder, config=config, folder=tmp_path / "scores", device="cpu")
    assert np.isfinite(found.issues()["loss_drop"]).all() and found.issues()["loss_drop"].abs().max() > 0
    again = audit(Numbers(60), tiny_folder, config=config, folder=tmp_path / "scores", device="cpu")
    assert again.issues().equals(found.issues()) and again.about["resumed"]


def test_what_was_scored_is_not_scored_again(
    tiny: VisionLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever shard an interruption comes before, the result is that of one pass; a shard of one sample too."""
    monkeypatch.setattr("pcvr.auditing.store.SHARD", 17)
    data = Numbers(52)
    whole = audit(data, tiny).issues()
    plain = reading.score_shard
    made: list[int] = []

    def stopped(job: reading.Job, shard: int) -> int:
        if shard == 2 and 2 not in made:
            made.append(2)
            raise KeyboardInterrupt
        made.append(shard)
        return plain(job, shard)

    monkeypatch.setattr(reading, "score_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        audit(data, tiny, folder=tmp_path / "scores")
    found = audit(data, tiny, folder=tmp_path / "scores")
    assert made == [0, 1, 2, 2, 3] and found.about["resumed"]
    pd.testing.assert_frame_equal(found.issues(), whole)


SLOW = """
import sys, time
from tests.tiny import Numbers
from pcvr import audit
from pcvr.auditing import reading, store
store.SHARD = 20
plain = reading.score_shard
def slow(job, shard):
    time.sleep(0.4)
    return plain(job, shard)
reading.score_shard = slow
audit(Numbers(100), sys.argv[1], folder=sys.argv[2], device="cpu")
"""


def test_it_goes_on_after_kill_9(
    root: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scores"
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", SLOW, str(tiny_folder), str(folder)], env=environment) as started:
        until = time.monotonic() + 300
        while not list(folder.glob("scores-*")) and time.monotonic() < until and started.poll() is None:
            time.sleep(0.02)
        started.send_signal(signal.SIGKILL)
    there = sorted(folder.glob("scores-*"))
    assert 1 <= len(there) < 5
    before = {file: file.stat().st_mtime_ns for file in there}
    monkeypatch.setattr("pcvr.auditing.store.SHARD", 20)
    found = audit(Numbers(100), tiny_folder, folder=folder, device="cpu")
    assert found.about["resumed"] and {file: file.stat().st_mtime_ns for file in there} == before
    whole = audit(Numbers(100), tiny_folder, device="cpu")
    pd.testing.assert_frame_equal(found.issues(), whole.issues())


def test_workers_give_the_same(tiny_folder: Path, tmp_path: Path) -> None:
    one = audit(Numbers(300), tiny_folder, device="cpu")
    two = audit(Numbers(300), tiny_folder, workers=2, device="cpu")
    left, right = one.issues(), two.issues()
    for name in ("score", "nll", "invariance", "support"):
        assert left[name].to_numpy() == pytest.approx(right[name].to_numpy(), abs=1e-3)


def test_memory_does_not_grow_with_the_pictures(tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all the pictures, no more than some shards are alive at a time."""
    import tracemalloc

    monkeypatch.setattr("pcvr.auditing.store.SHARD", 32)
    peaks = []
    for count in (96, 384):
        tracemalloc.start()
        audit(Numbers(count, side=96), tiny, config=AuditConfig(attention=False))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    pictures = 288 * 96 * 96 * 3
    assert peaks[1] - peaks[0] < pictures, "the pictures of 288 more samples alone would take as much"


class TestBadInput:
    def test_too_few_samples(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="the data have 1 sample, among which"):
            audit(Numbers(1), tiny)
        with pytest.raises(PcvrError, match="the data have 49 samples, among which"):
            audit(Numbers(49), tiny)

    def test_empty_labels(self, tiny: VisionLanguageModel) -> None:
        class Empty(Numbers):
            def __getitem__(self, index: int, /) -> Sample:
                sample = super().__getitem__(index)
                return replace(sample, answer=" ") if index == 3 else sample

        with pytest.raises(PcvrError, match="sample '3' has an empty label"):
            audit(Empty(60), tiny)

    def test_all_identical_answers_and_other_scripts(self, tiny: VisionLanguageModel) -> None:
        same = audit(Numbers(60, answers=("赤いボール",)), tiny)
        assert not same.evidence and "All samples have one answer" in str(same) and "赤いボール" in same.report()
        mixed = audit(Numbers(60, answers=("красный мяч", "كرة حمراء", "लाल गेंद")), tiny)
        assert not mixed.evidence and len(set(mixed.issues()["repeats"])) == 1

    def test_a_model_that_cannot_answer(self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pcvr.auditing.result.LOST", 0.5)
        assert "it cannot answer this task" in str(audit(Numbers(60), tiny))
        with pytest.raises(PcvrError, match="unknown model 'tiny-lava'"):
            audit(Numbers(60), "tiny-lava")
        with pytest.raises(PcvrError, match="give a transformers or peft model"):
            audit(Numbers(60), 5)

    def test_a_model_larger_than_memory(self, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pcvr.models.memory.free_memory", lambda device: 2**20)
        monkeypatch.setattr(reading, "opened_as", lambda *_: pytest.fail("the weights were opened"))
        with pytest.raises(PcvrError, match=r"needs about .* are free: .*take a smaller model"):
            audit(Numbers(60), tiny_folder)

    def test_options(self, tiny: VisionLanguageModel) -> None:
        for options, words in (
            ({"warm_up": -1}, "warm_up is -1"),
            ({"false_alarms": 0.0}, "false_alarms is 0.0: give a number above 0"),
            ({"seed": "a"}, "seed is 'a'"),
        ):
            with pytest.raises(PcvrError, match=words):
                AuditConfig(**options)
        with pytest.raises(PcvrError, match=r"config is \{\}"):
            audit(Numbers(60), tiny, config={})  # type: ignore[arg-type]
        with pytest.raises(PcvrError, match="workers is 2, and each has to open the model"):
            audit(Numbers(60), tiny, workers=2)

    def test_a_folder_without_permission(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(PcvrError, match="could not be written"):
            audit(Numbers(60), tiny, folder=tmp_path / "file" / "scores")
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        if os.access(closed, os.W_OK):
            return  # the administrator may write anywhere
        with pytest.raises(PcvrError, match="could not be written"):
            audit(Numbers(60), tiny, folder=closed / "scores")
