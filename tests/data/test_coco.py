"""COCO captions and Karpathy split files: the samples, where pictures may lie, and everything that can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pcvr.data import BadData, CocoCaptions, Dataset, Karpathy, open_data, read_picture
from pcvr.data.coco import coco_places
from pcvr.errors import PcvrError
from tests import formats
from tests.formats import captions_of, coco, coco_name, image_id, karpathy, write_coco, write_json, write_karpathy


def pictures(folder: Path, n: int = 3) -> Path:
    """A folder of `n` grey pictures with COCO's names."""
    for i in range(n):
        formats.grey(folder / coco_name(i))
    return folder


def said(error: BadData) -> list[tuple[str, str]]:
    return [(problem.kind, problem.where) for problem in error.problems]


class TestCoco:
    def test_one_sample_a_picture(self, tmp_path: Path) -> None:
        data = CocoCaptions(write_coco(tmp_path))
        assert isinstance(data, Dataset)
        assert (data.name, data.task, len(data)) == ("coco:captions_val2014", "caption", 12)
        for i in range(12):
            sample = data[i]
            expected = tuple(text.capitalize() for text in captions_of(i))
            assert (sample.id, sample.prompt) == (str(image_id(i)), "describe the image.")
            assert sample.references == expected, "captions of a picture in the order of the file"
            assert sample.answer == expected[i % 5]
            assert np.array_equal(sample.image, read_picture(tmp_path / "val2014" / coco_name(i)))
        assert data[-1].id == str(image_id(11))
        with pytest.raises(IndexError):
            data[12]

    def test_annotations_may_come_first_and_ids_be_text(self, tmp_path: Path) -> None:
        content = coco(3)
        turned = {key: content[key] for key in ("annotations", "info", "images")}
        for each in turned["annotations"][:4]:
            each["image_id"] = str(each["image_id"])
        plain = CocoCaptions(write_json(tmp_path / "a.json", content), pictures(tmp_path / "p"))
        other = CocoCaptions(write_json(tmp_path / "b.json", turned), tmp_path / "p")
        assert [other[i].references for i in range(3)] == [plain[i].references for i in range(3)]
        assert other.fingerprint() != plain.fingerprint()

    def test_the_order_is_the_files(self, tmp_path: Path) -> None:
        content = coco(3)
        content["images"].reverse()
        data = CocoCaptions(write_json(tmp_path / "a.json", content), pictures(tmp_path / "p"))
        assert [data[i].id for i in range(3)] == ["23", "16", "9"]
        assert data[0].references[0] == captions_of(2)[0].capitalize()

    @pytest.mark.parametrize(
        "place",
        [
            "COCO_val2014_000000000009.jpg",
            "val2014/COCO_val2014_000000000009.jpg",
            "000000000009.jpg",
            "train2017/000000000009.jpg",
            "val2017/000000000009.jpg",
        ],
    )
    def test_where_the_pictures_may_lie(self, tmp_path: Path, place: str) -> None:
        formats.grey(tmp_path / "pictures" / place)
        path = write_json(tmp_path / "captions.json", coco(1))
        assert CocoCaptions(path, tmp_path / "pictures")[0].image.shape == (3, 4, 3)
        assert place in coco_places(coco_name(0))

    @pytest.mark.parametrize("place", ["000000000009.jpg", "val2014/COCO_val2014_000000000009.jpg"])
    def test_names_of_2017(self, tmp_path: Path, place: str) -> None:
        formats.grey(tmp_path / place)
        content = coco(1)
        content["images"][0]["file_name"] = "000000000009.jpg"
        assert len(CocoCaptions(write_json(tmp_path / "captions.json", content))) == 1

    def test_a_name_in_a_folder(self, tmp_path: Path) -> None:
        content = coco(1)
        content["images"][0]["file_name"] = f"val2014/{coco_name(0)}"
        path = write_json(tmp_path / "captions.json", content)
        formats.grey(tmp_path / "val2014" / coco_name(0))
        for folder in (tmp_path, tmp_path / "val2014", None):
            assert len(CocoCaptions(path, folder)) == 1

    def test_splits_are_by_picture_and_cover(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path)
        parts = [open_data(path, split=name) for name in ("train", "test")]
        ids = [part[i].id for part in parts for i in range(len(part))]
        assert len(set(ids)) == len(ids) == 11
        assert parts[0].name == "coco:captions_val2014:train (80 % by hash)"

    def test_everything_that_is_wrong_in_one_report(self, tmp_path: Path) -> None:
        content = coco(6)
        images, annotations = content["images"], content["annotations"]
        images[1]["file_name"] = "../secret.jpg"
        images[2]["file_name"] = "none.jpg"
        del images[3]["file_name"]
        images.append(dict(images[0]))
        images.append({"id": 1000, "file_name": coco_name(0)})
        images.append("text")
        annotations[0]["caption"] = " "
        annotations[1]["image_id"] = 4711
        annotations[2]["id"] = annotations[3]["id"]
        annotations.append({"id": 9999, "image_id": 9})
        path = write_json(tmp_path / "captions.json", content)
        with pytest.raises(BadData) as caught:
            CocoCaptions(path, pictures(tmp_path / "p", 6))
        assert said(caught.value) == [
            ("broken entry", "image 3 (30)"),
            ("duplicate id", "image 6 (9)"),
            ("broken entry", "image 8"),
            ("empty text", "annotation 0"),
            ("duplicate id", "annotation 3"),
            ("broken entry", "annotation 30"),
            ("annotation without entry", "annotation 1"),
            ("entry without annotation", "image 7 ('1000')"),
            ("path leaves the folder", "image 1 ('16')"),
            ("missing image", "image 2 ('23')"),
        ]
        assert "has 10 problem(s) in 9 images and 31 annotations (broken entry: 3, duplicate id: 2," in str(
            caught.value
        )
        data = CocoCaptions(path, tmp_path / "p", skip_bad=True)
        assert [data[i].id for i in range(len(data))] == [str(image_id(i)) for i in (0, 4, 5)]
        assert len(data[0].references) == 4, "an empty caption alone is left out"
        assert data.problems == caught.value.problems

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("{", "not valid JSON"),
            ("[]", "no list of images"),
            ('{"images": []}', "no list of images"),
            ('{"images": [{}]}', "no list of annotations"),
            ('{"images": 3, "annotations": {"a": 1}}', "no list of images"),
            ('{"images": [{}], "annotations": [{}]}', "2 problem"),
            ('{"images": [{}], "annotations": [{}]', "not valid JSON"),
            ('{"images": [{}] "annotations": []}', "',' or '}' is expected"),
            ('{"images": [{}], 3: 4}', "a key in double quotes"),
        ],
    )
    def test_no_coco_file(self, tmp_path: Path, content: str, words: str) -> None:
        path = tmp_path / "captions.json"
        path.write_text(content)
        with pytest.raises(PcvrError, match=words):
            CocoCaptions(path)

    def test_no_file_and_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="cannot read the file"):
            CocoCaptions(tmp_path / "none.json")
        with pytest.raises(PcvrError, match="cannot read the file"):
            CocoCaptions(tmp_path)
        with pytest.raises(PcvrError, match="is not a folder"):
            CocoCaptions(write_json(tmp_path / "a.json", coco(1)), tmp_path / "none")

    def test_a_picture_cut_short(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path, 4)
        broken = tmp_path / "val2014" / coco_name(2)
        formats.cut_short(broken)
        data = CocoCaptions(path)
        assert data[1].id == "16"
        with pytest.raises(PcvrError, match=rf"image 2 \('23'\) of .*{broken.name}.*check_pictures=True"):
            data[2]
        with pytest.raises(BadData, match="unreadable image: 1") as caught:
            CocoCaptions(path, check_pictures=True)
        assert said(caught.value) == [("unreadable image", "image 2 ('23')")]
        kept = CocoCaptions(path, check_pictures=True, skip_bad=True)
        assert [kept[i].id for i in range(3)] == ["9", "16", "30"]
        assert kept.fingerprint() != data.fingerprint()
        assert kept[2].answer == data[3].answer, "what is left out does not change the answers of the others"

    def test_a_link_out_of_the_folder(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / "data", 2)
        inside = path.parent.parent / "val2014" / coco_name(1)
        shutil.move(inside, tmp_path / "secret.jpg")
        inside.symlink_to(tmp_path / "secret.jpg")
        with pytest.raises(BadData, match="is a link that leaves the image folder"):
            CocoCaptions(path)

    def test_a_link_made_after_opening_is_not_followed_out(self, tmp_path: Path) -> None:
        path = write_coco(tmp_path / "data", 2)
        data = CocoCaptions(path)
        inside = path.parent.parent / "val2014" / coco_name(1)
        shutil.move(inside, tmp_path / "secret.jpg")
        inside.symlink_to(tmp_path / "secret.jpg")
        with pytest.raises(PcvrError, match="is a link that leaves the image folder"):
            data[1]


