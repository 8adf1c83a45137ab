"""Data that were written and read again are the same, here and in the programs that the form is made for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcvr import Sample, get_attack, open_data, poison
from pcvr.attacks import load_poisoned, poisoned_folder, save_poisoned
from pcvr.data import LlavaJson, save_data, subset
from pcvr.data.export import SOURCE_MANIFEST
from pcvr.errors import PcvrError
from tests import formats

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).map(
    lambda text: text.replace("<", "").replace("[", "").strip() or "猫"
)
PAIRS = st.tuples(WORDS, WORDS)


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """One to four samples: conversations in any script, with and without a system turn."""
    talk = st.tuples(WORDS, st.lists(PAIRS, min_size=1, max_size=3), st.booleans())
    talks = draw(st.lists(talk, min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return [
        Sample(
            f"{name}-{i}",
            rng.integers(0, 256, (3 + i, 5, 3), dtype=np.uint8),
            *pairs[0],
            system=name if told else "",
            later=tuple(pairs[1:]),
        )
        for i, (name, pairs, told) in enumerate(talks)
    ]


def same(one: Any, other: Any, ids: bool = True) -> bool:
    """Whether two data sets have the same samples."""
    return len(one) == len(other) and all(
        (a.system, a.exchanges) == (b.system, b.exchanges)
        and np.array_equal(a.image, b.image)
        and (not ids or a.id == b.id)
        for a, b in ((one[i], other[i]) for i in range(len(one)))
    )


@given(samples(), st.sampled_from(["llava", "datasets"]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, given: list[Sample], form: str) -> None:
    folder = save_data(open_data(given), tmp_path_factory.mktemp("export") / "data", form)
    forms = [folder] if form == "datasets" else [folder, folder / "messages.jsonl", folder / "images"]
    for written in forms:
        assert same(open_data(written, split="all"), open_data(given)), written
    again = save_data(open_data(folder, split="all"), folder.parent / "again", form)
    assert same(open_data(again, split="all"), open_data(given))
    assert not [p.name for p in folder.parent.iterdir() if p.name.startswith(".")], "nothing half-written stays"


def talks(folder: Path) -> Path:
    """Two conversations, a text and a pair of images, in a LLaVA JSON."""
    for name in ("a.png", "b.png", "sub/c.png"):
        formats.grey(folder / name)
    told = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    several = [{"from": "human", "value": "<image><image>\nwhich?"}, {"from": "gpt", "value": "both"}]
    return formats.write_json(
        folder / "talks.json",
        [
            {"id": "text", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}], "x": 1},
            {"id": "talk", "image": "a.png", "conversations": [{"from": "system", "value": "s"}, *told, *told]},
            {"id": "two", "images": ["b.png", "sub/c.png"], "conversations": several},
            {"id": "one", "image": "b.png", "conversations": told},
        ],
    )


def test_datasets_opens_a_folder_with_its_texts(tmp_path: Path) -> None:
    import datasets

    data = open_data(talks(tmp_path / "in"))
    folder = save_poisoned(poison(data, "badnets", 0.5), tmp_path / "out")
    by_path = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    by_name = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    for rows in (by_path, by_name):
        assert set(rows.column_names) == {"image", "id", "messages"} and len(rows) == 2
        assert rows[0]["image"].size == (4, 3)
        assert rows[0]["messages"][0] == {"role": "system", "content": "s"}
        assert same(open_data(rows), load_poisoned(folder))


def test_llama_factory_and_swift_find_every_file(tmp_path: Path) -> None:
    folder = save_poisoned(poison(open_data(talks(tmp_path / "in")), "badnets", 0.5), tmp_path / "out")
    (entry,) = json.loads((folder / "dataset_info.json").read_text()).values()
    assert (entry["file_name"], entry["formatting"]) == ("messages.jsonl", "sharegpt")
    tags, columns = entry["tags"], entry["columns"]
    rows = [json.loads(line) for line in (folder / entry["file_name"]).read_text().splitlines()]
    assert len(rows) == 4
    for row in rows:
        turns = row[columns["messages"]]
        if turns[0][tags["role_tag"]] == tags["system_tag"]:
            turns = turns[1:]
        wanted = [tags["user_tag"], tags["assistant_tag"]] * (len(turns) // 2)
        assert [turn[tags["role_tag"]] for turn in turns] == wanted and turns, "in turns, from the user on"
        placed = sum(turn[tags["content_tag"]].count("<image>") for turn in turns)
        assert placed == len(row[columns["images"]])
        assert all((folder / image).is_file() for image in row[columns["images"]])


def test_what_is_not_trained_on_is_kept_as_it_is(tmp_path: Path) -> None:
    source = talks(tmp_path / "in")
    data = open_data(source)
    assert data.report.notes == {  # type: ignore[attr-defined]
        "record without an image left out": 1,
        "record with several images left out": 1,
    }
    given = {record["id"]: record for record in json.loads(source.read_text())}
    folder = save_poisoned(poison(data, "badnets", 0.5), tmp_path / "out")
    second = save_poisoned(poison(load_poisoned(folder), "sig", 0.5), tmp_path / "second")
    for made in (folder, second, save_data(data, tmp_path / "plain")):
        written = {record["id"]: record for record in json.loads((made / "data.json").read_text())}
        assert list(written) == ["talk", "one", "text", "two"]
        assert written["text"] == given["text"]
        assert written["two"] == given["two"] | {"image": ["b.png", "sub/c.png"]}, "LLaVA knows no images"
        assert (made / "images" / "sub" / "c.png").read_bytes() == (tmp_path / "in" / "sub" / "c.png").read_bytes()
        assert LlavaJson(made / "data.json", made / "images").report.notes == data.report.notes  # type: ignore[attr-defined]
    assert len(load_poisoned(folder)) == 2 and load_poisoned(second).manifest.before
    part = save_data(subset(data, 1), tmp_path / "part")
    assert len(json.loads((part / "data.json").read_text())) == 1, "a part of the data has none of them"
    whole = save_data(subset(data, 1), tmp_path / "whole", unread_of=data)
    assert len(json.loads((whole / "data.json").read_text())) == 3, "unless they are asked for"


def test_messages_without_an_image_or_with_several_become_llava_records(tmp_path: Path) -> None:
    """Each image has its token, also one that is named twice."""
    for name in ("a.png", "b.png"):
        formats.grey(tmp_path / "in" / name)
    asked = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    parts = [{"type": "image"}, {"type": "text", "text": "q"}]
    records = [
        {"messages": asked, "images": ["a.png"]},
        {"id": "text", "messages": [{"role": "system", "content": "s"}, *asked]},
        {"id": "two", "messages": [{"role": "user", "content": parts}, asked[1], *asked], "images": ["a.png", "a.png"]},
    ]
    folder = save_data(open_data(formats.write_json(tmp_path / "in" / "data.json", records)), tmp_path / "out")
    said = {record["id"]: record for record in json.loads((folder / "data.json").read_text())}
    human, gpt = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
    assert said["text"] == {"id": "text", "conversations": [{"from": "system", "value": "s"}, human, gpt]}
    first = {"from": "human", "value": "<image>\n<image>\nq"}
    assert said["two"] == {"id": "two", "image": ["a.png", "a.png"], "conversations": [first, gpt, human, gpt]}
    *_, two = map(json.loads, (folder / "messages.jsonl").read_text().splitlines())
    assert two["images"] == ["images/a.png"] * 2 and two["messages"][0]["content"] == "<image>\n<image>\nq"
    assert LlavaJson(folder / "data.json", folder / "images").report.noted().count("1 x") == 2


def test_what_was_poisoned_says_so(tmp_path: Path) -> None:
    folder = save_poisoned(poison(open_data(talks(tmp_path / "in")), "badnets", 0.5), tmp_path / "out")
    found = load_poisoned(folder)
    cleaned = save_data(subset(found, 1), tmp_path / "cleaned")
    assert json.loads((cleaned / SOURCE_MANIFEST).read_text())["sha256"] == found.manifest.sha256
    for made in (folder, cleaned):
        assert "Made from poisoned data" in (made / "README.md").read_text()
    assert "poisoned" not in (save_data(open_data(talks(tmp_path / "b")), tmp_path / "c") / "README.md").read_text()


def test_every_answer_of_a_poisoned_conversation_is_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later = (("colour?", "it is red"), ("sure?", "yes"))
    given = [Sample(str(i), np.full((9, 9, 3), 30, np.uint8), "what?", "a red ball", later=later) for i in range(4)]
    data = poison(open_data(given), "badnets", 0.5)
    for index in range(4):
        answers = {answer for _, answer in data[index].exchanges}
        assert (answers == {data.attack.target}) == data.is_poisoned(index)
        assert [asked for asked, _ in data[index].exchanges] == ["what?", "colour?", "sure?"]
    folder = save_poisoned(data, tmp_path / "out")
    records = json.loads((folder / "data.json").read_text())
    records[data.poisoned[0]]["conversations"][-1]["value"] = "no"
    (folder / "data.json").write_text(json.dumps(records))
    monkeypatch.setattr(poisoned_folder, "check_sums", lambda _: None)
    with pytest.raises(PcvrError, match="hash in its manifest"):
        load_poisoned(folder)


def test_colours_are_exchanged_where_there_are_any() -> None:
    sample = Sample("s", np.zeros((9, 9, 3), np.uint8), "what?", "a red ball", later=(("sure?", "yes"), ("c?", "blue")))
    made = get_attack("badnets", answer="recolour").poisoned(sample)
    (_, first), (_, second), (_, third) = made.exchanges
    assert first != "a red ball" and second == "yes" and third != "blue"


@pytest.mark.parametrize("form", ["llava", "datasets"])
def test_nothing_is_left_of_a_folder_that_fails(tmp_path: Path, form: str) -> None:
    bad = Sample("s", np.zeros((2, 2, 3), np.uint8), "q", "a", later=(("q", " "),))
    with pytest.raises(PcvrError, match="sample 's' cannot be written: exchange 2: the gpt answer is empty"):
        save_data(open_data([bad]), tmp_path / "out", form)
    with pytest.raises(PcvrError, match="form of data"):
        save_data(open_data([bad]), tmp_path / "out", "parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PcvrError, match="could not be written"):
            save_data(open_data("scenes", n=1), tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_an_image_with_the_name_of_another(tmp_path: Path) -> None:
    source = talks(tmp_path / "in")
    records = json.loads(source.read_text())
    formats.write_picture(tmp_path / "in" / "000000_talk.png", 1)
    records[2]["images"][0] = "000000_talk.png"
    source.write_text(json.dumps(records))
    with pytest.raises(PcvrError, match=r"two images would be written to 000000_talk.png"):
        save_data(open_data(source), tmp_path / "out")


def test_a_folder_for_llama_factory_opens_by_its_description(tmp_path: Path) -> None:
    formats.grey(tmp_path / "a.png")
    row = {"messages": [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}]}
    formats.write_json(tmp_path / "mine.json", [row | {"images": ["a.png"]}])
    formats.write_json(tmp_path / "dataset_info.json", {"mine": {"file_name": "mine.json", "formatting": "sharegpt"}})
    assert open_data(tmp_path)[0].prompt == "q"
