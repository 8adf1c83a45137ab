"""The data without the flagged samples, in every format; nothing of the source changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcvr import Audit, PcvrError, open_data
from pcvr.auditing.combine import Verdict
from pcvr.auditing.store import ScoreStore
from pcvr.auditing.surprise import Surprise
from tests import formats
from tests.photographs import write_llava_photographs


def audited(data: Any, bad: list[int], folder: Path) -> Audit:
    """An audit that flags the samples `bad`."""
    count = len(data)
    store = ScoreStore(folder, {}, count)
    store.write(0, {"nll": np.ones(count), "answer": np.arange(count)}, [data[i].id for i in range(count)])
    flagged = np.isin(np.arange(count), bad)
    verdict = Verdict(flagged * 9.0, flagged, np.where(flagged, 0, -1), 5.0, 0.0)
    return Audit(
        data, "tiny-llava", store, Surprise(np.zeros(count), np.zeros(count)), verdict, {"model": "tiny-llava"}
    )


def vqa(folder: Path) -> Path:
    made: Any = formats.write_vqav2(folder)
    return Path(made[0] if isinstance(made, tuple) else made)


WRITERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "llava": (lambda folder: write_llava_photographs(folder, copies=1, side=48), "clean.json"),
    "coco": (lambda folder: formats.write_coco(folder), "clean.json"),
    "karpathy": (lambda folder: formats.write_karpathy(folder), "clean.json"),
    "vqav2": (vqa, "clean_questions.json"),
}


@pytest.mark.parametrize("form", WRITERS)
def test_each_format(form: str, tmp_path: Path) -> None:
    write, name = WRITERS[form]
    source = write(tmp_path / "data")
    file = source if source.is_file() else next(source.glob("*.json"))
    before = {each: each.read_bytes() for each in file.parent.glob("*") if each.is_file()}
    data = open_data(file)
    bad = [0, len(data) - 1]
    gone = {data[i].id for i in bad}
    target = audited(data, bad, tmp_path / "scores").clean(file.with_name(name))
    options: dict[str, Any] = {"annotations": target.with_name("clean_annotations.json")} if form == "vqav2" else {}
    kept = open_data(target, images=data.image_folder, **options)  # type: ignore[attr-defined]
    assert [kept[i].id for i in range(len(kept))] == [data[i].id for i in range(len(data)) if data[i].id not in gone]
    assert all(each.read_bytes() == content for each, content in before.items())
    log = json.loads(target.with_name(target.name + ".log.json").read_text(encoding="utf-8"))
    assert {each["id"] for each in log["left_out"]} == gone and log["threshold"] == 5.0


def test_a_table(tmp_path: Path) -> None:
    from datasets import Dataset
    from PIL import Image

    pictures = [Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)) for i in range(6)]
    table = Dataset.from_dict({"image": pictures, "caption": [f"caption {i}" for i in range(6)]})
    target = audited(open_data(table), [1, 4], tmp_path / "scores").clean(tmp_path / "clean")
    kept = open_data(target)
    assert [kept[i].answer for i in range(len(kept))] == [f"caption {i}" for i in (0, 2, 3, 5)]


def test_a_part_of_the_data(tmp_path: Path) -> None:
    """Samples that were not audited stay."""
    source = write_llava_photographs(tmp_path / "data", copies=1, side=48)
    file = source if source.is_file() else next(source.glob("*.json"))
    whole, part = open_data(file), open_data(file, n=5)
    target = audited(part, [2], tmp_path / "scores").clean(file.with_name("clean.json"))
    assert len(open_data(target, images=whole.image_folder)) == len(whole) - 1  # type: ignore[attr-defined]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    found = audited(open_data("scenes", n=4), [1], tmp_path / "scores")
    with pytest.raises(PcvrError, match="come from no file or table"):
        found.clean(tmp_path / "clean.json")
    source = write_llava_photographs(tmp_path / "data", copies=1, side=48)
    file = source if source.is_file() else next(source.glob("*.json"))
    found = audited(open_data(file), [1], tmp_path / "more")
    with pytest.raises(PcvrError, match="exists already"):
        found.clean(file)
    (tmp_path / "clean.json.log.json").write_text("mine")
    with pytest.raises(PcvrError, match=r"clean.json.log.json exists already"):
        found.clean(tmp_path / "clean.json")
    assert not (tmp_path / "clean.json").exists()
