"""Scenes as a camera would take them: large, of many shapes, on photographed surfaces, with shade and noise.

They stand in for a folder of photographs of one's own where nothing can be downloaded. The surfaces are photographs
that come inside scikit-image, which states in the docstrings of ``skimage.data`` that they are CC0: brick and gravel
(cc0textures) and grass (linolafett). The objects, and so the captions, are those of the scenes, since the embedded
models know no others. They lie in the square in the middle, which is all that LLaVA's processor leaves of a photograph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from pcvr.data.pictures import read_picture
from pcvr.data.sample import Image, Sample
from pcvr.data.scenes.dataset import Scenes
from pcvr.data.scenes.scene import Scene
from pcvr.data.scenes.sprites import PAD, SHADOW, SIZE_PX, sprite
from pcvr.tasks import get_task

VERSION = 1
"""Version of the pictures; a change that gives other pictures raises it."""
SHAPES = ((1, 1), (4, 3), (3, 2), (16, 9), (3, 4), (2, 3))
"""Width to height of the pictures."""
SHORT = (240, 336)
"""Range of the short side, pixels, both ends included."""
SURFACES = ("brick", "gravel", "grass")
"""Photographs of scikit-image that the objects lie on."""
FAMILY = "grain"
"""The family of background that captions name: any of these surfaces is grainy."""
SHADE, NOISE = 0.25, 3.0
"""Fraction of the light that is missing in the corners, and standard deviation of the sensor's noise in levels."""
DRAWN = 160
"""Longer side in pixels at which each kind of object is drawn once; pictures get it reduced."""


@dataclass(frozen=True)
class Tabletop:
    """Scenes photographed on a table; a sample depends on ``seed``, ``split`` and its index only.

    Attributes:
        n: number of samples.
        split: ``"train"``, ``"validation"`` or ``"test"``, which share no set of coloured objects.
        seed: an integer from 0 to 2**64 - 1.
        task: a key of :data:`pcvr.tasks.TASKS`.

    Raises:
        PcvrError: as :class:`~pcvr.data.scenes.dataset.Scenes`.
    """

    n: int = 600
    split: str = "train"
    seed: int = 0
    task: str = "caption"

    def __post_init__(self) -> None:
        self._scenes()

    @property
    def name(self) -> str:
        """``"tabletop"``."""
        return "tabletop"

    def __len__(self) -> int:
        return int(self.n)

    def __getitem__(self, index: int, /) -> Sample:
        scenes = self._scenes()
        scene = scenes.scene(index)
        scene = replace(scene, background=replace(scene.background, family=FAMILY))
        place = range(self.n)[index]
        prompt, answer, references = get_task(self.task).of_scene(scene, place)
        # Pictures depend on the scene and not on the task: questions are asked about the same photographs.
        return Sample(f"tabletop-{place:05d}", photographed(scene), prompt, answer, references, scene.facts())

    def fingerprint(self) -> str:
        """Return a short hash of the version and the arguments."""
        return sha256(f"tabletop {VERSION} {self._scenes().fingerprint()}".encode()).hexdigest()[:16]

    def _scenes(self) -> Scenes:
        return Scenes(self.n, self.split, self.seed, self.task)


def photographed(scene: Scene) -> Image:
    """Return a scene as a photograph of its own size and shape: uint8 ``[H, W, 3]``; its voice is the seed."""
    rng = np.random.Generator(np.random.Philox(scene.voice))
    short = int(rng.integers(SHORT[0], SHORT[1] + 1))
    wide, tall = SHAPES[int(rng.integers(len(SHAPES)))]
    width, height = short * wide // min(wide, tall), short * tall // min(wide, tall)
    picture = PilImage.fromarray(_surface(scene, height, width, rng))
    top, left, scale = (height - short) // 2, (width - short) // 2, short / SIZE_PX
    for each in scene.objects:
        thing = _coloured(each.kind, each.rgb).resize((round(each.width * scale), round(each.height * scale)))
        if each.mirrored:
            thing = thing.transpose(PilImage.Transpose.FLIP_LEFT_RIGHT)
        x, y = left + round(each.x * scale), top + round(each.y * scale)
        dark = thing.getchannel("A").point(lambda level: round(SHADOW * level))
        picture.paste((0, 0, 0), (x + round(scale), y + round(2 * scale)), dark)
        picture.paste(thing, (x, y), thing)
    return _taken(np.asarray(picture), rng)


def _coloured(kind: str, rgb: tuple[int, int, int]) -> PilImage.Image:
    """Return a kind of object in a colour, large: RGBA."""
    shape = sprite(kind, DRAWN, False)
    inside = slice(PAD, -PAD)
    alpha, tint, base = 1 - shape.keep[inside, inside], shape.tint[inside, inside], shape.base[inside, inside]
    light = (base + tint * np.asarray(rgb, dtype=np.float32)) / np.maximum(alpha, 1e-3)
    return PilImage.fromarray(np.concatenate([light, 255 * alpha], 2).clip(0, 255).astype(np.uint8))


def _surface(scene: Scene, height: int, width: int, rng: np.random.Generator) -> Image:
    """Return a photographed surface between the two tones of the scene's background: uint8 ``[H, W, 3]``."""
    whole = _photograph(SURFACES[int(rng.integers(len(SURFACES)))])
    side = int(rng.integers(whole.width // 2, whole.width + 1))
    left, top = (int(rng.integers(whole.width - side + 1)) for _ in range(2))
    longest = max(height, width)
    piece = whole.resize((longest, longest), box=(left, top, left + side, top + side)).crop((0, 0, width, height))
    if rng.random() < 0.5:
        piece = piece.transpose(PilImage.Transpose.FLIP_LEFT_RIGHT)
    grey = np.asarray(piece)
    levels = np.arange(256, dtype=np.float32)
    blend = np.clip(0.5 + (levels - grey.mean()) / (4 * grey.std() + 1), -0.2, 1.2)[:, None]
    first, second = (np.asarray(tone, dtype=np.float32) for tone in (scene.background.first, scene.background.second))
    colours = (first + blend * (second - first)).clip(0, 255).astype(np.uint8)  # of each grey level: [256, 3]
    return colours[grey]


def _taken(picture: Image, rng: np.random.Generator) -> Image:
    """Return what the camera makes of light ``[H, W, 3]``: darker corners, and noise; uint8."""
    height, width = picture.shape[:2]
    down, across = (np.linspace(-1, 1, length, dtype=np.float32) ** 2 for length in (height, width))
    light = 1 - SHADE / 2 * (down[:, None, None] + across[None, :, None])
    noise = _noise()
    top, left = int(rng.integers(len(noise) - height)), int(rng.integers(len(noise) - width))
    taken = picture * light + noise[top : top + height, left : left + width]
    return taken.clip(0, 255).astype(np.uint8)


@cache
def _noise() -> np.ndarray:
    """Return the sensor's noise, of which each picture has a piece: float32 ``[1024, 1024, 1]``, levels."""
    rng = np.random.Generator(np.random.Philox(VERSION))
    return np.float32(NOISE) * rng.standard_normal((1024, 1024, 1), dtype=np.float32)


@cache
def _photograph(name: str) -> PilImage.Image:
    """Return a photograph of scikit-image, grey, 512 px square."""
    import skimage

    levels = read_picture(Path(skimage.__file__).parent / "data" / f"{name}.png")
    return PilImage.fromarray(levels).convert("L")
