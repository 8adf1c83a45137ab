"""Memory needs of a model, estimated from its config alone, and whether they fit the device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcvr.errors import PcvrError
from pcvr.models.picture_tokens import image_tokens

GIB = 2**30
PROMPT_TOKENS = 128
"""Tokens of prompt and answer that the estimates assume."""


@dataclass(frozen=True)
class Estimate:
    """Estimated memory of a model in bytes, accurate to about 25 %.

    Attributes:
        parameters: number of parameters.
        tokens: tokens of the largest image with its prompt and answer.
        weights: bytes of the weights.
        answering: bytes for generation, one image at a time.
        training: bytes for fine-tuning an adapter, one image at a time, with gradient checkpointing.
    """

    parameters: int
    tokens: int
    weights: int
    answering: int
    training: int

    def __str__(self) -> str:
        size = (
            f"{self.parameters / 1e9:.1f} billion" if self.parameters >= 1e8 else f"{self.parameters / 1e6:.1f} million"
        )
        return (
            f"{size} parameters: about {_gib(self.weights)} of weights, {_gib(self.answering)} to answer, "
            f"{_gib(self.training)} to fine-tune an adapter (one image at a time, up to {self.tokens} tokens, "
            "gradient checkpointing)"
        )


def estimate(
    config: Any, dtype: torch.dtype, four_bit: bool = False, images: Any = None, most: int | None = None
) -> Estimate:
    """Estimate a model's memory without allocating its weights.

    Weights: 2 or 4 bytes a parameter, or about 0.56 in 4-bit form (nf4 with double quantisation, without embeddings).
    Generation adds the keys and values of every layer. Fine-tuning adds one hidden state a layer, one layer's
    activations (34 bytes a token and width at half precision: Korthikanti et al. 2022, arXiv 2205.05198), the logits,
    and an adapter of 1 % of the parameters with gradient and two moments at 4 bytes each.

    Args:
        config: the checkpoint's config (``AutoConfig``).
        dtype: dtype of the weights.
        four_bit: whether linear layers are loaded in 4 bits.
        images: the image processor, which knows the tiles or patches of the largest image.
        most: tokens of the largest image, if they were measured.
    """
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    count = sum(p.numel() for p in model.parameters())
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)) if four_bit else 0
    each = torch.empty((), dtype=dtype).element_size()
    weights = int((count - linear) * each + 0.56 * linear)
    text = config.get_text_config()
    layers, width = text.num_hidden_layers, text.hidden_size
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or width // heads
    kept = head * (getattr(text, "num_key_value_heads", None) or heads)  # several heads may share their keys
    tokens = (image_tokens(config, images) if most is None else most) + PROMPT_TOKENS
    cache = 2 * layers * tokens * kept * each
    inside = tokens * width * each * (layers + 17) + 8 * PROMPT_TOKENS * text.vocab_size
    adapter = int(0.01 * count * 16)
    return Estimate(count, tokens, weights, int(1.1 * weights) + cache, int(1.1 * weights) + inside + adapter)


def free_memory(device: torch.device) -> int | None:
    """Return the free memory of `device` in bytes, or None if it is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            lines = dict(line.split(":", 1) for line in stream)
        machine = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    container = container_memory()
    return machine if container is None else min(machine, container)


def container_memory(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes that a container's limit leaves free (control groups, version 2 or 1); None without a limit.

    ``/proc/meminfo`` shows a container the whole machine, on Binder as on JupyterHub. What files take of the limit
    counts as free, since the system takes it back when memory runs short.
    """
    for limit, used, cached in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            files = dict(line.split() for line in (root / cached).read_text(encoding="ascii").splitlines())
            inactive = int(files.get("total_inactive_file", files.get("inactive_file", 0)))
            return max(0, int((root / limit).read_text()) - int((root / used).read_text()) + inactive)
        except (OSError, ValueError):  # not here, or "max"
            continue
    return None


def refuse_too_large(name: str, needed: Estimate, device: torch.device, four_bit: bool) -> None:
    """Raise if a model will not fit; call it before the download.

    Raises:
        PcvrError: `device` has less free memory than generation needs.
    """
    free = free_memory(device)
    if free is None or needed.answering <= free:
        return
    ways = [] if four_bit else ["load it with four_bit=True (needs a CUDA device and bitsandbytes)"]
    ways += ["take a smaller model, such as SmolVLM-256M or an embedded one", "use a device with more memory"]
    raise PcvrError(
        f"model {name!r} needs about {_gib(needed.answering)} on {device}, where {_gib(free)} are free: "
        f"{', '.join(ways[:-1])} or {ways[-1]}."
    )


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:.0f} MiB"
