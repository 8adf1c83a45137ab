"""Real input: LLaVA-style JSON with photographs of every kind, and the one door to all data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from pcvr.data import Dataset, LlavaJson, open_data, read_picture, rgb_array, subset
from pcvr.errors import PcvrError
from tests.photographs import PHOTOGRAPHS, write_llava_photographs


def record(name: str = "a", **changes: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\nWhat is this?"},
        {"from": "gpt", "value": " a grey square. "},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "yes."},
    ]
    values = {"id": name, "image": f"{name}.png", "conversations": turns, **changes}
    return {key: value for key, value in values.items() if value is not ...}


def write(folder: Path, *records: Any, images: str = "") -> Path:
    (folder / images).mkdir(parents=True, exist_ok=True)
    for name in "abc":
        PilImage.new("RGB", (4, 3), "grey").save(folder / images / f"{name}.png")
    path = folder / "data.json"
    path.write_text(json.dumps(list(records)))
    return path


class TestReading:
    def test_the_first_pair_is_used(self, tmp_path: Path) -> None:
        data = LlavaJson(write(tmp_path, record(), record("b", references=["x.", "y."], facts={"n": 1})))
        assert isinstance(data, Dataset)
        assert (data.name, data.task, len(data)) == ("llava-json:data", "caption", 2)
        first, second = data[0], data[-1]
        assert (first.id, first.prompt, first.answer) == ("a", "What is this?", "a grey square.")
        assert first.references == ("a grey square.",)
        assert first.image.shape == (3, 4, 3)
        assert first.image.dtype == np.uint8
        assert (second.references, second.facts) == (("x.", "y."), {"n": 1})
        with pytest.raises(IndexError):
            data[2]

    def test_other_turns_first_and_image_tokens_last(self, tmp_path: Path) -> None:
        turns = [
            {"from": "system", "value": "be kind"},
            {"from": "human", "value": "unanswered"},
            {"from": "human", "value": "Who?\n<image>"},
            {"from": "gpt", "value": "me"},
        ]
        sample = LlavaJson(write(tmp_path, record(conversations=turns)), task="vqa")[0]
        assert (sample.prompt, sample.answer) == ("Who?", "me")

    def test_ids_may_be_numbers(self, tmp_path: Path) -> None:
        assert LlavaJson(write(tmp_path, record(id=7)))[0].id == "7"

    def test_the_folder_of_pictures(self, tmp_path: Path) -> None:
        write(tmp_path, record(), images="images")
        assert len(LlavaJson(tmp_path / "data.json")) == 1
        write(tmp_path / "else", record())
        assert LlavaJson(tmp_path / "data.json", tmp_path / "else").image_folder == tmp_path / "else"
        with pytest.raises(PcvrError, match="not a folder"):
            LlavaJson(tmp_path / "data.json", tmp_path / "nowhere")

    def test_the_fingerprint_follows_the_file(self, tmp_path: Path) -> None:
        first = LlavaJson(write(tmp_path, record())).fingerprint()
        assert LlavaJson(tmp_path / "data.json").fingerprint() == first
        assert LlavaJson(write(tmp_path, record("b"))).fingerprint() != first


class TestProblems:
    def test_all_problems_at_once(self, tmp_path: Path) -> None:
        path = write(
            tmp_path,
            record(),
            record("b", id=...),
            record("c", image="missing.png"),
            record("c", conversations=[]),
            record(image="b.png"),
            "text",
        )
        with pytest.raises(PcvrError) as caught:
            LlavaJson(path)
        message = str(caught.value)
        assert "5 problem(s) in 6 records" in message
        assert "record 1: no id" in message
        assert "record 2 ('c'): image 'missing.png' is not a file" in message
        assert "record 3 ('c'): conversations has no human turn followed by a gpt turn" in message
        assert "record 5: a str where a record" in message
        assert "the id 'a' stands more than once" in message

    def test_ten_are_shown_and_all_counted(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError) as caught:
            LlavaJson(write(tmp_path, *(record(str(i)) for i in range(25))))
        assert "25 problem(s)" in str(caught.value)
        assert "and 15 more" in str(caught.value)
        assert str(caught.value).count("is not a file") == 10

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"image": None}, "image is None"),
            ({"image": ["a.png"]}, "not the path of one picture"),
            ({"image": "a\0.png"}, "not the path"),
            ({"image": ""}, "not the path"),
            ({"image": "/etc/passwd"}, "leaves the image folder"),
            ({"image": "../a.png"}, "leaves the image folder"),
            ({"image": "x/../../a.png"}, "leaves the image folder"),
            ({"image": "..\\a.png"}, "leaves the image folder"),
            ({"image": "C:\\a.png"}, "leaves the image folder"),
            ({"image": "link.png"}, "a link that leaves the image folder"),
            ({"image": "linked/a.png"}, "a link that leaves the image folder"),
            ({"image": "loop.png"}, "is not a file"),
            ({"image": "x" * 5000}, "is not a file"),
            ({"image": "."}, "is not a file"),
            ({"id": None}, "id is None"),
            ({"id": ""}, "id is ''"),
            ({"id": True}, "id is True"),
            ({"conversations": "hello"}, "not a list of turns"),
            ({"conversations": [{"from": "human"}]}, "not a list of turns"),
            ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": " "}]}, "answer is empty"),
            ({"references": []}, "references"),
            ({"references": "a text"}, "references"),
            ({"facts": []}, "facts is not an object"),
        ],
    )
    def test_one_bad_record(self, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        outside = write(tmp_path / "outside").parent
        path = write(tmp_path / "data", record(**changes))
        (path.parent / "link.png").symlink_to(outside / "a.png")
        (path.parent / "linked").symlink_to(outside)
        (path.parent / "loop.png").symlink_to("loop.png")
        with pytest.raises(PcvrError, match=words):
            LlavaJson(path)

    def test_links_inside_the_folder_are_fine(self, tmp_path: Path) -> None:
        path = write(tmp_path, record(image="link.png"))
        (tmp_path / "link.png").symlink_to("a.png")
        assert LlavaJson(path)[0].image.shape == (3, 4, 3)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "not valid JSON"),
            ("\ufffd", "not valid JSON"),
            ("[" * 100_000, "not valid JSON"),
            ("{}", "holds a dict"),
            ("[]", "an empty list"),
            ("null", "holds a NoneType"),
        ],
    )
    def test_broken_json(self, tmp_path: Path, text: str, words: str) -> None:
        path = tmp_path / "data.json"
        path.write_text(text)
        with pytest.raises(PcvrError, match=words):
            LlavaJson(path)

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "data.json"
        path.write_bytes(b"[\xff\xfe\x80]")
        with pytest.raises(PcvrError, match="not valid JSON"):
            LlavaJson(path)

    def test_no_file_and_an_unknown_task(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="cannot read the JSON file"):
            LlavaJson(tmp_path / "none.json")
        with pytest.raises(PcvrError, match="did you mean 'caption'"):
            LlavaJson(write(tmp_path, record()), task="captions")


class TestPictures:
    @pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
    def test_undecodable_pictures_are_named_on_access(self, tmp_path: Path, content: bytes) -> None:
        data = LlavaJson(write(tmp_path, record(), record("b")))
        (tmp_path / "b.png").write_bytes(content)
        assert data[0].id == "a"
        with pytest.raises(PcvrError, match=r"cannot read the picture .*b\.png"):
            data[1]

    def test_a_picture_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(PcvrError, match="cannot read the picture"):
            read_picture(path)

    def test_a_decompression_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.png"
        PilImage.new("1", (100, 100)).save(path)
        monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(PcvrError, match="Bomb"):
            read_picture(path)

    def test_every_mode_is_as_a_person_sees_it(self, tmp_path: Path) -> None:
        red = PilImage.new("RGB", (5, 4), (200, 30, 40))
        for mode, suffix in (("RGB", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "tif"), ("CMYK", "jpg")):
            path = tmp_path / f"{mode}.{suffix}"
            (red.quantize(2) if mode == "P" else red.convert(mode)).save(path)
            assert np.abs(read_picture(path).astype(int) - (200, 30, 40)).max() <= 6, mode
        for mode in ("L", "LA", "1"):
            red.convert("L").convert(mode).save(tmp_path / "grey.png")
            assert read_picture(tmp_path / "grey.png").shape == (4, 5, 3)

    def test_transparency_lies_on_white(self, tmp_path: Path) -> None:
        levels = np.zeros((1, 3, 4), np.uint8)
        levels[0, :, 3] = (0, 255, 128)
        assert rgb_array(PilImage.fromarray(levels))[0, :, 0].tolist() == [255, 0, 127]
        palette = PilImage.new("P", (2, 1))
        palette.putpalette([0, 0, 0, 10, 20, 30])
        palette.putpixel((1, 0), 1)
        palette.save(tmp_path / "palette.png", transparency=bytes([0, 255]))
        assert read_picture(tmp_path / "palette.png").tolist() == [[[255, 255, 255], [10, 20, 30]]]

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_sixteen_bits_become_eight(self, tmp_path: Path, suffix: str) -> None:
        levels = np.array([[0, 257, 32896, 65535]], np.uint16)
        path = tmp_path / f"deep.{suffix}"
        PilImage.fromarray(levels).save(path)
        assert read_picture(path)[0, :, 1].tolist() == [0, 1, 128, 255]

    def test_floats_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "float.tif"
        PilImage.fromarray(np.ones((2, 2), np.float32)).save(path)
        with pytest.raises(PcvrError, match=r"float\.tif: a floating-point picture"):
            read_picture(path)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, tmp_path: Path, orientation: int) -> None:
        upright = np.zeros((2, 3, 3), np.uint8)
        upright[0, 0] = 255  # the corner that tells which way is up
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = PilImage.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "turned.png"
        PilImage.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
        assert np.array_equal(read_picture(path), upright)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> LlavaJson:
    """Twelve photographs and 228 crops, small."""
    return LlavaJson(write_llava_photographs(tmp_path_factory.mktemp("many"), copies=20, side=16))


class TestSplitsAndSubsets:
    def test_splits_cover_and_never_overlap(self, photographs: LlavaJson) -> None:
        parts = {name: open_data(photographs.path, split=name) for name in ("train", "validation", "test")}
        ids = {name: [part[i].id for i in range(len(part))] for name, part in parts.items()}
        together = [identity for part in ids.values() for identity in part]
        assert sorted(together) == sorted(photographs[i].id for i in range(len(photographs)))
        assert 0.7 < len(ids["train"]) / 240 < 0.9
        assert 0.04 < len(ids["test"]) / 240 < 0.17
        assert len({part.fingerprint() for part in parts.values()}) == 3
        assert parts["test"].name == "llava-json:photographs:test"
        assert len(open_data(str(photographs.path), split="all")) == 240

    def test_all_questions_about_a_picture_are_in_one_split(self, tmp_path: Path) -> None:
        path = write(tmp_path, *(record(str(i), image="a.png") for i in range(30)))
        sizes = []
        for name in ("train", "validation", "test"):
            try:
                sizes.append(len(open_data(path, split=name)))
            except PcvrError as error:
                assert "holds none of its 30 samples" in str(error)
        assert sizes == [30]

    def test_unknown_split(self, photographs: LlavaJson) -> None:
        with pytest.raises(PcvrError, match="did you mean 'validation'"):
            open_data(photographs.path, split="valid")

    def test_subset(self, photographs: LlavaJson) -> None:
        part = subset(photographs, 5, seed=1)
        assert isinstance(part, Dataset)
        assert part.indices == subset(photographs, 5, seed=1).indices != subset(photographs, 5, seed=2).indices
        assert list(part.indices) == sorted(set(part.indices))
        assert part[-1].id == photographs[part.indices[-1]].id
        assert part.task == "caption"
        for n in (0, 241):
            with pytest.raises(PcvrError, match="give 1 to 240"):
                subset(photographs, n)


class TestOpenData:
    def test_a_data_set_comes_back_as_it_is(self, tmp_path: Path) -> None:
        data = LlavaJson(write(tmp_path, record(), record("b")))
        assert open_data(data) is data
        assert len(open_data(data, n=1)) == 1

    def test_a_folder(self, tmp_path: Path) -> None:
        write(tmp_path, record())
        (tmp_path / "manifest.json").write_text("{}")
        assert len(open_data(tmp_path, split="all")) == 1
        (tmp_path / "second.json").write_text("[]")
        with pytest.raises(PcvrError, match=r"exactly one LLaVA JSON \(it has: data.json, second.json\)"):
            open_data(tmp_path)
        (tmp_path / "empty").mkdir()
        with pytest.raises(PcvrError, match="it has: none"):
            open_data(tmp_path / "empty")

    def test_unknown(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="unknown data 'scene': did you mean 'scenes'"):
            open_data("scene")
        with pytest.raises(PcvrError, match="there is no data at"):
            open_data(tmp_path / "none.json")
        with pytest.raises(PcvrError, match="data is a int"):
            open_data(3)

    def test_scenes(self) -> None:
        data = open_data("scenes", split="test", n=3, seed=1)
        assert isinstance(data, Dataset)
        assert len(data) == 3
        assert data.name.startswith("scenes")


class TestPhotographs:
    def test_they_are_the_same_each_time_and_whole_first(self, tmp_path: Path) -> None:
        first = LlavaJson(write_llava_photographs(tmp_path / "a", copies=2))
        second = LlavaJson(write_llava_photographs(tmp_path / "b", copies=2))
        assert len(first) == 24
        for i in range(24):
            assert np.array_equal(first[i].image, second[i].image)
            assert 128 <= min(first[i].image.shape[:2]) <= 160
            assert len(first[i].references) == 5
            assert first[i].answer in first[i].references
        assert first[0].answer != first[1].answer
        assert min(first[0].image.shape[:2]) == 160

    def test_vqa(self, tmp_path: Path) -> None:
        data = LlavaJson(write_llava_photographs(tmp_path, task="vqa", photographs=4), task="vqa")
        assert [data[i].answer for i in range(4)] == ["astronaut", "brick", "man", "cat"]

    def test_captions_are_distinct(self) -> None:
        captions = [caption for texts in PHOTOGRAPHS.values() for caption in texts]
        assert len(set(captions)) == 60
