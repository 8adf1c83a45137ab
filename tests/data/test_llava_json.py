"""Real input: LLaVA-style JSON and JSON lines, and everything that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from pcvr.data import BadData, Dataset, LlavaJson
from pcvr.errors import PcvrError
from tests.photographs import PHOTOGRAPHS, write_llava_photographs


def record(name: str = "a", **changes: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\nWhat is this?"},
        {"from": "gpt", "value": " a grey square. "},
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
    def test_a_record_is_a_sample(self, tmp_path: Path) -> None:
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

    def test_the_folder_is_found_though_the_first_picture_is_missing(self, tmp_path: Path) -> None:
        path = write(tmp_path, record("b", image="gone.png"), record(), images="images")
        data = LlavaJson(path, skip_bad=True)
        assert data.image_folder == tmp_path / "images"
        assert [problem.where for problem in data.report.problems] == ["record 0 ('b')"]

    def test_the_fingerprint_follows_the_file(self, tmp_path: Path) -> None:
        first = LlavaJson(write(tmp_path, record())).fingerprint()
        assert LlavaJson(tmp_path / "data.json").fingerprint() == first
        assert LlavaJson(write(tmp_path, record("b"))).fingerprint() != first

    def test_a_record_without_a_prompt_asks_the_tasks(self, tmp_path: Path) -> None:
        turns = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a square."}]
        assert LlavaJson(write(tmp_path, record(conversations=turns)))[0].prompt == "describe the image."


class TestLines:
    def test_one_record_a_line(self, tmp_path: Path) -> None:
        write(tmp_path)
        lines = [json.dumps(record("a", facts={"n": 1})), "", json.dumps(record("b"))]
        path = tmp_path / "data.jsonl"
        path.write_text("\ufeff" + "\r\n".join(lines) + "\n", encoding="utf-8")
        data = LlavaJson(path)
        assert [data[i].id for i in range(2)] == ["a", "b"]
        assert data[0].facts == {"n": 1}
        assert len(LlavaJson(path.rename(tmp_path / "data.txt"), lines=True)) == 2

    def test_broken_lines_are_named_and_can_be_skipped(self, tmp_path: Path) -> None:
        write(tmp_path)
        path = tmp_path / "data.jsonl"
        lines = [
            json.dumps(record("a")).encode(),
            b'{"id": 1,',
            b"[" * 100_000,
            b"\xff",
            b"3",
            json.dumps(record("b")).encode(),
        ]
        path.write_bytes(b"\n".join(lines))
        with pytest.raises(BadData, match=r"4 problem\(s\) in 6 lines \(broken entry: 4\)") as caught:
            LlavaJson(path)
        assert [problem.where for problem in caught.value.problems] == ["line 2", "line 3", "line 4", "line 5"]
        data = LlavaJson(path, skip_bad=True)
        assert [data[i].id for i in range(2)] == ["a", "b"]
        assert len(data.problems) == 4

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "data.jsonl").write_text("\n")
        with pytest.raises(PcvrError, match="is empty"):
            LlavaJson(tmp_path / "data.jsonl")


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
        assert "3 problem(s) in 6 records (broken entry: 2, missing image: 1)" in message
        assert "noted: 2 x repeated id made unique" in message
        assert "record 2 ('c'): image 'missing.png' is not a file" in message
        assert "record 3 ('c'): conversations has no human turn followed by a gpt turn" in message
        assert "record 5: a str where a record" in message
        assert "skip_bad=True" in message

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
            ({"image": ...}, "no image, but a question shows one"),
            ({"image": ["a.png", "b.png"]}, "no samples .1 x record with several images left out"),
            ({"images": ["a.png", 3], "image": ...}, "no samples .1 x record with several images left out"),
            ({"images": [3], "image": ...}, "image is 3, not the path of one image"),
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
            ({"id": True}, "id is True"),
            ({"id": 7.0}, "id is 7.0"),
            ({"conversations": "hello"}, "not a list of turns"),
            ({"conversations": [{"from": "human"}]}, "not a list of turns"),
            ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": " "}]}, "answer is empty"),
            ({"references": []}, "references"),
            ({"references": "a text"}, "references"),
            ({"references": [" "]}, "the references are empty"),
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
            ("{", "holds a dict"),
            ("[1", "not valid JSON"),
            ("[] []", "more after the end"),
            ("", "not valid JSON"),
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

    def test_text_with_half_a_character(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="half a surrogate pair"):
            LlavaJson(write(tmp_path, record(references=["\ud800"])))
        with pytest.raises(PcvrError, match="half a surrogate pair"):
            LlavaJson(write(tmp_path, record(image="\udc80.png")))

    def test_all_that_is_wrong_with_one_record(self, tmp_path: Path) -> None:
        bad = record("b", id=7.5, image="none.png", conversations=[], references=[], facts=[])
        with pytest.raises(BadData) as caught:
            LlavaJson(write(tmp_path, record(), bad))
        kinds = [problem.kind for problem in caught.value.problems]
        assert kinds == ["broken entry"] * 4 + ["missing image"]
        assert {problem.where for problem in caught.value.problems} == {"record 1 (7.5)", "record 1 ('record-1')"}

    def test_no_file_and_an_unknown_task(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="cannot read the file"):
            LlavaJson(tmp_path / "none.json")
        with pytest.raises(PcvrError, match="did you mean 'caption'"):
            LlavaJson(write(tmp_path, record()), task="captions")

    @pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
    def test_undecodable_pictures_are_named_on_access(self, tmp_path: Path, content: bytes) -> None:
        data = LlavaJson(write(tmp_path, record(), record("b")))
        (tmp_path / "b.png").write_bytes(content)
        assert data[0].id == "a"
        with pytest.raises(
            PcvrError, match=r"record 1 \('b'\) of .*: cannot read the image .*b\.png.*check_pictures=True"
        ):
            data[1]


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
