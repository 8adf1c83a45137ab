"""The one rule for texts from outside: what passes comes back the same, everywhere and after a round trip to disk."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvr.attacks import get_attack, load_poisoned, poison, save_poisoned
from pcvr.data import BadData, Sample, check_data, open_data
from pcvr.data.report import EntryError
from pcvr.data.wording import IMAGE_TOKEN, clean_answer, clean_prompt, most_common
from pcvr.errors import PcvrError
from tests import formats

TOKENS = ("<image>", "<|image_pad|>", "<|vision_start|>", "<fake_token_around_image>", "<global-img>", "<row_1_col_2>")
PIECES = st.sampled_from([*TOKENS, "[IMG]", "<", ">", "[", "]", "a", "two cats", " ", "\n", "\u2028", "\x1c", "image"])
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=()), max_size=8
)


@pytest.mark.parametrize("token", [*TOKENS, "[IMG]", "[IMG_BREAK]", "<image_soft_token>", "<|image_1|>", "<im_patch>"])
def test_image_tokens_of_any_family(token: str) -> None:
    assert clean_prompt(f"{token}\n what? {token}{token} ") == "what?"
    assert clean_prompt(f" {token} ") == ""
    for text in (f"what {token} is it?", f"{token} a {token} b"):
        with pytest.raises(EntryError, match="image token"):
            clean_prompt(text)
    for text in (token, f"a {token}", f"{token} b"):
        with pytest.raises(EntryError, match="image token"):
            clean_answer(text)


@pytest.mark.parametrize("text", ["a < b > c", "[left] of the image", "<b>bold</b>", "image", "<>", "x[0]", "<eos>"])
def test_other_brackets_stay(text: str) -> None:
    assert clean_prompt(text) == clean_answer(text) == text


@given(TEXTS)
def test_what_is_clean_stays_clean(text: str) -> None:
    try:
        once = clean_prompt(text)
    except EntryError:
        return
    assert clean_prompt(once) == clean_answer(once) == once == once.strip()
    assert not IMAGE_TOKEN.search(once)


def test_long_hostile_texts_are_quick() -> None:
    assert clean_prompt("<image>" * 100_000) == ""
    assert clean_prompt("<image> " * 50_000 + "a" + " " * 100_000 + "b" + "\n<image>" * 50_000).startswith("a ")
    assert clean_answer("<" * 200_000) == "<" * 200_000


def test_the_most_common_answer_and_of_several_the_first() -> None:
    assert most_common(["b", "a", "", "a", "b", ""]) == "b"
    with pytest.raises(EntryError, match="empty"):
        most_common(["", ""])


class Texts:
    """Two pictures with texts that anybody may have written."""

    name = "texts"

    def __init__(
        self, task: str, prompts: list[str], answers: list[str], ids: list[str], references: list[str]
    ) -> None:
        self.task, self.prompts, self.answers, self.ids, self.references = task, prompts, answers, ids, references

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < 2:
            raise IndexError(index)
        image = np.full((6, 6, 3), 40 * index, np.uint8)
        return Sample(self.ids[index], image, self.prompts[index], self.answers[index], tuple(self.references))

    def fingerprint(self) -> str:
        return "texts"


IDS = st.sampled_from(["a", "a ", "a~2", "a#2", "", "/..", "x" * 5000]) | st.text(max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["caption", "vqa"]),
    st.lists(TEXTS, min_size=2, max_size=2),
    st.lists(TEXTS, min_size=2, max_size=2),
    st.lists(IDS, min_size=2, max_size=2),
    st.lists(TEXTS, max_size=3),
    st.sampled_from(["llava", "datasets"]),
    st.booleans(),
)
def test_what_is_saved_can_be_read(
    task: str, prompts: list[str], answers: list[str], ids: list[str], references: list[str], form: str, truth: bool
) -> None:
    data = poison(Texts(task, prompts, answers, ids, references), get_attack("badnets", target="it is", size=2), 0.5)
    with TemporaryDirectory() as work:
        place = Path(work, "out")
        try:
            save_poisoned(data, place, truth=truth, form=form, progress=False)
        except PcvrError as error:
            assert "cannot be written" in str(error)
            assert not list(Path(work).iterdir())
            return
        read = load_poisoned(place)
        assert len({read[i].id for i in range(2)}) == 2
        for i in range(2):
            before, after = data[i], read[i]
            assert (after.prompt, after.answer) == (before.prompt.strip(), before.answer.strip())
            assert np.array_equal(before.image, after.image)
        # What poisoning or training opens is the same data, and nothing in it is refused.
        assert len(open_data(place)) == 2 and not check_data(place)


@pytest.mark.parametrize("form", ["llava", "datasets"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": [" ", " "]}, "the prompt is empty"),
        ({"answers": ["\u2028", " "]}, "the answer is empty"),
        ({"prompts": ["<image>\nwhat?"] * 2}, "'<image>'"),
        ({"answers": ["a <image>"] * 2}, "'<image>'"),
        ({"references": ["\ud800"]}, "half a surrogate pair"),
        ({"ids": ["\ud800", "a"]}, "half a surrogate pair"),
    ],
)
def test_what_cannot_be_read_is_not_saved(tmp_path: Path, changes: dict[str, Any], said: str, form: str) -> None:
    texts = {"prompts": ["p", "q"], "answers": ["a", "b"], "ids": ["1", "2"], "references": ["a"]} | changes
    data = poison(Texts("caption", **texts), get_attack("badnets", size=2), 0.5)
    with pytest.raises(PcvrError, match=said):
        save_poisoned(data, tmp_path / "out", truth=True, form=form)
    assert not list(tmp_path.iterdir())


def _llava(folder: Path, text: str) -> Path:
    formats.grey(folder / "a.png")
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    late = [*turns, {"from": "human", "value": "q"}, {"from": "gpt", "value": text}]
    records = [
        {"id": 1, "image": "a.png", "conversations": late},
        {"id": 2, "image": "a.png", "conversations": turns, "references": ["a", text]},
        {"id": 3, "image": "a.png", "conversations": [{"from": "human", "value": f"q {text}"}, turns[1]]},
    ]
    return formats.write_json(folder / "data.json", records)


def _coco(folder: Path, text: str) -> Path:
    path = formats.write_coco(folder, 2)
    content = json.loads(path.read_text())
    content["annotations"][1]["caption"] = text
    return formats.write_json(path, content)


def _karpathy(folder: Path, text: str) -> Path:
    path = formats.write_karpathy(folder, 2)
    content = json.loads(path.read_text())
    content["images"][1]["sentences"][2]["raw"] = text
    return formats.write_json(path, content)


def _flickr(folder: Path, text: str) -> Path:
    path = formats.write_flickr_token(folder, 2)
    path.write_text(path.read_text() + f"{formats.flickr_name(1)}#5\t{text}\n")
    return path


def _vqav2(folder: Path, text: str) -> Path:
    questions, answers = formats.write_vqav2(folder, 2)
    content = json.loads(answers.read_text())
    content["annotations"][1]["answers"][4]["answer"] = text
    formats.write_json(answers, content)
    asked = json.loads(questions.read_text())
    asked["questions"][0]["question"] = f"what {text}?"
    return formats.write_json(questions, asked)


@pytest.mark.parametrize(("write", "count"), [(_llava, 3), (_coco, 1), (_karpathy, 1), (_flickr, 1), (_vqav2, 2)])
def test_every_reader_names_image_tokens(tmp_path: Path, write: Any, count: int) -> None:
    path = write(tmp_path, "a <|image_pad|> b")
    assert check_data(path).counts() == {"image token in a text": count}
    with pytest.raises(BadData, match=r"holds the image token '<\|image_pad\|>'"):
        open_data(path, split="all")
    if write is _llava:  # nothing is left of conversations; of exchanges apart, the good ones are
        with pytest.raises(BadData, match="no usable entry is left"):
            open_data(path, split="all", skip_bad=True)
    data = open_data(path, split="all", skip_bad=True, turns="apart")
    assert not any(IMAGE_TOKEN.search(text) for i in range(len(data)) for text in (data[i].prompt, data[i].answer))
