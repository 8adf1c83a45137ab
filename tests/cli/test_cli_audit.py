"""``pcvr audit``: files, clean data, resuming, and what is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcvr import open_data
from tests.cli.test_cli import Command, pcvr, refused
from tests.training.test_scan import records

__all__ = ["pcvr"]

N = 54


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explain fewer samples, with fewer images."""
    monkeypatch.setattr("pcvr.auditing.explain.DRAWS", 24)


def test_scores_report_summary_and_clean_data(pcvr: Command, tiny_folder: Path, tmp_path: Path, quick: None) -> None:
    source = records(tmp_path, "messages")
    words = ("audit", source, "--model", tiny_folder, "--out", "found", "--device", "cpu")
    code, out, err = pcvr(*words, "--clean", "kept.json")
    assert code == 0, err
    assert "--split train" not in out, "nothing is evaluated"
    assert f"No evidence for poison in {N} samples" in out and "the report" in out and f"{N} of {N} samples" in out
    folder = tmp_path / "found"
    assert {each.name for each in folder.iterdir()} == {"scores", "scores.csv", "summary.json", "report.html"}
    assert json.loads((folder / "summary.json").read_text())["evidence"] is False
    assert len((folder / "scores.csv").read_text().splitlines()) == N + 1
    assert len(open_data(tmp_path / "kept.json")) == N and (tmp_path / "kept.json.log.json").is_file()
    before = (folder / "scores.csv").read_bytes()
    code, out, err = pcvr(*words, "--table", "parquet")
    assert code == 0 and (folder / "scores.parquet").is_file() and (folder / "scores.csv").read_bytes() == before
    refused(pcvr(*words, "--seed", 3), "holds the scores of another audit (other seed)")


def test_what_is_refused(pcvr: Command, tiny_folder: Path, tmp_path: Path) -> None:
    source = records(tmp_path, "messages", n=5)
    refused(pcvr("audit", source, "--model", tiny_folder, "--out", "found"), "the data have 5 samples")
    refused(pcvr("audit", source, "--table", "xlsx"), "--table is 'xlsx': give csv or parquet")
    refused(pcvr("audit", source, "--false-alarms", 0.5), "false_alarms is 0.5", "up to 0.1")
    refused(pcvr("audit", "nothing.json"), "there is no data at nothing.json")
    refused(pcvr("audit", source, "--clean", source), "exists already")
    refused(pcvr("audit", "scenes", "--n", 60, "--clean", "kept.json"), "come from no file or table")
    refused(pcvr("audit", source, "--out", "found.json", "--clean", "found.json"), "the audit writes into --out")
    (tmp_path / "kept2.json.log.json").write_text("mine")
    refused(pcvr("audit", source, "--clean", "kept2.json"), "kept2.json.log.json exists already")
    (tmp_path / "bad.json").write_text(json.dumps([{"image": "no.png", "query": "what?", "response": "a cat"}]))
    refused(pcvr("audit", "bad.json"), "or give --skip-bad to leave them out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    refused(pcvr("audit", source, "--out", "mine"), "mine exists already")
    assert not (tmp_path / "audit").exists() and not (tmp_path / "kept.json").exists()
