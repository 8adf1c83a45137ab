"""Adapters: folders in peft's format, and those shipped with the embedded models."""

from __future__ import annotations

from dataclasses import replace
from os.path import isdir, isfile  # unlike Path's, they return False for invalid file names
from pathlib import Path
from typing import Any

from pcvr.errors import PcvrError, reason, shown
from pcvr.models.adapter_config import read_adapter_config
from pcvr.models.guard import Guard, has_guard
from pcvr.models.quiet import quiet_loading
from pcvr.models.vlm import VisionLanguageModel
from pcvr.models.weights import listed, not_finite
from pcvr.models.zoo import EMBEDDED
from pcvr.utils.files import as_path

ADAPTERS = Path(__file__).parent / "adapters"


def put_adapter(vlm: VisionLanguageModel, adapter: str | Path, guard: Guard | None = None) -> VisionLanguageModel:
    """Return the model with an adapter and its guard; `vlm` itself changes, since peft wraps it in place.

    Args:
        vlm: the model.
        adapter: a folder, or the name of an adapter that comes with the model.
        guard: the guard that lies beside the adapter, read by `pcvr.load`; None where there is none.

    Raises:
        PcvrError: the folder has no adapter, or a guard that is not given; or the adapter is not plain LoRA, belongs to
            another model or has non-finite weights. `vlm` is then unchanged.
    """
    from peft import LoraConfig, PeftModel

    folder = adapter_folder(vlm.name, adapter)
    if not all(isfile(folder / file) for file in ("adapter_config.json", "adapter_model.safetensors")):
        shipped = ", ".join(adapter_names(vlm.name)) or "none"
        raise PcvrError(
            f"no adapter in {shown(str(adapter))}: expected a folder with adapter_config.json and safetensors weights, "
            f"or one that comes with {vlm.name} ({shipped})."
        )
    if guard is None and has_guard(folder):
        raise PcvrError(f"the adapter in {folder} has a guard: open it with pcvr.load, which puts both on.")
    fields, base = read_adapter_config(folder)
    if fault := _of_another(base, vlm):
        raise _unfit(folder, vlm, fault)
    with quiet_loading():
        try:
            config = LoraConfig(**fields, base_model_name_or_path=base, inference_mode=True)
            adapted = PeftModel(vlm.model, config)
        except Exception as problem:  # peft raises any type if a config does not fit a model
            raise _unfit(folder, vlm, reason(problem)) from problem
        try:
            found = adapted.load_adapter(
                str(folder),
                "default",
                torch_device=str(vlm.device),
                key_mapping=getattr(vlm.model, "_checkpoint_conversion_mapping", None),
            )
        except Exception as problem:  # or if a file of weights is damaged
            adapted.unload()
            raise _unfit(folder, vlm, reason(problem)) from problem
    if fault := _faults(adapted, found):
        adapted.unload()
        raise _unfit(folder, vlm, fault)
    return replace(vlm, model=adapted.eval(), guard=guard)


def adapter_names(model: str) -> list[str]:
    """Return the names of the adapters shipped with the embedded model `model`."""
    return sorted(f.parent.name for f in (ADAPTERS / model).glob("*/adapter_config.json"))


def adapter_folder(model: str, adapter: str | Path) -> Path:
    """Return the folder of an adapter for `model`: that of a shipped one by name, else the path given."""
    name = str(adapter)
    return ADAPTERS / model / name if name in adapter_names(model) else as_path(adapter, "adapter")


def _unfit(folder: Path, vlm: VisionLanguageModel, fault: str) -> PcvrError:
    return PcvrError(
        f"the adapter in {folder} does not fit model {vlm.name!r} ({fault}): use the model it was "
        "trained on, or fetch it again."
    )


def _of_another(base: str | None, vlm: VisionLanguageModel) -> str:
    """Return why an adapter that names `base` belongs to another model, or ``""``.

    A folder may be a copy of any model, so its name proves nothing; then the names and shapes of weights decide.
    """
    known = [_model_name(name) for name in (base or "", vlm.name)]
    return f"it was trained on {shown(base)}" if all(known) and known[0] != known[1] else ""


def _model_name(name: str) -> str:
    """Return the name of an embedded model, or a hub id without its owner; ``""`` for a folder."""
    if name in EMBEDDED:
        return name
    hub = name.count("/") == 1 and not name.startswith((".", "/", "~")) and not isdir(name)
    return name.partition("/")[2].lower() if hub else ""


def _faults(adapted: Any, found: Any) -> str:
    """Return what is wrong with the loaded weights, or ``""``."""
    kinds = {"missing weights": found.missing_keys, "weights without a place": found.unexpected_keys}
    kinds["NaN or infinite"] = not_finite((name, each) for name, each in adapted.named_parameters() if "lora_" in name)
    return "; ".join(f"{what}: {listed(names)}" for what, names in kinds.items() if names)
