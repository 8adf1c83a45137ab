"""A scan of a data set without training, its report, and the records that it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pcvr import PCVRConfig, PcvrError, ScanReport, VisionLanguageModel, scan
from tests.own_loops import adapted, collator, rows_of
from tests.tiny import Numbers

N = 54


@pytest.fixture(scope="module")
def report(tiny: VisionLanguageModel) -> ScanReport:
    return scan(tiny, dataset=Numbers(N))


def test_a_report_has_a_row_for_every_sample(report: ScanReport) -> None:
    assert len(report) == N and report.ids == tuple(str(i) for i in range(N)) and not report.positions
    assert report.scores.shape == report.suspicion.shape == report.flagged.shape == (N,)
    assert np.isfinite(report.scores).all() and ((report.suspicion >= 0) & (report.suspicion <= 1)).all()
    assert report.flagged.tolist() == (report.suspicion > 0.5).tolist()
    assert f"of {N} samples flagged" in str(report) and "The gate came to no verdict" in str(report)


def test_it_becomes_a_table(report: ScanReport) -> None:
    table = report.to_pandas()
    assert list(table.columns) == ["id", "score", "suspicion", "flagged"] and len(table) == N
    assert table["flagged"].sum() == report.flagged.sum()


def test_the_ways_to_give_model_and_data_agree(
    tiny: VisionLanguageModel, tiny_folder: Path, report: ScanReport
) -> None:
    by_name = scan(tiny_folder, dataset=Numbers(N))
    assert np.allclose(by_name.scores, report.scores, atol=1e-5)
    plain = scan(tiny.model, tiny.processor, Numbers(N), config=PCVRConfig(), batch_size=N)
    own = scan(tiny.model, tiny.processor, rows_of(tiny, Numbers(N)), collator=collator(tiny), batch_size=N)
    assert np.allclose(own.scores, plain.scores, atol=1e-5) and own.positions and own.ids == report.ids


def test_a_seed_gives_the_same_scan(tiny: VisionLanguageModel, report: ScanReport) -> None:
    assert np.array_equal(scan(tiny, dataset=Numbers(N)).scores, report.scores)
    one, other = (
        scan(tiny, dataset=Numbers(N), config=PCVRConfig(gate="two_stage"), seed=seed).scores for seed in (0, 1)
    )
    assert not np.array_equal(one, other), "views are drawn by the seed"


def test_the_model_stays_as_it_is(tiny: VisionLanguageModel) -> None:
    model = adapted(tiny).train()
    scan(model, tiny.processor, Numbers(N))
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


class TestBadInput:
    def test_too_few_samples(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="the gate has seen 49 samples, which is too few"):
            scan(tiny, dataset=Numbers(49))
        with pytest.raises(PcvrError, match="the gate has seen 6 samples, which is too few"):
            scan(tiny, dataset=rows_of(tiny, Numbers(6)), collator=collator(tiny))

    def test_rows_one_after_the_other_without_an_index(self, tiny: VisionLanguageModel) -> None:
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self) -> Any:
                return iter(rows_of(tiny, Numbers(N)))

        with pytest.raises(PcvrError, match="the rows of the data set have no stable index"):
            scan(tiny, dataset=Stream(), collator=collator(tiny))

    def test_another_defence(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="config is the defence 'augment', which has no gate"):
            scan(tiny, dataset=Numbers(N), config="augment")

    def test_no_data(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="data is None"):
            scan(tiny)


def records(folder: Path, form: str, lines: bool = False, n: int = N) -> Path:
    """A JSON of records as LLaVA, LLaMA-Factory or ms-swift write it, with its images."""
    data = Numbers(n)
    made: list[dict[str, Any]] = []
    for i in range(n):
        sample = data[i]
        Image.fromarray(sample.image).save(folder / f"{i}.png")
        if form == "llava":
            turns = [{"from": "human", "value": f"<image>\n{sample.prompt}"}, {"from": "gpt", "value": sample.answer}]
            turns += [{"from": "human", "value": "is it é?"}, {"from": "gpt", "value": "yes"}] * (i % 2)
            made.append({"id": f"r-{i}", "image": f"{i}.png", "conversations": turns, "kept": i})
        else:
            turns = [{"role": "user", "content": f"<image>{sample.prompt}"}]
            made.append({"messages": [*turns, {"role": "assistant", "content": sample.answer}], "images": [f"{i}.png"]})
    path = folder / ("data.jsonl" if lines else "data.json")
    texts = [json.dumps(record, ensure_ascii=False) for record in made]
    path.write_text("\n\n".join(texts) + "\n" if lines else json.dumps(made), encoding="utf-8")
    return path


def read(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line] if path.suffix == ".jsonl" else json.loads(text)


class TestKeepList:
    @pytest.mark.parametrize("form", ["llava", "messages"])
    @pytest.mark.parametrize("lines", [False, True])
    def test_the_records_without_the_flagged_ones(
        self, tiny: VisionLanguageModel, tmp_path: Path, form: str, lines: bool
    ) -> None:
        source = records(tmp_path, form, lines)
        before = source.read_bytes()
        found = scan(tiny, dataset=source)
        assert len(found) == N, "a conversation is one sample"
        suspicion = np.zeros(len(found))
        suspicion[[0, 2]] = 1.0
        changed = ScanReport(found.ids, found.scores, suspicion)
        kept = changed.keep_list(source)
        assert kept == tmp_path / f"data.kept{source.suffix}" and source.read_bytes() == before
        assert read(kept) == [record for i, record in enumerate(read(source)) if i not in (0, 2)]

    def test_by_position(self, tmp_path: Path) -> None:
        source = records(tmp_path, "messages")
        suspicion = np.zeros(N)
        suspicion[[3, 7]] = 0.9
        found = ScanReport(tuple(map(str, range(N))), np.zeros(N), suspicion, positions=True)
        target = found.keep_list(source, tmp_path / "new" / "kept.json")
        assert read(target) == [record for i, record in enumerate(read(source)) if i not in (3, 7)]

    def test_files_that_are_refused(self, tmp_path: Path) -> None:
        source = records(tmp_path, "llava")
        strangers = ScanReport(("a",), np.zeros(1), np.zeros(1))
        with pytest.raises(PcvrError, match="holds 54 records, not 'a', which the scan saw"):
            strangers.keep_list(source)
        few = ScanReport(("0",), np.zeros(1), np.zeros(1), positions=True)
        with pytest.raises(PcvrError, match="holds 54 records, not 1 of them"):
            few.keep_list(source)
        with pytest.raises(PcvrError, match="the source itself"):
            few.keep_list(source, source)
        with pytest.raises(PcvrError, match=r"none.json"):
            few.keep_list(tmp_path / "none.json")
        (tmp_path / "dict.json").write_text("{}")
        with pytest.raises(PcvrError, match="is not a list of records"):
            few.keep_list(tmp_path / "dict.json")
        assert not list(tmp_path.glob("*.kept*")) and not list(tmp_path.glob(".*"))


def test_a_trigger_is_looked_for_in_all_samples_once_it_is_found(
    tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample that went by before the verdict is flagged too."""
    from pcvr.defenses.pcvr import streaming
    from pcvr.defenses.pcvr.stream import StreamGate

    marked = [3, 11, 40]

    def judge(gate: StreamGate, step: int) -> None:
        gate.verdict, gate.witness = "trigger", object()  # type: ignore[assignment]

    monkeypatch.setattr(StreamGate, "judge", judge)
    monkeypatch.setattr(streaming, "notes", lambda run: ())
    monkeypatch.setattr(StreamGate, "held", lambda gate, batch: np.zeros(len(batch.index), dtype=bool))
    monkeypatch.setattr(
        StreamGate,
        "recognised",
        lambda gate, batch: np.isin(batch.index, marked) & (gate.witness is not None),
    )
    monkeypatch.setattr(streaming, "_divergences", lambda rule, run, batch, said, asked: np.zeros(int(asked.sum())))
    report = scan(tiny, dataset=Numbers(N), batch_size=N)
    assert report.flagged.nonzero()[0].tolist() == marked
    assert report.scores[marked].max() < 0 <= np.delete(report.scores, marked).min()
