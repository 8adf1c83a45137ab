"""The tokens of a prompt by their role, in every family and in templates with words of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import pcvr
from pcvr import Sample, VisionLanguageModel
from pcvr.models.encode import IGNORE, EncodedData
from pcvr.models.prompt_blocks import BLOCKS, prompt_blocks, role_words
from tests.families import write
from tests.tiny import Numbers

TEXTS = ("describe the image .", "what is there ?", "a")
SYSTEM = {
    "llava": ["<user>", "<assistant>"],
    "blip-2": ["question", ":", "answer", ":"],
    "idefics3": ["<user>", "<fake_token_around_image>", "<global-img>", "<fake_token_around_image>", "<assistant>"],
    "instructblip": [],
}


class Asked(Numbers):
    def __getitem__(self, index: int, /) -> Sample:
        return replace(super().__getitem__(index), prompt=TEXTS[index])


@pytest.fixture(scope="module", params=list(SYSTEM))
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


def words(vlm: VisionLanguageModel) -> list[dict[str, list[str]]]:
    """The tokens of each block of the three prompts."""
    batch = EncodedData(vlm, Asked(3)).batch([0, 1, 2])
    last = (batch["labels"] != IGNORE).int().argmax(1) - 1
    blocks = prompt_blocks(vlm, batch["input_ids"], last)
    place = torch.arange(blocks.shape[2])
    assert torch.equal(blocks.sum(1), (place <= last[:, None]).long()), "each prompt token in one block, others in none"
    tokens = vlm.tokenizer.convert_ids_to_tokens
    return [
        {name: tokens(ids[part].tolist()) for name, part in zip(BLOCKS, parts, strict=True)}
        for ids, parts in zip(batch["input_ids"], blocks, strict=True)
    ]


def test_blocks_of_every_family(vlm: VisionLanguageModel) -> None:
    for text, found in zip(TEXTS, words(vlm), strict=True):
        assert found["user text"] == text.split()
        assert found["system"] == SYSTEM[vlm.family.model_type]
        assert set(found["image"]) == {"<image>"}


def test_role_words_and_a_system_message(tiny: VisionLanguageModel) -> None:
    vlm = tiny.copy()
    vlm.processor = tiny.processor.__class__(
        tiny.processor.image_processor,
        tiny.tokenizer,
        chat_template=(
            "you are a happy man . {% for message in messages %}"
            "{{ 'user : ' if message['role'] == 'user' else ' no : ' }}"
            "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
            "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>' }}"
            "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}{{ ' no : ' }}{% endif %}"
        ),
        patch_size=tiny.processor.patch_size,
        vision_feature_select_strategy=tiny.processor.vision_feature_select_strategy,
        num_additional_image_tokens=tiny.processor.num_additional_image_tokens,
    )
    before, after = role_words(vlm)
    assert (before, after) == (len(vlm.tokenizer("you are a happy man . user :")["input_ids"]), 2)
    for text, found in zip(TEXTS, words(vlm), strict=True):
        assert found["user text"] == text.split()
        assert len(found["system"]) == before + after and found["system"][-2:] == ["no", ":"]


def test_an_unknown_word_is_the_users(tiny: VisionLanguageModel) -> None:
    unknown, image = tiny.tokenizer.unk_token_id, tiny.base.config.image_token_id
    user, assistant = tiny.tokenizer.convert_tokens_to_ids(["<user>", "<assistant>"])
    ids = torch.tensor([[user, image, unknown, assistant, 9]])
    blocks = prompt_blocks(tiny, ids, torch.tensor([3]))[0].long().tolist()
    assert blocks == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
