"""One data set, one meaning: which samples a split has, whether it comes as an object, a folder or a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pcvr.cli.app import app
from pcvr.cli.defending import trusted
from pcvr.cli.source import Source
from pcvr.data import Dataset, check_data, open_data
from pcvr.data.subset import shared
from pcvr.errors import PcvrError
from tests import formats
from tests.photographs import write_llava_photographs

LABELS = ("train", "val", "test", "train", "restval")


def flickr(n: int = 5, labels: tuple[str, ...] = LABELS) -> datasets.Dataset:
    """Rows as nlphuji/flickr30k has them."""
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict(
        {
            "image": [Image.fromarray(np.full((4, 5, 3), 5 * i, np.uint8)) for i in range(n)],
            "caption": [[f"caption {i} {k}" for k in range(5)] for i in range(n)],
            "sentids": [[f"{5 * i + k}" for k in range(5)] for i in range(n)],
            "split": [labels[i % len(labels)] for i in range(n)],
            "img_id": [str(i) for i in range(n)],
            "filename": [f"{i}.jpg" for i in range(n)],
        }
    )
    return rows.cast_column("image", datasets.Image())


def ids(data: Dataset) -> list[str]:
    return [data[i].id for i in range(len(data))]


def forms(rows: datasets.Dataset, folder: Path) -> dict[str, Any]:
    """The same rows as an object, as the only member of a dictionary, and as the folders of both."""
    both = datasets.DatasetDict(test=rows)
    rows.save_to_disk(str(folder / "rows"))
    both.save_to_disk(str(folder / "both"))
    return {"rows": rows, "dictionary": both, "folder": folder / "rows", "folder of both": str(folder / "both")}


class TestOwnColumn:
    def test_it_decides_in_every_form(self, tmp_path: Path) -> None:
        for spec in forms(flickr(), tmp_path).values():
            assert ids(open_data(spec)) == ids(open_data(spec, "train")) == ["0.jpg", "3.jpg", "4.jpg"]
            for name in ("validation", "val", "dev", "VAL"):
                assert ids(open_data(spec, name)) == ["1.jpg"]
            assert ids(open_data(spec, "test")) == ["2.jpg"] == ids(open_data(spec, prefer="test"))
            assert ids(open_data(spec, "restval")) == ["4.jpg"]
            assert len(open_data(spec, "all")) == 5
            assert open_data(spec, "val").name.endswith(":validation")
            with pytest.raises(PcvrError, match=r"no split 'nonsense': it has train \(2\), val \(1\), test \(1\)"):
                open_data(spec, "nonsense")
            assert not check_data(spec)

    def test_it_gives_what_the_same_data_as_files_give(self, tmp_path: Path) -> None:
        path = formats.write_flickr_hf(tmp_path, 8)
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
        rows = datasets.Dataset.from_dict(
            {
                "image": [str(tmp_path / "flickr30k-images" / line["filename"]) for line in lines],
                "caption": [json.loads(line["raw"]) for line in lines],
                **{key: [line[key] for line in lines] for key in ("split", "filename", "img_id")},
            }
        ).cast_column("image", datasets.Image())
        for split in ("train", "validation", "test"):
            one, other = open_data(path, split), open_data(rows, split)
            assert ids(one) == ids(other)
            assert [one[i].answer for i in range(len(one))] == [other[i].answer for i in range(len(one))]

    def test_classes_and_rows_without_a_split(self) -> None:
        rows = flickr(4, ("train", "test"))
        named = rows.cast_column("split", datasets.ClassLabel(names=["test", "train"]))
        assert ids(open_data(named, "test")) == ["1.jpg", "3.jpg"]
        holes = rows.map(lambda row, i: row | {"split": None if i == 0 else row["split"]}, with_indices=True)
        whole = open_data(holes, "all")
        assert len(whole) == 4 and ids(open_data(holes, "train")) == ["2.jpg"]
        assert whole.report.notes == {"entry without a split, found in 'all' only": 1}  # type: ignore[attr-defined]

    def test_other_names_are_asked_for_by_name(self) -> None:
        rows = flickr(4, ("fold 1", "fold 2"))
        assert len(open_data(rows, "fold 1")) == 2 and len(open_data(rows, "all")) == 4
        with pytest.raises(PcvrError, match=r"no split 'train': it has fold 1 \(2\), fold 2 \(2\)"):
            open_data(rows)

    def test_in_records_too(self, tmp_path: Path) -> None:
        formats.grey(tmp_path / "a.png")
        turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
        records = [{"id": i, "image": "a.png", "conversations": turns * 2, "split": LABELS[i]} for i in range(5)]
        path = formats.write_json(tmp_path / "a.json", records)
        assert ids(open_data(path)) == ["0", "3", "4"]
        assert ids(open_data(path, turns="apart")) == ["0", "0#2", "3", "3#2", "4", "4#2"]
        assert ids(open_data(path, "dev", turns="apart")) == ["1", "1#2"]
        with pytest.raises(PcvrError, match=r"no split 'nonsense': it has train \(6\)"):
            open_data(path, "nonsense", turns="apart")


class TestDictionaries:
    def test_only_what_is_there(self, tmp_path: Path) -> None:
        rows = flickr().remove_columns("split")
        for spec in forms(rows, tmp_path).values():
            if spec is rows or spec == tmp_path / "rows":
                continue
            for split in (None, "train", "val"):
                with pytest.raises(PcvrError, match=r"it has test \(5\); give one of these, or split='all'"):
                    open_data(spec, split)
            assert len(open_data(spec, "test")) == len(open_data(spec, "all")) == 5

    def test_all_joins_and_synonyms_are_understood(self) -> None:
        rows = flickr().remove_columns("split")
        tables = datasets.DatasetDict(dev=rows.select([0]), train=rows.select([1, 2]), odd=rows.select([3]))
        assert ids(open_data(tables)) == ["1.jpg", "2.jpg"]
        assert ids(open_data(tables, "validation")) == ["0.jpg"]
        assert ids(open_data(tables, "odd")) == ["3.jpg"]
        assert ids(open_data(tables, "all")) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
        tables["odd"] = tables["odd"].remove_columns("caption")
        with pytest.raises(PcvrError):
            open_data(tables, "all")
        with pytest.raises(PcvrError, match="is empty"):
            open_data(datasets.DatasetDict())


class TestWithoutSplits:
    def test_tables_are_whole_unless_asked(self, tmp_path: Path) -> None:
        rows = flickr(40).remove_columns("split")
        rows.save_to_disk(str(tmp_path / "rows"))
        for spec in (rows, tmp_path / "rows"):
            assert len(open_data(spec)) == len(open_data(spec, prefer="test")) == 40
            parts = {name: open_data(spec, name) for name in ("train", "val", "test")}
            assert sorted(name for part in parts.values() for name in ids(part)) == sorted(ids(open_data(spec)))
            assert parts["train"].name == "table:rows:train (80 % by hash)"
            with pytest.raises(PcvrError, match="unknown split 'nonsense'"):
                open_data(spec, "nonsense")

    def test_files_are_whole_unless_asked(self, tmp_path: Path) -> None:
        path = write_llava_photographs(tmp_path, copies=4, side=8)
        whole = open_data(path)
        assert len(whole) == 48 and whole.name == "llava-json:photographs"
        part = open_data(path, "train")
        assert 30 < len(part) < 48 and part.name == "llava-json:photographs:train (80 % by hash)"

    def test_scenes_keep_their_default(self) -> None:
        assert open_data("scenes", n=2)[0].id.startswith("scenes-caption-train-")
        assert open_data("scenes", "val", n=2)[0].id.startswith("scenes-caption-validation-")


class TestCommandLine:
    @staticmethod
    def run(*words: object) -> str:
        done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def test_poison_takes_all_and_says_so(self, tmp_path: Path) -> None:
        path = write_llava_photographs(tmp_path / "data", copies=2, side=16)
        said = self.run("poison", tmp_path / "out", "--data", path, "--rate", 0.5)
        assert "24 samples: it has no splits and is used whole" in said and "12 of 24 samples poisoned" in said
        assert len(open_data(tmp_path / "out")) == 24, "and training on it takes all of them again"
        said = self.run("poison", tmp_path / "part", "--data", path, "--rate", 0.5, "--split", "train")
        assert "llava-json:photographs:train (80 % by hash)" in said and "used whole" not in said
        assert len(open_data(tmp_path / "part")) < 24

    def test_poison_takes_the_train_split_of_data_with_splits(self, tmp_path: Path) -> None:
        flickr(10).save_to_disk(str(tmp_path / "rows"))
        said = self.run("poison", tmp_path / "out", "--data", tmp_path / "rows", "--rate", 0.5)
        assert "data: table:rows:train, 6 samples" in said

    def test_a_dictionary_has_splits(self, tmp_path: Path) -> None:
        rows = flickr(10).remove_columns("split")
        tables = datasets.DatasetDict(train=rows.select(range(6)), val=rows.select(range(6, 10)))
        tables.save_to_disk(str(tmp_path / "rows"))
        said = self.run("poison", tmp_path / "out", "--data", tmp_path / "rows", "--rate", 0.5)
        assert "data: table:rows:train, 6 samples" in said and "without splits" not in said
        part = open_data(tables, "val")
        assert part.splits == {"validation": 4}  # type: ignore[attr-defined]
        with pytest.raises(PcvrError, match=r"it has validation \(4\)"):
            part.split("train")  # type: ignore[attr-defined]

    def test_trusted_samples_are_set_apart(self, tmp_path: Path) -> None:
        source = Source(str(write_llava_photographs(tmp_path, copies=4, side=8)))
        whole = source.open(None)
        trained, clean = source.open(None, apart=True), trusted("2", source, None)
        assert len(whole) == 48 and shared(whole, clean) == 2 == len(clean)
        assert len(trained) > 30 and not shared(trained, clean)

    def test_a_check_counts_without_complaint(self, tmp_path: Path) -> None:
        formats.grey(tmp_path / "a.png")
        turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}, {"from": "human", "value": "left"}]
        path = formats.write_json(tmp_path / "d.json", [{"id": 1, "image": "a.png", "conversations": turns}] * 2)
        said = self.run("data", path, "--check", "--out", tmp_path / "report.tsv")
        assert "no problems in 2 records" in said
        assert "2 x turn without a partner left out, 1 x repeated id made unique" in said
        assert "repeated id made unique\t\t1 in all" in (tmp_path / "report.tsv").read_text()
        assert "splits" not in self.run("data", path)
        flickr(10).save_to_disk(str(tmp_path / "rows"))
        assert "train 4, val 2, test 2, restval 2" in self.run("data", tmp_path / "rows")
