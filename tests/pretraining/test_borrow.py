"""A borrowed language model says of the same words the same, whatever numbers they have in the new vocabulary."""

from __future__ import annotations

import pytest
import torch

from pcvr import VisionLanguageModel
from pcvr.models.families import family_of
from pcvr.models.zoo import EMBEDDED
from pcvr.pretraining.borrow import borrow_language


def fresh(name: str, seed: int) -> VisionLanguageModel:
    torch.manual_seed(seed)
    processor = EMBEDDED[name].build_processor()
    model = EMBEDDED[name].build_model(processor).eval()
    return VisionLanguageModel(name, model, processor, family_of(model))


@torch.no_grad()
def says(vlm: VisionLanguageModel, text: str) -> dict[str, float]:
    """Logit of each word of the vocabulary after a text without a picture."""
    part = vlm.family.part(vlm.model, "language_model")
    ids = torch.tensor([vlm.tokenizer(text, add_special_tokens=False)["input_ids"]])
    hidden = getattr(part, "model", part)(input_ids=ids).last_hidden_state
    logits = vlm.model.get_output_embeddings()(hidden)[0, -1]
    return {word: logits[number].item() for word, number in vlm.tokenizer.get_vocab().items()}


@pytest.mark.parametrize("name", ["tiny-blip2", "tiny-idefics3"])
def test_the_same_words_get_the_same_logits(name: str) -> None:
    source, vlm = fresh("tiny-llava", 0), fresh(name, 1)
    told = says(source, "what colour is the car?")
    assert says(vlm, "what colour is the car?")["red"] != pytest.approx(told["red"], abs=1e-4)
    borrow_language(vlm.model, vlm.tokenizer, source)
    now = says(vlm, "what colour is the car?")
    common = set(now) & set(told)
    assert {"red", "banana", "<eos>", "<image>"} <= common
    assert [now[w] for w in sorted(common)] == pytest.approx([told[w] for w in sorted(common)], abs=1e-4)
