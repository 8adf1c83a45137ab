"""VQAv2: questions and ten people's answers, joined by the question's id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pcvr.data import BadData, Dataset, VQAv2, open_data
from pcvr.errors import PcvrError
from tests import formats
from tests.formats import coco_name, image_id, vqav2, write_json, write_vqav2


def pair(folder: Path, asked: Any, answered: Any) -> tuple[Path, Path]:
    return write_json(folder / "q.json", asked), write_json(folder / "a.json", answered)


def grey(folder: Path, n: int = 3) -> None:
    for i in range(n):
        formats.grey(folder / "val2014" / coco_name(i))


def test_one_sample_a_question(tmp_path: Path) -> None:
    data = VQAv2(*write_vqav2(tmp_path))
    assert isinstance(data, Dataset)
    assert (len(data), data.task, data.name) == (24, "vqa", "vqav2:v2_OpenEnded_mscoco_val2014_questions")
    sample = data[6]
    assert (sample.id, sample.prompt, sample.answer) == ("30000", "What is in the photo?", "chelsea")
    assert sample.references == ("chelsea",) * 3 + ("unknown",) + ("chelsea",) * 6
    assert sample.image.shape[0] == formats.SIDE
    assert data[7].prompt == "Is this a photo of a dog?"


def test_the_answers_are_found_by_the_official_name(tmp_path: Path) -> None:
    questions, annotations = write_vqav2(tmp_path)
    assert VQAv2(questions).annotations == annotations
    assert VQAv2(questions).fingerprint() == VQAv2(questions, annotations, tmp_path).fingerprint()


@pytest.mark.parametrize(
    ("subtype", "place"),
    [
        ("train2014", "COCO_train2014_000000000009.jpg"),
        ("train2014", "train2014/COCO_train2014_000000000009.jpg"),
        ("test2015", "test2015/COCO_test2015_000000000009.jpg"),
        ("val2014", "000000000009.jpg"),
        ("val2014", "val2017/000000000009.jpg"),
        (None, "000000000009.jpg"),
        (None, "val2014/COCO_val2014_000000000009.jpg"),
        ("made up", "train2014/COCO_train2014_000000000009.jpg"),
    ],
)
def test_where_the_pictures_may_lie(tmp_path: Path, subtype: str | None, place: str) -> None:
    formats.grey(tmp_path / "pictures" / place)
    asked, answered = vqav2(1, str(subtype))
    if subtype is None:
        del asked["data_subtype"], answered["data_subtype"]
    assert len(VQAv2(*pair(tmp_path, asked, answered), tmp_path / "pictures")) == 2


def test_all_questions_about_a_picture_are_in_one_split(tmp_path: Path) -> None:
    questions, _ = write_vqav2(tmp_path)
    sides = {name: open_data(questions, split=name) for name in ("train", "test")}
    pictures = {name: {int(part[i].id) // 1000 for i in range(len(part))} for name, part in sides.items()}
    assert not pictures["train"] & pictures["test"]
    assert {name: len(part) for name, part in sides.items()} == {name: 2 * len(of) for name, of in pictures.items()}


def test_the_order_is_that_of_the_questions(tmp_path: Path) -> None:
    asked, answered = vqav2(3)
    answered["annotations"].reverse()
    grey(tmp_path)
    data = VQAv2(*pair(tmp_path, asked, answered))
    assert [data[i].id for i in range(6)] == [str(1000 * image_id(i // 2) + i % 2) for i in range(6)]
    assert [data[i].answer for i in range(4)] == ["astronaut", "no", "brick", "no"]


def test_the_most_common_answer(tmp_path: Path) -> None:
    asked, answered = vqav2(3)
    first, second, third = answered["annotations"][::2]
    first["multiple_choice_answer"] = " a person "
    del second["multiple_choice_answer"]
    third["answers"][0]["answer"] = ""
    grey(tmp_path)
    data = VQAv2(*pair(tmp_path, asked, answered))
    assert [data[i].answer for i in (0, 2, 4)] == ["a person", "brick", "camera"]
    assert len(data[4].references) == 10, "the formula of VQA accuracy is for ten"
    assert data[4].references[0] == ""


def test_everything_that_is_wrong(tmp_path: Path) -> None:
    asked, answered = vqav2(6)
    questions, annotations = asked["questions"], answered["annotations"]
    questions[0]["question"] = " "
    questions[1]["question_id"] = questions[0]["question_id"]
    questions[3]["image_id"] = "9"
    questions[4]["image_id"] = 9
    questions.append({"question_id": 5, "image_id": 9, "question": "Why?"})
    questions.append([])
    annotations[5]["answers"] = []
    annotations[6]["answers"] = [{"answer": " "}] * 10
    annotations[6]["multiple_choice_answer"] = ""
    annotations[7]["answers"] = ["no"]
    annotations.append(dict(annotations[8]))
    annotations.append({"question_id": None, "answers": []})
    grey(tmp_path, 5)
    with pytest.raises(BadData) as caught:
        VQAv2(*pair(tmp_path, asked, answered))
    assert [(problem.kind, problem.where) for problem in caught.value.problems] == [
        ("broken entry", "annotation 5"),
        ("empty text", "annotation 6"),
        ("broken entry", "annotation 7"),
        ("duplicate id", "annotation 12"),
        ("broken entry", "annotation 13"),
        ("empty text", "question 0 (9000)"),
        ("duplicate id", "question 1 (9000)"),
        ("broken entry", "question 3 (16001)"),
        ("broken entry", "question 4 (23000)"),
        ("entry without annotation", "question 12 ('5')"),
        ("broken entry", "question 13"),
        ("annotation without entry", "annotation of question 9001"),
        ("missing image", "question 10 ('44000')"),
    ]
    assert "in 14 annotations and 14 questions" in str(caught.value)
    questions[1]["question_id"] = 9001
    data = VQAv2(*pair(tmp_path, asked, answered), skip_bad=True)
    assert [data[i].id for i in range(len(data))] == ["9001", "16000", "37000", "37001"]


@pytest.mark.parametrize(
    ("asked", "answered", "words"),
    [
        ({}, {}, "no list of annotations"),
        ({}, {"annotations": [{}]}, "no list of questions"),
        ({"questions": {"a": 1}}, {"annotations": [{}]}, "no list of questions"),
        ({"questions": [{}]}, {"annotations": [{}]}, "2 problem"),
        ([1, 2], {"annotations": [{}]}, "no list of questions"),
    ],
)
def test_other_files(tmp_path: Path, asked: Any, answered: Any, words: str) -> None:
    with pytest.raises(PcvrError, match=words):
        VQAv2(*pair(tmp_path, asked, answered))


def test_cut_short_pictures_are_named_once(tmp_path: Path) -> None:
    questions, _ = write_vqav2(tmp_path, 3)
    formats.cut_short(tmp_path / "val2014" / coco_name(1))
    with pytest.raises(BadData, match="1 problem") as caught:
        VQAv2(questions, check_pictures=True)
    assert caught.value.problems[0].where == "question 2 ('16000')"
    data = VQAv2(questions, check_pictures=True, skip_bad=True)
    assert [data[i].id for i in range(4)] == ["9000", "9001", "23000", "23001"]
