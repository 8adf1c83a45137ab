"""Adapters: a folder that plain peft opens, or one that comes with an embedded model."""

from __future__ import annotations

import warnings
from pathlib import Path

from pcvr.errors import PcvrError
from pcvr.models.quiet import first_line, quiet_loading
from pcvr.models.vlm import VisionLanguageModel

ADAPTERS = Path(__file__).parent / "adapters"


def put_adapter(vlm: VisionLanguageModel, adapter: str | Path) -> VisionLanguageModel:
    """The model with the adapter of folder `adapter` on; `vlm` itself is changed (peft wraps it in place).

    Raises:
        PcvrError: no adapter there, or one of another model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    folder = _shipped_adapter(vlm.name, str(adapter)) or Path(adapter)
    if not all((folder / file).is_file() for file in ("adapter_config.json", "adapter_model.safetensors")):
        shipped = ", ".join(shipped_adapters(vlm.name)) or "none"
        raise PcvrError(
            f"no adapter in {str(adapter)!r}: expected a folder with adapter_config.json and safetensors weights, "
            f"or one that comes with {vlm.name} ({shipped})."
        )
    try:
        with quiet_loading(), warnings.catch_warnings():
            # peft only warns where weights are missing: the model would answer as if half the adapter were not there.
            warnings.filterwarnings("error", "Found missing adapter keys", UserWarning)
            adapted = PeftModel.from_pretrained(vlm.model, folder, torch_device=str(vlm.device))
    except (RuntimeError, ValueError, OSError, UserWarning, SafetensorError) as problem:
        raise PcvrError(
            f"the adapter in {folder} does not fit model {vlm.name!r} ({first_line(problem).rstrip(' .:')}): "
            "use the model it was trained on."
        ) from problem
    return VisionLanguageModel(vlm.name, adapted.eval(), vlm.processor, vlm.family)


def shipped_adapters(model: str) -> list[str]:
    """Names of the adapters that come with the embedded model `model`."""
    return sorted(f.parent.name for f in (ADAPTERS / model).glob("*/adapter_config.json"))


def _shipped_adapter(model: str, name: str) -> Path | None:
    return ADAPTERS / model / name if name in shipped_adapters(model) else None
