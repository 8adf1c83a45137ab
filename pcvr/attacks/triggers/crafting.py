"""Make the trained triggers that ship with the package, as files."""

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
from pcvr.utils.renamed import old_arguments
from pcvr.utils.versions import versions

STEPS = {"vl-trojan": 200, "issba": 800}
"""What can be made, and the steps that made the shipped files."""
_PICTURES = 512  # training scenes to learn from, never test scenes


@old_arguments(steps="max_steps")
def craft(
    what: str,
    out: str | Path | None = None,
    *,
    model: str = "tiny-llava",
    max_steps: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Path, Mapping[str, Any]]:
    """Train a trigger on scenes and write it atomically as safetensors.

    Args:
        what: ``"vl-trojan"`` (a patch searched against a model's tower) or ``"issba"`` (a surrogate encoder).
        out: the file; by default a name in ``build/crafted``.
        model: for a patch, the model: embedded name, folder or hub id.
        max_steps: of the search or training; by default as for the shipped file.
        seed: of the search or training.
        progress: whether to show a bar.

    Returns:
        The file, and the record of its making and quality, which its metadata also hold.

    Raises:
        PcvrError: the name is unknown, another file is in the way, or the file cannot be written.
    """
    check_choice("trained trigger", what, STEPS)
    count = STEPS[what] if max_steps is None else max_steps
    check_whole("max_steps", count, 1, 10**9)
    check_seed(seed)
    name = f"vl-trojan-{Path(model).name}" if what == "vl-trojan" else "issba-surrogate"
    file = Path(out) if out is not None else Path("build/crafted") / f"{name}.safetensors"
    check_place(file, "file", _is_own)
    from pcvr.data import open_data

    scenes = open_data("scenes", n=_PICTURES)
    images = [scenes[index].image for index in range(len(scenes))]
    record: dict[str, Any] = {"what": what, "steps": count, "seed": seed}
    if what == "vl-trojan":
        record["model"] = model
        tensors, quality = _patch(model, images, count, seed, progress)
    else:
        tensors, quality = _encoder(images, count, seed, progress)
    record |= quality | {"date": datetime.now(UTC).date().isoformat()}
    rescued(file, lambda place: _write(place, tensors, record | {"versions": versions()}))
    return file, record


def _patch(
    model: str, images: list[np.ndarray], steps: int, seed: int, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from pcvr.attacks.triggers.vl_trojan import optimise_patch
    from pcvr.models.load import load

    patch, losses = optimise_patch(load(model), images, steps=steps, seed=seed, progress=progress)
    quality = {"first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4)} if losses else {}
    return {"patch": np.ascontiguousarray(patch)}, quality


def _encoder(
    images: list[np.ndarray], steps: int, seed: int, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from pcvr.attacks.triggers.stego import train_encoder

    encoder, quality = train_encoder(images, steps=steps, seed=seed, progress=progress)
    return {k: v.half().numpy() for k, v in encoder.state_dict().items()}, {k: round(v, 4) for k, v in quality.items()}


def _write(file: Path, tensors: dict[str, np.ndarray], record: Mapping[str, Any]) -> None:
    from safetensors.numpy import save

    write_bytes(file, save(tensors, metadata={"record": json.dumps(record)}))


def _is_own(file: Path) -> bool:
    """Return whether :func:`craft` made the file, so that a new one may replace it."""
    try:
        return bool(record_of(file))
    except PcvrError:
        return False


def record_of(file: str | Path) -> dict[str, Any]:
    """Read how a trained trigger was made from its file's metadata.

    Raises:
        PcvrError: the file is missing, or :func:`craft` did not make it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            found: dict[str, Any] = json.loads((opened.metadata() or {})["record"])
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as problem:
        raise PcvrError(f"{file} is not a file of 'pcvr craft' ({first_line(problem)}): make it again.") from problem
    return found