class TestKarpathy:
    @pytest.mark.parametrize("dataset", ["coco", "flickr30k"])
    def test_its_own_splits(self, tmp_path: Path, dataset: str) -> None:
        path = write_karpathy(tmp_path, dataset=dataset)
        parts = {name: open_data(path, split=name) for name in ("train", "validation", "test")}
        assert {name: len(part) for name, part in parts.items()} == {"train": 6, "validation": 3, "test": 3}
        assert parts["test"].name == f"karpathy:dataset_{dataset}:test"
        sample = parts["test"][1]  # picture 7
        assert sample.id == (str(image_id(7)) if dataset == "coco" else formats.flickr_name(7))
        assert sample.references == captions_of(7)
        assert sample.answer == captions_of(7)[1]
        assert len({part.fingerprint() for part in parts.values()}) == 3

    def test_a_split_of_the_whole_is_that_split(self, tmp_path: Path) -> None:
        whole = Karpathy(write_karpathy(tmp_path))
        assert len(whole) == 12
        part = whole.split("validation")
        assert [part[i].id for i in range(3)] == [str(image_id(i)) for i in (2, 6, 10)]
        assert whole.split("all") is whole
        assert len(whole.split("val")) == 3 and whole.splits == {"train": 6, "validation": 3, "test": 3}
        with pytest.raises(PcvrError, match=r"has no split 'nonsense': it has train \(6\), validation \(3\), test"):
            whole.split("nonsense")
        with pytest.raises(PcvrError, match=r"has no split 'test': it has validation \(3\)"):
            Karpathy(whole.path, split="validation").split("test")

    def test_pictures_of_other_splits_need_not_be_there(self, tmp_path: Path) -> None:
        path = write_karpathy(tmp_path)
        shutil.rmtree(tmp_path / "train2014")
        assert len(Karpathy(path, split="test")) == 3
        with pytest.raises(BadData, match="3 problem"):
            Karpathy(path, split="train")
        assert len(Karpathy(path, split="train", skip_bad=True)) == 3

    def test_pictures_in_one_folder(self, tmp_path: Path) -> None:
        path = write_karpathy(tmp_path)
        for folder in ("train2014", "val2014"):
            shutil.copytree(tmp_path / folder, tmp_path / "flat", dirs_exist_ok=True)
        assert len(Karpathy(path, tmp_path / "flat")) == 12

    def test_everything_that_is_wrong(self, tmp_path: Path) -> None:
        content = karpathy(8)
        images = content["images"]
        images[0]["split"] = "fold 1"
        images[1]["sentences"][2]["raw"] = ""
        images[2]["sentences"] = []
        images[3]["cocoid"] = images[4]["cocoid"]
        images[5]["sentences"] = [{"tokens": []}]
        images[6] = None
        images[7]["filename"] = "/etc/passwd"
        for i in range(8):
            formats.grey(tmp_path / "val2014" / coco_name(i))
            formats.grey(tmp_path / "train2014" / coco_name(i, "train2014"))
        path = write_json(tmp_path / "dataset_coco.json", content)
        with pytest.raises(BadData) as caught:
            Karpathy(path)
        assert said(caught.value) == [
            ("broken entry", "image 0 (9)"),
            ("empty text", "image 1 ('16')"),
            ("entry without annotation", "image 2 ('23')"),
            ("duplicate id", "image 4 (37)"),
            ("broken entry", "image 5 (44)"),
            ("broken entry", "image 6"),
            ("missing image", "image 7 ('58')"),
        ]
        kept = Karpathy(path, skip_bad=True)
        assert [kept[i].id for i in range(len(kept))] == ["16", "37"]
        assert len(kept[0].references) == 4

    def test_no_such_split(self, tmp_path: Path) -> None:
        path = write_karpathy(tmp_path, 2)
        with pytest.raises(PcvrError, match="no samples in its test split"):
            open_data(path, split="test")
        with pytest.raises(PcvrError, match="unknown split"):
            open_data(path, split="restval")
        with pytest.raises(PcvrError, match="has no list of images"):
            Karpathy(write_json(tmp_path / "a.json", {"dataset": "coco"}))
