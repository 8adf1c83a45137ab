"""Open a model: an embedded one by name, any other by folder or hub id, with or without an adapter."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pcvr.errors import PcvrError, unknown_name
from pcvr.models.adapter import put_adapter
from pcvr.models.device import pick_device, pick_dtype
from pcvr.models.families import family_of
from pcvr.models.memory import estimate, free_memory, refuse_too_large
from pcvr.models.quiet import first_line, quiet_loading
from pcvr.models.vlm import VisionLanguageModel
from pcvr.models.zoo import EMBEDDED

LARGE = 200_000_000
"""Models with more parameters than this say what memory they take, and are adapted in place instead of being copied."""


def load(
    name: str | Path,
    adapter: str | Path | None = None,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    four_bit: bool = False,
) -> VisionLanguageModel:
    """Open a vision language model. A large one first says on standard error how much memory it takes.

    Args:
        name: an embedded model (``"tiny-llava"``), a folder in Hugging Face format, or a hub id (``"org/model"``).
        adapter: a folder with a peft adapter to put on, or the name of a shipped one.
        device: ``"auto"`` (CUDA, then MPS, then CPU) or a torch device name.
        dtype: ``"auto"`` takes float32 on a CPU and for the embedded models; else bfloat16, or float16 where the device
            has no bfloat16 (T4).
        four_bit: load linear layers in 4 bits (nf4); needs a CUDA device and bitsandbytes.

    Raises:
        PcvrError: unknown name, no checkpoint in the folder, an unsupported architecture, an unusable adapter, a
            device or dtype that there is not, a model that does not fit. Weights are safetensors; pickled ones are
            refused.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    where = _locate(str(name))
    target = pick_device(device)
    if four_bit:
        _check_four_bit(target)
    with quiet_loading():
        try:
            config = AutoConfig.from_pretrained(where, trust_remote_code=False)
            kind = pick_dtype(dtype, target, getattr(config, "dtype", None))
            if where == str(name):
                _announce(str(name), config, kind, target, four_bit)
            processor = AutoProcessor.from_pretrained(where, trust_remote_code=False)
            model = AutoModelForImageTextToText.from_pretrained(
                where,
                dtype=kind,
                trust_remote_code=False,
                use_safetensors=True,
                **(_four_bit_options(kind, target) if four_bit else {}),
            )
        except PcvrError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as problem:
            raise PcvrError(
                f"model {str(name)!r} could not be opened as a vision language checkpoint: expected an embedded name "
                f"({', '.join(sorted(EMBEDDED))}), a folder with config.json and safetensors, or a hub id; "
                f"{first_line(problem)}"
            ) from problem
    processor.tokenizer.padding_side = "left"
    placed = model if four_bit else model.to(target)
    vlm = VisionLanguageModel(str(name), placed.eval(), processor, family_of(model))
    return put_adapter(vlm, adapter) if adapter is not None else vlm


def describe(name: str, device: str = "auto", four_bit: bool = False) -> str:
    """Family and memory of a model that is not embedded, from its config alone; arguments and errors as `load`."""
    from transformers import AutoConfig

    where, target = _locate(name), pick_device(device)
    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as problem:
        raise PcvrError(
            f"there is no config of model {name!r} to read: give a folder or a hub id; {first_line(problem)}"
        ) from problem
    family = family_of(_Described(config))
    kind = pick_dtype("auto", target, getattr(config, "dtype", None))
    needed = estimate(config, kind, four_bit)
    free = free_memory(target)
    fits = "" if free is None else f"; {free / 2**30:.1f} GiB are free on {target}"
    return f"{name}: {family.about}\n{needed}, as {str(kind).removeprefix('torch.')}{fits}"


def _announce(name: str, config: Any, dtype: torch.dtype, device: torch.device, four_bit: bool) -> None:
    """Refuse what is no model of a known family or does not fit, and say what a large one will take."""
    family_of(_Described(config))
    needed = estimate(config, dtype, four_bit)
    refuse_too_large(name, needed, device, four_bit)
    if needed.parameters > LARGE:
        sys.stderr.write(f"{name}: {needed}; {device}, {'4 bits' if four_bit else str(dtype).removeprefix('torch.')}\n")


class _Described:
    """Something with a config, as `family_of` takes it, before there is a model."""

    def __init__(self, config: Any) -> None:
        self.config = config


def _check_four_bit(device: torch.device) -> None:
    if device.type != "cuda" or find_spec("bitsandbytes") is None:
        raise PcvrError(
            f"four_bit=True needs a CUDA device and the package bitsandbytes, and this is {device} "
            f"{'with' if find_spec('bitsandbytes') else 'without'} it: install it, or leave four_bit out."
        )


def _four_bit_options(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    plan = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": plan, "device_map": {"": device}}


def _locate(name: str) -> str:
    if name in EMBEDDED:
        return str(EMBEDDED[name].folder)
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise PcvrError(f"folder {name!r} is no checkpoint (no config.json): give one in Hugging Face format.")
        return name
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise unknown_name("model", name, EMBEDDED)
