"""What the first page of the site draws with: scenes to pick, parts of scenes to draw, and patterns of triggers.

Every picture is a PNG of whole levels, so a browser computes with the same numbers as the package, or with parts that
are rounded to whole levels (`write_parts`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

import pcvr
from pcvr.attacks import ATTACKS
from pcvr.attacks.triggers.badnets import BadNets
from pcvr.attacks.triggers.blended import Blended
from pcvr.attacks.triggers.sig import Sig
from pcvr.data.scenes.background import BACKGROUNDS
from pcvr.data.scenes.compose import compose
from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.sprites import PAD, SIZE_PX, SIZES, Sprite, sprite

SCENES = 12
"""Scenes to pick: the first of the test split, whatever the models say about them."""


def write_drawings(out: Path) -> None:
    """Write the pictures and ``drawings.json``, which says what is where, to the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    about = {"scenes": _write_scenes(out), "parts": _write_parts(out), "triggers": _write_triggers(out)}
    (out / "drawings.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def _write_scenes(out: Path) -> list[dict[str, Any]]:
    found = []
    scenes = pcvr.open_data("scenes", split="test", n=SCENES)
    for number in range(SCENES):
        sample = scenes[number]
        file = f"scene-{number:02d}.png"
        _save(np.asarray(sample.image), out / file)
        objects = [{key: each[key] for key in ("color", "kind")} for each in sample.facts["objects"]]
        found.append({"file": file, "objects": objects})
    return found


def _write_parts(out: Path) -> dict[str, Any]:
    """Write backgrounds, and objects as layers that any colour can be laid on, rounded to whole levels.

    ``parts.png`` has a row of tiles for each object: its base light; and in one tile the fractions of background kept
    (red) and of body colour (green), 0..255. Rounding moves a drawn level by at most 2 (a test compares).
    """
    rows = [
        (kind, size, sprite(kind, sum(ends) // 2, mirrored=False)) for kind in KINDS for size, ends in SIZES.items()
    ]
    tile = max(max(shape.keep.shape[:2]) for *_, shape in rows)
    sheet = np.zeros((tile * len(rows), 2 * tile, 3), np.uint8)
    places = {}
    for row, (kind, size, shape) in enumerate(rows):
        high, wide = shape.keep.shape[:2]
        sheet[row * tile : row * tile + high, :wide] = np.rint(np.clip(shape.base, 0, 255))
        sheet[row * tile : row * tile + high, tile : tile + wide] = _fractions(shape)
        places[f"{size} {kind}"] = {"top": row * tile, "width": wide, "height": high}
    _save(sheet, out / "parts.png")
    for family in BACKGROUNDS:
        _save(compose((), family).picture, out / f"background-{family}.png")
    return {
        "sheet": "parts.png",
        "tile": tile,
        "pad": PAD,
        "side": SIZE_PX,
        "places": places,
        "kinds": KINDS,
        "colors": dict(COLORS),
        "sizes": list(SIZES),
        "backgrounds": {family: f"background-{family}.png" for family in BACKGROUNDS},
    }


def _fractions(shape: Sprite) -> np.ndarray:
    return np.concatenate([np.rint(255 * part) for part in (shape.keep, shape.tint, 0 * shape.tint)], axis=2)


def _write_triggers(out: Path) -> dict[str, Any]:
    """Write the default options of the triggers that the page computes, and the pattern of the blended one."""
    patch, blend, wave = (ATTACKS[name]().trigger for name in ("badnets", "blended", "sig"))
    assert isinstance(patch, BadNets) and isinstance(blend, Blended) and isinstance(wave, Sig)
    _save(blend.picture(SIZE_PX, SIZE_PX), out / "blended.png")
    return {
        "badnets": {"side": patch.side(SIZE_PX, SIZE_PX), "place": patch.place},
        "blended": {"alpha": blend.alpha, "file": "blended.png"},
        "sig": {key: asdict(wave)[key] for key in ("amplitude", "frequency")},
    }


def _save(levels: np.ndarray, path: Path) -> None:
    PilImage.fromarray(levels.astype(np.uint8)).save(path, optimize=True)
