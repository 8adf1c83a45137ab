"""What a model takes, before it is loaded: counted from the config, compared with the real thing, refused."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, CLIPVisionConfig, LlamaConfig, LlavaConfig

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.models.device import pick_device, pick_dtype
from pcvr.models.families import family_of
from pcvr.models.load import describe
from pcvr.models.memory import GIB, container_memory, estimate, free_memory, refuse_too_large
from pcvr.models.picture_tokens import image_tokens
from tests import byte_level
from tests.families import BUILDERS, missing_for, no_videos, write

CPU = torch.device("cpu")
BYTE_LEVEL = {name: partial(byte_level.build, name) for name in BUILDERS}


def seven_billion() -> LlavaConfig:
    """LLaVA-1.5 7B: CLIP ViT-L/14 at 336 px and Vicuna."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    return LlavaConfig(vision_config=vision, text_config=LlamaConfig(vocab_size=32_064), image_seq_length=576)


def test_a_large_model_is_counted_without_being_made() -> None:
    found = estimate(seven_billion(), torch.bfloat16)
    assert 7.0e9 < found.parameters < 7.1e9
    assert found.tokens == 576 + 128
    assert found.weights == 2 * found.parameters
    assert found.weights < found.answering < found.training < 2 * found.weights
    quarter = estimate(seven_billion(), torch.bfloat16, four_bit=True)
    assert quarter.parameters == found.parameters
    assert 0.25 < quarter.weights / found.weights < 0.36
    assert "7.1 billion parameters" in str(found) and "GiB" in str(found)


@pytest.mark.parametrize("name", ["llava", "llava_next", "blip-2", "instructblip", "idefics3"])
def test_the_count_is_that_of_the_loaded_model(name: str, tmp_path: Path) -> None:
    folder = write(name, tmp_path / "model")
    found = estimate(AutoConfig.from_pretrained(folder), torch.float32)
    vlm = pcvr.load(folder, device="cpu")
    assert found.parameters == sum(p.numel() for p in vlm.model.parameters())
    assert found.weights == 4 * found.parameters
    told = describe(str(folder), device="cpu")
    assert vlm.family.about in told and "as float32" in told and "MiB" in told


@pytest.mark.parametrize(("name", "tokens"), [("llava", 9), ("blip-2", 16), ("idefics3", 4)])
def test_image_tokens_are_those_that_the_processor_sets(name: str, tokens: int, tmp_path: Path) -> None:
    folder = write(name, tmp_path / "model")
    vlm = pcvr.load(folder, device="cpu")
    picture = pcvr.open_data("scenes", n=1)[0].image
    ids = vlm.encode([picture], ["describe the image."])["input_ids"]
    assert (ids == vlm.tokenizer.convert_tokens_to_ids("<image>")).sum() == tokens
    assert image_tokens(AutoConfig.from_pretrained(folder)) == tokens


LARGEST = {"llava_next": (96, 96), "idefics3 in tiles": (2000, 2000)}
"""Pictures of which a family makes the most tokens; the others are larger than their processors keep."""


@pytest.mark.parametrize("name", sorted(BUILDERS))
@pytest.mark.parametrize("make", [BUILDERS, BYTE_LEVEL], ids=["words", "bytes"])
def test_the_estimate_holds_the_largest_picture(name: str, make: dict[str, Any]) -> None:
    missing = missing_for(name)
    if missing and not name.startswith("qwen"):
        pytest.skip(f"{name} needs {missing} for the video part of its processor")
    with no_videos() as videos:
        model, processor = make[name](**({"videos": videos} if missing else {}))
    vlm = VisionLanguageModel(name, model, processor, family_of(model))
    shapes = [LARGEST.get(name, (1000, 1000)), (400, 1600), (1600, 400), (300, 500)]
    ids = [vlm.prepare([np.zeros((*shape, 3), np.uint8)], ["what?"])["input_ids"][0] for shape in shapes]
    counts = [int((each == model.config.image_token_id).sum()) for each in ids]
    found = image_tokens(model.config, processor.image_processor)
    # Not a token too few, and what is more are the marks of tiles, in the ids as well.
    assert max(counts) <= found <= max(map(len, ids))
    if vlm.family.layout != "tiles" or name == "llava_next":
        assert found == max(counts)
    assert max(map(len, ids)) < estimate(model.config, torch.float32, images=processor.image_processor).tokens


