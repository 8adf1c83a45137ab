"""The surrogate encoder of ISSBA: two small networks that learn to write and to read sixteen bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, interpolate

from pcvr.errors import PcvrError
from pcvr.utils.checks import check_seed

SIDE = 96
"""Side in pixels of the images in which the message is written."""
BITS = 16
_LIMIT = 12.0  # largest level of a residual
_COARSE = 2  # pixels along a side that share a residual: finer ones cost four times as much and do not survive scaling
_GRID = 6  # the message enters as an image with this many cells along a side


class Encoder(nn.Module):
    """Write a message: a residual of at most 12 levels that depends on the image."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.spread = nn.Linear(BITS, 4 * _GRID * _GRID)
        self.layers = nn.Sequential(
            nn.Conv2d(3 + 4, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=4, dilation=4),
            nn.ReLU(),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, images: Tensor, bits: Tensor) -> Tensor:
        """Map levels 0 to 255 ``[B, 3, 96, 96]`` and bits 0 or 1 ``[B, 16]`` to residuals ``[B, 3, 96, 96]`` in
        levels."""
        cells = self.spread(bits * 2 - 1).view(-1, 4, _GRID, _GRID)
        seen = avg_pool2d(images / 127.5 - 1, _COARSE)
        message = interpolate(cells, seen.shape[-2:], mode="bilinear")
        written = self.layers(torch.cat([seen, message], dim=1))
        return _LIMIT * interpolate(torch.tanh(written), (SIDE, SIDE), mode="bilinear")


class Decoder(nn.Module):
    """Read a message; needed for training only."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for inside, outside in ((3, width), (width, width), (width, width), (width, width)):
            steps += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        self.layers = nn.Sequential(*steps, nn.Flatten(), nn.Linear(width * _GRID * _GRID, BITS))

    def forward(self, images: Tensor) -> Tensor:
        """Map levels ``[B, 3, 96, 96]`` to logits of the bits ``[B, 16]``."""
        logits: Tensor = self.layers(images / 127.5 - 1)
        return logits


def bits_of(message: int) -> Tensor:
    """Return the bits of an integer as float ``[16]`` of 0 and 1, the lowest bit first."""
    return torch.tensor([float(message >> k & 1) for k in range(BITS)])


def train_encoder(
    images: Sequence[np.ndarray], *, steps: int = 1500, batch_size: int = 32, seed: int = 0, progress: bool = False
) -> tuple[Encoder, dict[str, float]]:
    """Train an encoder and a decoder together, from scratch.

    The loss counts correct reading, and later also a faint residual. The decoder sees rounded and clipped levels.

    Args:
        images: uint8 ``[96, 96, 3]``; the last eighth is held out for the figures.
        steps: steps of Adam.
        batch_size: images in a step.
        seed: of weights, order and messages.
        progress: whether to show a bar.

    Returns:
        The encoder, and on held-out images: ``bits_right`` (0 to 1) and ``mean_change`` (levels).

    Raises:
        PcvrError: there are fewer than 16 images, or images of another size.
    """
    from tqdm.auto import tqdm

    from pcvr.models.embed import as_levels

    if len(images) < 16 or any(image.shape != (SIDE, SIDE, 3) for image in images):
        raise PcvrError(f"the encoder learns from 16 or more images of {SIDE} x {SIDE} px: give others.")
    check_seed(seed)
    torch.manual_seed(seed)
    encoder, decoder = Encoder(), Decoder()
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    levels = as_levels(np.stack(images))
    cut = len(levels) - len(levels) // 8
    learn, kept = levels[:cut], levels[cut:]
    for step in tqdm(range(steps), desc="train the encoder", disable=not progress):
        chosen = learn[torch.randint(len(learn), (batch_size,))]
        bits = torch.randint(0, 2, (batch_size, BITS)).float()
        residual = encoder(chosen, bits)
        sent = (chosen + residual).clamp(0, 255)
        sent = sent + torch.empty_like(sent).uniform_(-0.5, 0.5)  # the effect of rounding
        faint = min(1.0, max(0.0, 2 * step / steps - 0.4)) * 0.002
        loss = binary_cross_entropy_with_logits(decoder(sent), bits) + faint * residual.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    encoder.eval(), decoder.eval()
    with torch.inference_mode():
        bits = torch.randint(0, 2, (len(kept), BITS)).float()
        residual = encoder(kept, bits)
        read = decoder((kept + residual).round().clamp(0, 255)) > 0
    return encoder, {
        "bits_right": float((read == bits.bool()).float().mean()),
        "mean_change": float(residual.abs().mean()),
    }


def load_encoder(file: str | Path) -> Encoder:
    """Load an encoder from a file of ``pcvr craft issba``.

    Raises:
        PcvrError: the file is missing or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    encoder = Encoder()
    try:
        encoder.load_state_dict({name: value.float() for name, value in load_file(file).items()})
    except (SafetensorError, RuntimeError, OSError) as error:
        raise PcvrError(f"cannot read an encoder from {file}: {error}.") from error
    return encoder.eval()
