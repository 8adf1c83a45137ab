"""Conversations: every turn is a sample or counted, in whichever form they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pcvr.data import LlavaJson, check_data, open_data
from pcvr.data.report import EntryError
from pcvr.data.turns import conversation
from pcvr.errors import PcvrError
from tests import formats


def said(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"from": role, "value": text} for role, text in turns]


def write(folder: Path, *records: Any, name: str = "data.json") -> Path:
    for picture in "ab":
        formats.grey(folder / f"{picture}.png")
    if name.endswith("l"):
        (folder / name).write_text("\n".join(map(json.dumps, records)))
        return folder / name
    return formats.write_json(folder / name, list(records))


THREE = said(
    ("human", "<image>\nWhat is it?"),
    ("gpt", "a cat."),
    ("human", "Which colour?"),
    ("gpt", " ginger. "),
    ("human", "Sure?\n<image>"),
    ("gpt", "yes."),
)


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_a_conversation_is_a_sample(tmp_path: Path, name: str) -> None:
    turns = [*said(("system", " Be terse. ")), *THREE]
    record = {"id": "cat", "image": "a.png", "conversations": turns, "references": ["a cat.", "a tom."]}
    path = write(tmp_path, record, {**record, "id": "b"}, name=name)
    data = LlavaJson(path)
    assert [data[i].id for i in range(2)] == ["cat", "b"] and len(data) == 2
    first = data[0]
    assert (first.system, first.prompt, first.answer) == ("Be terse.", "What is it?", "a cat.")
    assert first.later == (("Which colour?", "ginger."), ("Sure?", "yes."))
    assert first.references == ("a cat.", "a tom.") and data.conversational
    apart = LlavaJson(path, turns="apart")
    assert len(apart) == 6 and {apart[i].system for i in range(6)} == {"Be terse."}
    assert data.fingerprint() != apart.fingerprint()
    assert not data.report and not data.report.notes
    with pytest.raises(PcvrError, match="unknown turns 'both'"):
        LlavaJson(path, turns="both")


def test_single_exchanges_are_the_same_both_ways(tmp_path: Path) -> None:
    path = write(tmp_path, {"image": "a.png", "conversations": THREE[:2]})
    data, apart = LlavaJson(path), LlavaJson(path, turns="apart")
    assert data.fingerprint() == apart.fingerprint() and not data.conversational
    assert (data[0].prompt, data[0].later, data[0].system) == (apart[0].prompt, (), "")


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_apart_every_pair_of_turns_is_a_sample(tmp_path: Path, name: str) -> None:
    record = {
        "id": "cat",
        "image": "a.png",
        "conversations": THREE,
        "references": ["a cat.", "a tom."],
        "facts": {"n": 1},
    }
    data = LlavaJson(write(tmp_path, record, {**record, "id": "b"}, name=name), turns="apart")
    assert [data[i].id for i in range(6)] == ["cat", "cat#2", "cat#3", "b", "b#2", "b#3"]
    assert [data[i].prompt for i in range(3)] == ["What is it?", "Which colour?", "Sure?"]
    assert [data[i].answer for i in range(3)] == ["a cat.", "ginger.", "yes."]
    assert [len(data[i].references) for i in range(3)] == [2, 1, 1]
    assert all(data[i].facts == {"n": 1} for i in range(6))
    assert not data.report and not data.report.notes


def test_turns_without_a_partner_are_counted() -> None:
    before = [("system", "s"), ("gpt", "hi"), ("human", "x"), ("human", "q"), ("gpt", "a")]
    found = conversation(said(*before, ("gpt", "b"), ("tool", "t"), ("system", "late"), ("human", "z")))
    assert found.pairs == [("q", "a")] and found.system == "s"
    assert found.left_out == {"turn without a partner left out": 4, "tool message or late system turn left out": 2}


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "<image>\nq"}, {"role": "assistant", "content": "a"}],
        [{"role": "USER", "content": "q\n<image>"}, {"role": "Assistant", "content": "a"}],
        [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}],
        [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "q"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
        ],
        [
            {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image", "image": "a.png"}]},
            {"role": "assistant", "content": ["a"]},
        ],
        # As a table gives it: every part has every key.
        [
            {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "q"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
        ],
    ],
)
@pytest.mark.parametrize("key", ["conversations", "messages"])
@pytest.mark.parametrize("picture", [{"image": "a.png"}, {"images": ["a.png"]}, {"image": ["a.png"], "id": "x"}])
def test_forms(tmp_path: Path, turns: Any, key: str, picture: dict[str, Any]) -> None:
    for name in ("data.json", "data.jsonl"):
        data = open_data(write(tmp_path, {**picture, key: turns}, name=name))
        assert (len(data), data[0].prompt, data[0].answer) == (1, "q", "a")
        (tmp_path / name).unlink()


def test_a_picture_that_stands_in_a_turn(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": [{"type": "image", "image": "b.png"}, {"type": "text", "text": "q"}]},
        {"role": "assistant", "content": "a"},
    ]
    assert len(LlavaJson(write(tmp_path, {"messages": turns}))) == 1
    more = [*turns, {"role": "user", "content": [{"type": "image", "path": "c"}]}]
    report = check_data(write(tmp_path, {"messages": turns}, {"messages": more}))
    assert not report and report.notes["record with several images left out"] == 1


def test_an_image_of_a_later_question_is_counted(tmp_path: Path) -> None:
    turns = said(("human", "hello"), ("gpt", "hi"), ("human", "<image>\nwhat is it?"), ("gpt", "a cat."))
    path = write(tmp_path, {"image": "a.png", "conversations": turns})
    assert LlavaJson(path).report.notes == {"image of a later question moved to the first": 1}
    assert not LlavaJson(path, turns="apart").report.notes


@pytest.mark.parametrize(
    "record",
    [
        {"query": "<image>q", "response": "a", "history": [["p", "o"]], "system": "s"},
        {"instruction": "q", "output": "a", "history": [["p", "o"]], "system": "s"},
        {"messages": said(("human", "p"), ("gpt", "o"), ("human", "q"), ("gpt", "a")), "system": "s"},
    ],
)
def test_forms_with_a_system_text_of_their_own(tmp_path: Path, record: dict[str, Any]) -> None:
    sample = LlavaJson(write(tmp_path, {"images": [{"path": "a.png", "bytes": None}], **record}))[0]
    assert (sample.system, sample.exchanges) == ("s", (("p", "o"), ("q", "a")))


def test_captions_of_an_image_folder(tmp_path: Path) -> None:
    data = LlavaJson(write(tmp_path, {"file_name": "a.png", "text": "a cat"}, name="metadata.jsonl"))
    assert (data[0].prompt, data[0].answer) == ("describe the image.", "a cat")


def test_video_and_audio_are_counted(tmp_path: Path) -> None:
    good = {"image": "a.png", "conversations": THREE}
    others = [good | {"videos": ["a.mp4"]}, good | {"audio": "a.wav"}, good | {"video": ""}]
    data = LlavaJson(write(tmp_path, good, *others))
    assert len(data) == 2 and data.report.notes["record with video or audio left out"] == 2


@pytest.mark.parametrize("text", ["Où est le chat ?", "这是什么？", "ما هذا؟", "это кот", "👩‍👩‍👧 ไทย", "a" * 20_000])
def test_scripts_and_long_answers(tmp_path: Path, text: str) -> None:
    turns = said(("system", text), ("human", text), ("gpt", text), ("human", text), ("gpt", text))
    sample = LlavaJson(write(tmp_path, {"image": "a.png", "conversations": turns}))[0]
    assert (sample.system, *sample.exchanges) == (text, (text, text), (text, text))


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ("hello", "not a list of turns"),
        ([{"from": "human"}], "not a list of turns"),
        ([3], "not a list of turns"),
        ([{"role": "user", "content": [{"type": "video"}]}], "part of type 'video'"),
        ([{"role": "user", "content": [3]}], "part of type"),
        ([], "no human turn followed by a gpt turn"),
    ],
)
def test_what_is_no_conversation(turns: Any, said: str) -> None:
    with pytest.raises(EntryError, match=said):
        conversation(turns)


def test_a_bad_turn_leaves_the_others(tmp_path: Path) -> None:
    turns = said(("human", "q"), ("gpt", "a"), ("human", "r"), ("gpt", " "), ("human", "s"), ("gpt", "b"))
    path = write(tmp_path, {"id": "x", "image": "a.png", "conversations": turns})
    (problem,) = check_data(path).problems
    assert str(problem) == "record 0 ('x'): exchange 2: the gpt answer is empty"
    (problem,) = check_data(path, turns="apart").problems
    assert (problem.kind, problem.where) == ("empty text", "record 0 ('x#2')")
    data = LlavaJson(path, turns="apart", skip_bad=True)
    assert [data[i].id for i in range(len(data))] == ["x", "x#3"]


def test_a_question_has_to_be_there_where_the_task_has_none(tmp_path: Path) -> None:
    path = write(tmp_path, {"image": "a.png", "conversations": said(("human", "<image>"), ("gpt", "a"))})
    assert LlavaJson(path)[0].prompt == "describe the image."
    assert check_data(path, task="vqa").counts() == {"empty text": 1}


def test_records_without_a_picture_are_counted(tmp_path: Path) -> None:
    words = said(("human", "who?"), ("gpt", "me"))
    lacking = [{"conversations": words}, {"conversations": words, "image": None}, {"messages": words, "images": []}]
    path = write(tmp_path, {"image": "a.png", "conversations": words}, *lacking)
    data = LlavaJson(path)
    assert len(data) == 1 and data.report.notes == {"record without an image left out": 3}
    assert "noted: 3 x record without an image left out" in str(data.report)
    shown = check_data(write(tmp_path, {"conversations": THREE}, {"image": "a.png", "conversations": words}))
    assert shown.counts() == {"broken entry": 1}, "its prompt shows a picture that is not named"


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_ids_are_made_unique_and_always_the_same(tmp_path: Path, name: str) -> None:
    turns = said(("human", "q"), ("gpt", "a"), ("human", "r"), ("gpt", "b"))
    records: list[dict[str, Any]] = [
        {"id": given, "image": "a.png", "conversations": turns} for given in ("a", "a", "a~2", "a#2", "a", 7, "7")
    ]
    records += [
        {"image": "b.png", "conversations": turns[:2]},
        {"id": None, "image": "b.png", "conversations": turns[:2]},
    ]
    path = write(tmp_path, *records, name=name)
    data, again = LlavaJson(path, turns="apart"), LlavaJson(path, turns="apart")
    ids = [data[i].id for i in range(len(data))]
    assert len(set(ids)) == len(ids) == 16
    assert ids[:4] == ["a", "a#2", "a~2", "a~2#2"]
    assert ids == [again[i].id for i in range(len(again))]
    assert data.report.notes["repeated id made unique"] >= 4 and not data.report


def test_a_quarter_of_a_million_records_of_one_id_take_little(tmp_path: Path) -> None:
    from pcvr.data.records import Unique

    unique = Unique()
    names = [unique("same") for _ in range(250_000)]  # quadratic work would not come to an end
    assert len(set(names)) == 250_000 and names[-1] == "same~250000"


def test_images_as_in_openai_s_interface(tmp_path: Path) -> None:
    """A path is read; an address is refused, since nothing is fetched."""

    def record(url: str) -> dict[str, Any]:
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What?"}]
        return {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "a cat."}]}

    data = LlavaJson(write(tmp_path, record("a.png")))
    assert (data[0].prompt, data[0].answer) == ("What?", "a cat.")
    for url in ("https://example.org/a.png", "data:image/png;base64," + "A" * 3000):
        with pytest.raises(PcvrError, match=r"is no file: save the image in the folder and name it") as raised:
            LlavaJson(write(tmp_path, record(url)))
        assert len(str(raised.value)) < 600


def test_null_is_as_absent(tmp_path: Path) -> None:
    record = {"image": "a.png", "conversations": THREE[:2], "references": None, "facts": None}
    sample = LlavaJson(write(tmp_path, record))[0]
    assert sample.references == ("a cat.",) and not sample.facts
