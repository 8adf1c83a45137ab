"""Make the trained triggers that ship with the package, as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pcvr.attacks.triggers.pgd import GOALS
from pcvr.errors import PcvrError, first_line
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice, check_seed, check_whole
from pcvr.utils.files import write_bytes
from pcvr.utils.places import check_place, rescued
from pcvr.utils.renamed import old_arguments
from pcvr.utils.versions import versions

STEPS = {"vl-trojan": 200, "issba": 800, "pgd": 60}
"""What can be made, and the steps that made the shipped files."""
_PICTURES = 512  # training scenes to learn from, never test scenes
_HELD_OUT = 128  # training scenes after these, to measure a perturbation on


@old_arguments(steps="max_steps")
def craft(
    what: str,
    out: str | Path | None = None,
    *,
    model: str = "tiny-llava",
    max_steps: int | None = None,
    seed: int = 0,
    task: str = "caption",
    goal: str = "likelihood",
    epsilon: int = 16,
    step_size: int = 2,
    momentum: float = 0.9,
    progress: bool = False,
) -> tuple[Path, Mapping[str, Any]]:
    """Train a trigger on scenes and write it atomically as safetensors.

    Args:
        what: ``"vl-trojan"`` (a patch searched against a model's tower), ``"issba"`` (a surrogate encoder) or ``"pgd"``
            (a perturbation searched against a base model).
        out: the file; by default a name in ``build/crafted``.
        model: for a patch or a perturbation, the model: embedded name, folder or hub id.
        max_steps: of the search or training; by default as for the shipped file.
        seed: of the search or training.
        task: for a perturbation, the task whose target it is searched with.
        goal: for a perturbation, what it raises; see :func:`~pcvr.attacks.triggers.pgd_search.search_delta`.
        epsilon: for a perturbation, its largest change of a level, 1 to 127.
        step_size: for a perturbation, the levels of a step.
        momentum: for a perturbation, the fraction of earlier directions that is kept, 0 to 1.
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
    if what == "pgd":
        check_choice("goal", goal, GOALS)
        get_task(task)
    own = Path(model).name
    name = {"issba": "issba-surrogate", "pgd": f"pgd-{own}-{goal}-{task}"}.get(what, f"{what}-{own}")
    file = Path(out) if out is not None else Path("build/crafted") / f"{name}.safetensors"
    check_place(file, "file", _is_own)
    record: dict[str, Any] = {"what": what, "steps": count, "seed": seed}
    if what == "issba":
        tensors, quality = _encoder(_images(), count, seed, progress)
    elif what == "vl-trojan":
        record["model"] = model
        tensors, quality = _patch(model, _images(), count, seed, progress)
    else:
        record |= {"model": model, "task": task, "goal": goal}
        record |= {"epsilon": epsilon, "step_size": step_size, "momentum": momentum}
        tensors, quality = _delta(record, progress)
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


def _images() -> list[np.ndarray]:
    from pcvr.data import open_data

    scenes = open_data("scenes", n=_PICTURES)
    return [scenes[index].image for index in range(len(scenes))]


def _delta(asked: Mapping[str, Any], progress: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Search a perturbation, and measure it on other training scenes; noise of the same bound is the control."""
    from pcvr.attacks.triggers.pgd_search import measure_images, search_delta
    from pcvr.attacks.triggers.uint8 import add
    from pcvr.data import open_data
    from pcvr.models.load import load

    target = get_task(asked["task"]).target
    vlm, scenes = load(asked["model"]), open_data("scenes", n=_PICTURES + _HELD_OUT, task=asked["task"])
    samples = [scenes[index] for index in range(len(scenes))]
    known, held_out = samples[:_PICTURES], samples[_PICTURES:]
    epsilon = asked["epsilon"]
    delta, reached = search_delta(
        vlm,
        known,
        [target] * len(known),
        asked["goal"],
        epsilon=epsilon,
        step=asked["step_size"],
        steps=asked["steps"],
        momentum=asked["momentum"],
        seed=asked["seed"],
        progress=progress,
    )
    noise = np.random.default_rng(asked["seed"]).choice([-epsilon, epsilon], delta.shape)
    quality: dict[str, Any] = {"target": target, "held_out": len(held_out)}
    quality |= {"first_goal": round(reached[0], 6), "last_goal": round(reached[-1], 6)}
    for name, steps in (("clean", 0 * noise), ("trigger", delta), ("noise", noise)):
        shown = [replace(each, image=add(each.image[None], steps)[0]) for each in held_out]
        found = measure_images(vlm, held_out, shown, [target] * len(shown))
        quality |= {f"{figure}_{name}": round(value, 6) for figure, value in found.items()}
    return {"delta": delta}, quality


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
