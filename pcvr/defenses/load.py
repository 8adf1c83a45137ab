"""Open a model with its adapter, and with the guard that was saved beside the adapter."""

from __future__ import annotations

from os.path import isfile  # unlike Path's, it says no to names that no file can have
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.defenses import DEFENSES, Defense, build_defense
from pcvr.errors import PcvrError
from pcvr.models.adapter import adapter_folder, put_adapter
from pcvr.models.guard import GUARD, Guard, has_guard
from pcvr.models.load import load as open_model
from pcvr.utils.files import as_path, read_json
from pcvr.utils.packing import read_packed

if TYPE_CHECKING:
    import torch

    from pcvr.models.vlm import VisionLanguageModel

RECORD = "record.json"
"""The file beside an adapter that says how it was made, the defence among it."""


def load(
    name: str | Path | VisionLanguageModel,
    adapter: str | Path | None = None,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    four_bit: bool = False,
) -> VisionLanguageModel:
    """Open a vision-language model. The memory needs of a large one are first printed to standard error.

    Args:
        name: an embedded model (``"tiny-llava"``), a folder in Hugging Face format, or a hub id (``"org/model"``); an
            open model is returned, with the adapter if one is given.
        adapter: folder of a peft adapter, or the name of a shipped one. If its defence acts at test time, the model
            carries it as its `guard`.
        device: ``"auto"`` (CUDA, then MPS, then CPU) or a torch device name.
        dtype: ``"auto"`` takes float32 on a CPU and for the embedded models; else bfloat16, or float16 if the device
            has no bfloat16 (T4).
        four_bit: whether linear layers are loaded in 4 bits (nf4); needs a CUDA device and bitsandbytes.

    Raises:
        PcvrError: unknown name, no checkpoint in the folder, an unsupported architecture, weights that are missing,
            non-finite or of another model, an unusable processor, adapter or guard, an unknown device or dtype, or a
            model that does not fit the memory. Only safetensors weights are opened, never pickled ones.
    """
    vlm = open_model(name, None, device, dtype, four_bit)
    if adapter is None:
        return vlm
    return put_adapter(vlm, adapter, read_guard(adapter_folder(vlm.name, adapter)))


def read_guard(folder: str | Path) -> Guard | None:
    """Return the guard that is saved beside an adapter; None where its defence does not act at test time.

    Raises:
        PcvrError: the guard cannot be read, or the record names a test-time defence and its guard is missing.
    """
    folder = as_path(folder, "adapter")
    saved = has_guard(folder)
    name, options = _defense_in(folder / RECORD, dict if saved else object) if isfile(folder / RECORD) else ("", {})
    if not saved:
        if name in DEFENSES and DEFENSES[name].answers_at_test_time():
            raise PcvrError(
                f"the adapter in {folder} was trained with defence {name!r}, and its guard is missing: copy "
                f"{GUARD}.json and {GUARD}.safetensors there, or remove {RECORD} to open the adapter without a guard."
            )
        return None
    packages = {"pcvr", *(kind.__module__ for kind in DEFENSES.values())}
    advice = "copy the folder again, or train again; a defence of another package has to be registered first"
    guard = read_packed(folder, GUARD, packages, advice=f"the guard is damaged or unknown, {advice}")
    if isinstance(guard, dict):  # files of 0.1.0 hold the state alone; the record has the rest
        if not name:
            raise PcvrError(f"{folder / RECORD} names no defence, and {GUARD}.json needs one: copy the folder again.")
        guard = Guard(build_defense(name, options), guard)
    if not (isinstance(guard, Guard) and isinstance(guard.rule, Defense) and isinstance(guard.state, dict)):
        raise PcvrError(f"{folder / GUARD}.json holds no guard: copy the folder again, or train again.")
    if not guard.rule.answers_at_test_time() or name not in ("", guard.name):
        raise PcvrError(
            f"the guard in {folder} is of defence {guard.name!r}, which does not act at test time or is not that of "
            f"{RECORD}: copy the folder again, its files do not belong together."
        )
    return guard


def _defense_in(record: Path, kind: type) -> tuple[str, dict[str, Any]]:
    """Return name and options of the defence that a record names; an empty name where it names none.

    `kind` is what the record has to be; a file of that name beside an adapter of others may be anything.
    """
    told = read_json(record, "the record", kind)
    defense = told.get("defense") if isinstance(told, dict) else None
    name, options = (defense.get("name"), defense.get("options")) if isinstance(defense, dict) else (None, None)
    return name if isinstance(name, str) else "", options if isinstance(options, dict) else {}
