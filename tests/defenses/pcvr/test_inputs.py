"""Inputs as rows for the witness: images of any size, prompts, labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcvr.defenses.pcvr.inputs import CHANNELS, LABEL, PLACES, WORDS, image_rows, label_rows, prompt_rows


@pytest.mark.parametrize("tokens", [1, 37, 64, 576])
@pytest.mark.parametrize("width", [32, 128, 1024])
def test_a_row_has_one_width_whatever_the_image(tokens: int, width: int) -> None:
    rows = image_rows([torch.randn(tokens, width), torch.randn(2 * tokens, width)])
    assert rows.shape == (2, PLACES * min(width, CHANNELS)) and rows.dtype == np.float16


def test_mixing_keeps_distances() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = list(torch.randn(12, 20, 1024, generator=generator))
    rows = image_rows(pictures).astype(float)
    before = [float((pictures[0] - other).norm()) for other in pictures[1:]]
    after = [np.linalg.norm(rows[0] - other) for other in rows[1:]]
    np.testing.assert_allclose(after, before, rtol=0.15)
    np.testing.assert_array_equal(image_rows(pictures), image_rows(pictures))


def test_words_of_the_prompt_alone() -> None:
    batch = {
        "input_ids": torch.tensor([[0, 7, 8, 9, 5], [7, 7, 1021 + 8, 3, 2]]),
        "labels": torch.tensor([[-100, -100, -100, 9, 5], [-100, -100, -100, 3, 2]]),
        "attention_mask": torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]),
    }
    rows = prompt_rows(batch)
    assert rows.shape == (2, WORDS) and [row.nonzero()[0].tolist() for row in rows] == [[7, 8], [7, 8]]
    assert label_rows(batch)[:, :3].tolist() == [[9, 5, -1], [3, 2, -1]]
    assert label_rows(batch).shape == (2, LABEL)
