"""Open a model: an embedded one by name, any other by folder or hub id, with or without an adapter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from os.path import isdir  # unlike Path's, it returns False for invalid names
from pathlib import Path
from typing import Any

import torch

from pcvr.errors import PcvrError, reason, shown, unknown_name
from pcvr.models.adapter import put_adapter
from pcvr.models.device import pick_device, pick_dtype
from pcvr.models.families import Described, Family, family_of, has_entry, not_supported
from pcvr.models.found_family import check_forward, found_family
from pcvr.models.memory import Estimate, estimate, free_memory, refuse_too_large
from pcvr.models.processor import complete, try_out
from pcvr.models.quiet import quiet_loading
from pcvr.models.vlm import VisionLanguageModel
from pcvr.models.weights import check_loaded
from pcvr.models.zoo import EMBEDDED
from pcvr.utils.torchvision import check_torchvision

LARGE = 200_000_000
"""Models with more parameters print their memory needs, and are adapted in place instead of being copied."""

DEEPEST = 1000
"""Maximum number of layers of a tower or language model; a malicious config could exhaust the memory."""


def is_large(vlm: VisionLanguageModel) -> bool:
    """Whether a model has more than `LARGE` parameters."""
    return sum(parameter.numel() for parameter in vlm.model.parameters()) > LARGE


def load(
    name: str | Path | VisionLanguageModel,
    adapter: str | Path | None = None,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    four_bit: bool = False,
) -> VisionLanguageModel:
    """Open a model; arguments and errors as `pcvr.load`, which alone can open an adapter that has a guard."""
    check_torchvision()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if isinstance(name, VisionLanguageModel):
        return name if adapter is None else put_adapter(name, adapter)
    if not isinstance(name, str | Path):
        raise PcvrError(f"model is {shown(name)}: give a name, a folder, a hub id, or an open one, as result.model is.")
    where = _locate(str(name))
    target = pick_device(device)
    if four_bit:
        _check_four_bit(target)
    with quiet_loading():
        _refuse_adapter(where, str(name))
        config, family, most = _read_config(where, str(name))
        kind = pick_dtype(dtype, target, getattr(config, "dtype", None))
        with _opening(str(name)):
            if where == str(name):
                _announce(where, config, kind, target, four_bit, most)
            processor = AutoProcessor.from_pretrained(where, trust_remote_code=False)
            complete(processor, config)
            model, info = AutoModelForImageTextToText.from_pretrained(
                where,
                dtype=kind,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # check_loaded raises for them, by name
                **(_four_bit_options(kind, target) if four_bit else {}),
            )
            placed = model if four_bit else model.to(target)
        check_loaded(str(name), placed, info)
    vlm = VisionLanguageModel(str(name), placed.eval(), processor, family)
    if where == str(name):
        try_out(vlm)
        if not has_entry(config):
            check_forward(vlm)
    return put_adapter(vlm, adapter) if adapter is not None else vlm


def load_processor(name: str | Path) -> VisionLanguageModel:
    """Open a model without its weights, for its processor and family; errors as `load`."""
    check_torchvision()
    from transformers import AutoProcessor

    where = _locate(str(name))
    with quiet_loading():
        config, family, _ = _read_config(where, str(name))
        with _opening(str(name)):
            processor = AutoProcessor.from_pretrained(where, trust_remote_code=False)
            complete(processor, config)
    return VisionLanguageModel(str(name), None, processor, family)


@dataclass(frozen=True)
class Outline:
    """What is known of a model from its config alone.

    Attributes:
        name: name, folder or hub id.
        config: the checkpoint's config.
        family: its family.
        images: its image processor; None if that cannot be built.
        device: where it would be loaded.
        dtype: of its weights there.
        needed: memory that it needs.
    """

    name: str
    config: Any
    family: Family
    images: Any
    device: torch.device
    dtype: torch.dtype
    needed: Estimate

    def __str__(self) -> str:
        free = free_memory(self.device)
        fits = "" if free is None else f"; {free / 2**30:.1f} GiB are free on {self.device}"
        return f"{self.name}: {self.family.about}\n{self.needed}, as {str(self.dtype).removeprefix('torch.')}{fits}"


def outline(name: str, device: str = "auto", four_bit: bool = False) -> Outline:
    """Return family and memory needs of a model from its config alone; arguments and errors as `load`."""
    check_torchvision()
    where, target = _locate(name), pick_device(device)
    with quiet_loading():
        config, family, most = _read_config(where, name)
        kind = pick_dtype("auto", target, getattr(config, "dtype", None))
        with _opening(name):
            images = _picture_settings(where)
            needed = estimate(config, kind, four_bit, images, most)
    return Outline(name, config, family, images, target, kind, needed)


def describe(name: str, device: str = "auto", four_bit: bool = False) -> str:
    """Return family and memory needs of a model as text; arguments and errors as `load`."""
    return str(outline(name, device, four_bit))


def check_memory(name: str, device: str = "auto", four_bit: bool = False, copies: int = 1) -> None:
    """Raise unless a model fits the memory, from its config alone and before its weights are opened.

    Args:
        name, device, four_bit: as for `load`.
        copies: processes that open it.

    Raises:
        PcvrError: it does not fit, with advice; or errors as `load`.
    """
    found = outline(name, device, four_bit)
    refuse_too_large(name, replace(found.needed, answering=copies * found.needed.answering), found.device, four_bit)


@contextmanager
def _opening(name: str) -> Iterator[None]:
    """Turn any error of the libraries about untrusted files into a PcvrError."""
    try:
        yield
    except PcvrError:
        raise
    except Exception as problem:
        if any(package in str(problem).lower() for package in ("torchvision", "num2words")):
            way = "install what its processor needs, pip install 'pcvr[vision]', with torchvision of torch's own build."
        else:
            names = ", ".join(sorted(EMBEDDED))
            way = f"give an embedded name ({names}), a folder with config.json and safetensors, or a hub id."
        raise PcvrError(
            f"model {shown(name)} could not be opened as a vision language checkpoint ({reason(problem)}): {way}"
        ) from problem


def _read_config(where: str, name: str) -> tuple[Any, Family, int | None]:
    """Return the config of a model, its family, and the most tokens of an image if they were measured."""
    from transformers import AutoConfig, AutoProcessor

    with _opening(name):
        config = AutoConfig.from_pretrained(where, trust_remote_code=False)
        if getattr(config, "vision_config", None) is None:
            raise not_supported(str(config.model_type), "its config describes no tower for images")
        parts = [config.get_text_config(), config.vision_config]
        deepest = max(int(getattr(part, key, 0)) for part in parts for key in ("num_hidden_layers", "depth"))
        if deepest > DEEPEST:
            raise PcvrError(f"the config of model {shown(name)} has {deepest} layers: at most {DEEPEST} are allowed.")
        if has_entry(config):
            return config, family_of(Described(config)), None
        processor = AutoProcessor.from_pretrained(where, trust_remote_code=False)
        complete(processor, config)
        return config, *found_family(config, processor)


def _refuse_adapter(where: str, name: str) -> None:
    """Raise if a model's folder has an adapter config: transformers would silently load the adapter's base instead."""
    from transformers.utils.peft_utils import find_adapter_config_file

    with _opening(name):
        found = find_adapter_config_file(where)
    if found is not None:
        raise PcvrError(
            f"model {shown(name)} has an adapter_config.json beside its config: move the adapter to a folder of its "
            "own and give that as adapter=."
        )


def _announce(
    name: str, config: Any, dtype: torch.dtype, device: torch.device, four_bit: bool, most: int | None
) -> None:
    """Raise if a model does not fit the memory; print the memory needs of a large one."""
    needed = estimate(config, dtype, four_bit, _picture_settings(name), most)
    refuse_too_large(name, needed, device, four_bit)
    if needed.parameters > LARGE:
        sys.stderr.write(f"{name}: {needed}; {device}, {'4 bits' if four_bit else str(dtype).removeprefix('torch.')}\n")


def _picture_settings(where: str) -> Any:
    """Return the image processor, which knows the number of tiles; None if it cannot be built."""
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(where, trust_remote_code=False)
    except Exception:  # opening the whole processor gives the reason; an estimate works without it
        return None


def _check_four_bit(device: torch.device) -> None:
    if device.type != "cuda" or find_spec("bitsandbytes") is None:
        raise PcvrError(
            f"four_bit=True needs a CUDA device and the package bitsandbytes, and the device is {device} "
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
    if isdir(name):
        folder = Path(name)
        if (folder / "config.json").is_file():
            return name
        if (folder / "adapter_config.json").is_file():
            raise PcvrError(f"folder {name!r} holds an adapter: give its model first, and the folder as adapter=.")
        raise PcvrError(f"folder {name!r} is not a checkpoint (no config.json): give one in Hugging Face format.")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise unknown_name("model", name, EMBEDDED)