def test_released_settings_give_the_published_numbers() -> None:
    from transformers import Idefics3Config, LlavaNextConfig, Qwen2VLConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    smolvlm = Idefics3Config(vision_config={"image_size": 512, "patch_size": 16}, scale_factor=4)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    assert image_tokens(smolvlm) == 64
    assert image_tokens(smolvlm, images) == 16 * (64 + 2) + 4 + 64 + 4  # 4 x 4 tiles and the overview
    next_7b = LlavaNextConfig(image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]])
    assert image_tokens(next_7b) == 576 + 48 * 49
    qwen = Qwen2VLConfig(vision_config={"patch_size": 14, "spatial_merge_size": 2})
    bounded = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280})
    assert 1200 < image_tokens(qwen, bounded) <= 1280


def test_a_description_counts_tiles(tmp_path: Path) -> None:
    tokens = [
        int(re.search(r"up to (\d+) tokens", describe(str(write(name, tmp_path / name)), device="cpu")).group(1))  # type: ignore[union-attr]
        for name in ("idefics3", "idefics3 in tiles")
    ]
    assert tokens == [4 + 128, 4 * (4 + 2) + 2 + 4 + 4 + 128]


def test_what_does_not_fit_is_refused_with_advice() -> None:
    needed = estimate(seven_billion(), torch.bfloat16)
    free = free_memory(CPU)
    assert free is None or free > GIB / 4
    too_much = replace(needed, answering=10**15)
    if free is not None:
        with pytest.raises(PcvrError, match=r"needs about .* GiB on cpu, where .* are free: .*four_bit.*smaller model"):
            refuse_too_large("org/model", too_much, CPU, four_bit=False)
        with pytest.raises(PcvrError) as caught:
            refuse_too_large("org/model", too_much, CPU, four_bit=True)
        assert "four_bit" not in str(caught.value)
    refuse_too_large("org/model", replace(needed, answering=1), CPU, four_bit=False)


def test_a_model_that_does_not_fit_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write("llava", tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"never looked at")
    monkeypatch.setattr("pcvr.models.memory.free_memory", lambda _device: 1000)
    with pytest.raises(PcvrError, match="0 MiB are free"):
        pcvr.load(folder, device="cpu")


def test_a_large_model_says_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write("blip-2", tmp_path / "model")
    capsys.readouterr()
    pcvr.load(folder, device="cpu")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pcvr.models.load.LARGE", 1000)
    pcvr.load(folder, device="cpu")
    assert "parameters: about" in capsys.readouterr().err


def test_four_bits_need_cuda(tmp_path: Path) -> None:
    with pytest.raises(PcvrError, match="four_bit=True needs a CUDA device"):
        pcvr.load("tiny-llava", device="cpu", four_bit=True)


@pytest.mark.parametrize(
    ("kind", "capability", "own", "expected"),
    [
        ("cpu", None, torch.bfloat16, torch.float32),
        ("cuda", (7, 5), torch.bfloat16, torch.float16),
        ("cuda", (8, 0), torch.float16, torch.bfloat16),
        ("cuda", (9, 0), torch.float32, torch.float32),
        ("mps", None, torch.bfloat16, torch.float16),
        ("mps", None, None, torch.float16),
    ],
)
def test_the_dtype_follows_what_the_device_can_do(
    kind: str,
    capability: tuple[int, int] | None,
    own: torch.dtype | None,
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _device: capability)
    assert pick_dtype("auto", torch.device(kind), own) is expected
    assert pick_dtype("bfloat16", torch.device(kind), own) is torch.bfloat16


def test_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        there = SimpleNamespace(is_available=lambda mps=mps: mps)
        monkeypatch.setattr("torch.cuda.is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr("torch.backends.mps", there)
        assert pick_device("auto").type == expected


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "anon 5\ninactive_file 100\n"}, 400),
        ({"memory.max": "1000\n", "memory.current": "1200\n", "memory.stat": "anon 5\n"}, 0),
        ({"memory.max": "max\n", "memory.current": "700\n", "memory.stat": "anon 5\n"}, None),
        (
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "700",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 50",
            },
            350,
        ),
        ({}, None),
    ],
)
def test_a_container_has_what_its_limit_leaves(tmp_path: Path, files: dict[str, str], free: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container_memory(tmp_path) == free
