"""Trained triggers as files: what ships inside the package, and the one function that makes it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pcvr.errors import PcvrError, first_line
from pcvr.utils.checks import check_choice, check_seed, check_whole
from pcvr.utils.files import write_bytes
from pcvr.utils.places import check_place, rescued
from pcvr.utils.versions import versions

STEPS = {"vl-trojan": 200, "issba": 800}
"""What can be made, and how many steps made what is shipped."""
_PICTURES = 512  # scenes to learn from; those of training, never of testing


def craft(
    what: str,
    out: str | Path | None = None,
    *,
    model: str = "tiny-llava",
    steps: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Path, Mapping[str, Any]]:
    """Make a trained trigger on scenes and write it as safetensors, whole or not at all.

    Args:
        what: ``"vl-trojan"`` (a patch searched against a model's tower) or ``"issba"`` (a surrogate encoder).
        out: the file; by default a name in ``build/crafted``.
        model: for a patch, the model: embedded name, folder or hub id.
        steps: of the search or training; by default those that made the shipped file.
        seed: of the search or training.
        progress: whether a bar is shown.

    Returns:
        The file, and how it was made and how good it is; the file's metadata hold the same.

    Raises:
        PcvrError: unknown name, a file in the way that is none of :func:`craft`, or one that cannot be written.
    """
    check_choice("trained trigger", what, STEPS)
    count = STEPS[what] if steps is None else steps
    check_whole("steps", count, 1, 10**9)
    check_seed(seed)
    name = f"vl-trojan-{Path(model).name}" if what == "vl-trojan" else "issba-surrogate"
    file = Path(out) if out is not None else Path("build/crafted") / f"{name}.safetensors"
    check_place(file, "file", _is_own)
    from pcvr.data import open_data

    scenes = open_data("scenes", n=_PICTURES)
    pictures = [scenes[index].image for index in range(len(scenes))]
    record: dict[str, Any] = {"what": what, "steps": count, "seed": seed}
    if what == "vl-trojan":
        record["model"] = model
        tensors, quality = _patch(model, pictures, count, seed, progress)
    else:
        tensors, quality = _encoder(pictures, count, seed, progress)
    record |= quality | {"date": datetime.now(UTC).date().isoformat()}
    rescued(file, lambda place: _write(place, tensors, record | {"versions": versions()}))
    return file, record


def _patch(
    model: str, pictures: list[np.ndarray], steps: int, seed: int, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from pcvr.attacks.triggers.vl_trojan import optimise_patch
    from pcvr.models.load import load

    patch, losses = optimise_patch(load(model), pictures, steps=steps, seed=seed, progress=progress)
    quality = {"first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4)} if losses else {}
    return {"patch": np.ascontiguousarray(patch)}, quality


def _encoder(
    pictures: list[np.ndarray], steps: int, seed: int, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from pcvr.attacks.triggers.stego import train_encoder

    encoder, quality = train_encoder(pictures, steps=steps, seed=seed, progress=progress)
    return {k: v.half().numpy() for k, v in encoder.state_dict().items()}, {k: round(v, 4) for k, v in quality.items()}


def _write(file: Path, tensors: dict[str, np.ndarray], record: Mapping[str, Any]) -> None:
    from safetensors.numpy import save

    write_bytes(file, save(tensors, metadata={"record": json.dumps(record)}))


def _is_own(file: Path) -> bool:
    """Whether a file is one of :func:`craft`, which a new one may replace."""
    try:
        return bool(record_of(file))
    except PcvrError:
        return False


def record_of(file: str | Path) -> dict[str, Any]:
    """How a trained trigger was made, from its file's metadata.

    Raises:
        PcvrError: the file is missing or none of :func:`craft`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            found: dict[str, Any] = json.loads((opened.metadata() or {})["record"])
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as problem:
        raise PcvrError(f"{file} is no file of 'pcvr craft' ({first_line(problem)}): make it again.") from problem
    return found
