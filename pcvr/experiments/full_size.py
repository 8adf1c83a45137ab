"""A model of 7 B parameters as an outline, from shapes alone: what a machine without a network cannot look up."""

from __future__ import annotations

import torch

from pcvr.experiments.accelerator.shapes import FULL, config_of
from pcvr.experiments.price import PICTURE, describe_epoch
from pcvr.models.families import LLAVA
from pcvr.models.load import Outline
from pcvr.models.memory import GIB, estimate
from pcvr.models.quiet import quiet_loading
from pcvr.utils.checks import check_number


def full_size(four_bit: bool = False) -> Outline:
    """Return LLaVA-1.5-7B as ``pcvr models llava-hf/llava-1.5-7b-hf`` reads it from the hub: nothing is downloaded.

    Args:
        four_bit: whether the frozen weights have 4 bits.
    """
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = config_of(FULL)
    with quiet_loading():
        images = CLIPImageProcessorPil(size={"shortest_edge": FULL.image_px}, crop_size=FULL.image_px)
    needed = estimate(config, torch.bfloat16, four_bit)
    return Outline(FULL.name, config, LLAVA, images, torch.device("cpu"), torch.bfloat16, needed)


def full_size_epoch(samples: int, tflops: float, picture: tuple[int, int] = PICTURE) -> str:
    """Return as text what an epoch on one GPU costs with LLaVA-1.5-7B: computed, and not run.

    Args:
        samples: number of samples.
        tflops: TFLOP a second that the GPU is assumed to reach in training.
        picture: width and height of the pictures in pixels; the time to prepare one is measured on this machine.

    Raises:
        PcvrError: a number is out of its range.
    """
    check_number("tflops", tflops, 0, 1e6, above=True)
    plain, small = full_size(), full_size(four_bit=True)
    memory = (
        f"memory for training, one sample at a time: bfloat16 {plain.needed.training / GIB:.1f} GiB, "
        f"4 bits {small.needed.training / GIB:.1f} GiB"
    )
    return f"computed, not run here:\n{describe_epoch(plain, samples, picture, tflops)}\n{memory}"
