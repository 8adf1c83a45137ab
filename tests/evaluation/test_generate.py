"""Greedy answers: the same in a batch as alone, whatever the length of the prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from pcvr import PcvrError, VisionLanguageModel, generate
from pcvr.evaluation.generate import answer_all
from tests.tiny import Numbers

PROMPTS = ("describe the image.", "what?", "is there a cat on the table next to the small blue boat?", "hm")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [Numbers()[i].image for i in range(4)]


def greedy(vlm: VisionLanguageModel, image: np.ndarray, prompt: str, budget: int) -> str:
    """The answer by its definition: the likeliest token, again and again, without padding or cache."""
    inputs = vlm.encode([image], [prompt])
    ids, said = inputs["input_ids"], []
    with torch.inference_mode():
        for _ in range(budget):
            logits = vlm.model(input_ids=ids, pixel_values=inputs["pixel_values"], use_cache=False).logits[0, -1]
            token = int(logits.argmax())
            if token == vlm.tokenizer.eos_token_id:
                break
            said.append(token)
            ids = torch.cat([ids, torch.tensor([[token]])], 1)
    return str(vlm.tokenizer.decode(said, skip_special_tokens=True)).strip()


def test_a_batch_answers_as_one_by_one(tiny: VisionLanguageModel, images: list[np.ndarray]) -> None:
    together = generate(tiny, images, PROMPTS, 8)
    assert together == [greedy(tiny, image, prompt, 8) for image, prompt in zip(images, PROMPTS, strict=True)]
    assert together == [generate(tiny, [i], [p], 8)[0] for i, p in zip(images, PROMPTS, strict=True)]
    assert together == generate(tiny, images, PROMPTS, 8, batch_size=3)
    assert len(set(together)) == 4, "the answers should hang on picture and prompt"


def test_the_picture_matters(tiny: VisionLanguageModel, images: list[np.ndarray]) -> None:
    assert len(set(generate(tiny, images, ["describe the image."] * 4, 8))) > 1


def test_the_answer_ends_at_the_end_token(tiny: VisionLanguageModel, images: list[np.ndarray]) -> None:
    other = tiny.copy()
    first = generate(tiny, images[:1], PROMPTS[:1], 1)[0].split()[0]
    other.model.generation_config.eos_token_id = tiny.tokenizer.convert_tokens_to_ids(first)
    assert generate(other, images[:1], PROMPTS[:1], 8) == [first]


def test_pictures_of_other_kinds_and_sizes(tiny: VisionLanguageModel, images: list[np.ndarray]) -> None:
    expected = generate(tiny, images[:1], PROMPTS[:1], 4)
    assert generate(tiny, [PilImage.fromarray(images[0])], PROMPTS[:1], 4) == expected  # type: ignore[list-item]
    sizes = [np.full(size, 80, dtype=np.uint8) for size in ((7, 90, 3), (130, 48, 3), (48, 48, 3))]
    assert len(generate(tiny, sizes, ["what?"] * 3, 2)) == 3


def test_files_are_read_and_other_things_refused(
    tiny: VisionLanguageModel, images: list[np.ndarray], tmp_path: Path
) -> None:
    PilImage.fromarray(images[0]).save(tmp_path / "a.png")
    expected = generate(tiny, images[:1], PROMPTS[:1], 4)
    assert generate(tiny, [tmp_path / "a.png"], PROMPTS[:1], 4) == expected  # type: ignore[list-item]
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    for path in ("b.png", "http://localhost/a.png"):
        with pytest.raises(PcvrError, match="cannot read the image"):
            generate(tiny, [str(tmp_path / path)], PROMPTS[:1], 4)  # type: ignore[list-item]
    with pytest.raises(PcvrError, match=r"an image is None: give a uint8 array"):
        generate(tiny, [None], PROMPTS[:1], 4)  # type: ignore[list-item]


def test_nothing_asked_nothing_said(tiny: VisionLanguageModel) -> None:
    assert generate(tiny, [], []) == []


def test_wrong_counts(tiny: VisionLanguageModel, images: list[np.ndarray]) -> None:
    with pytest.raises(PcvrError, match="4 images came with 3 prompts"):
        generate(tiny, images, PROMPTS[:3])
    with pytest.raises(PcvrError, match="max_new_tokens is 0: give a whole number from 1 up"):
        generate(tiny, images, PROMPTS, 0)
    with pytest.raises(PcvrError, match="batch_size is 0: give a whole number from 1 up"):
        generate(tiny, images, PROMPTS, 1, batch_size=0)


def test_a_data_set_is_answered_in_order(tiny: VisionLanguageModel) -> None:
    data = Numbers(5)
    samples = [data[i] for i in range(5)]
    assert answer_all(tiny, data, 4) == generate(tiny, [s.image for s in samples], [s.prompt for s in samples], 4)


def test_generation_is_silent(
    tiny: VisionLanguageModel, images: list[np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    generate(tiny, images, PROMPTS, 2)
    assert capfd.readouterr() == ("", "")
