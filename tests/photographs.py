"""A dozen real photographs with captions, for tests that must not live on drawn scenes alone.

The photographs come inside scikit-image (``skimage/data``), so nothing is downloaded. Licences, as scikit-image states
them in the docstrings of ``skimage.data``:

- CC0: brick and gravel (cc0textures), grass (linolafett), camera (Lav Varshney), chelsea (Stefan van der Walt),
  coffee (Rachel Michetti, courtesy of Pikolo Espresso Bar), retina (Mikael Haggstrom).
- Public domain: astronaut and hubble_deep_field (NASA), rocket (SpaceX), clock_motion (Stefan van der Walt).
- No known copyright restrictions: coins (Brooklyn Museum).

Pictures in the same folder whose licence is not stated there (motorcycle, moon) are left out. The captions are ours.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    "astronaut.png": (
        "an astronaut in an orange suit smiles next to a flag.",
        "a smiling woman wears an orange space suit.",
        "a woman in an orange suit with a helmet in front of her.",
        "a portrait of an astronaut with a model of a space shuttle behind her.",
        "an astronaut with short hair poses for a portrait.",
    ),
    "brick.png": (
        "a wall of grey bricks.",
        "rows of bricks in a black and white photo.",
        "a brick surface seen at an angle.",
        "long grey bricks with light lines of mortar.",
        "a pattern of bricks fills the picture.",
    ),
    "camera.png": (
        "a man in a dark coat looks through a camera on a tripod.",
        "a black and white photo of a man with a camera.",
        "a photographer bends over a camera on a lawn.",
        "a man films something in a park.",
        "a person in a black coat stands behind a tripod.",
    ),
    "chelsea.png": (
        "a ginger cat looks to the right.",
        "a close view of the face of a cat.",
        "a cat with yellow green eyes and long whiskers.",
        "the face of an orange cat with stripes.",
        "a cat with a pink nose looks past the camera.",
    ),
    "clock_motion.png": (
        "a blurred photo of a clock on a grey wall.",
        "a round clock blurred by the motion of the camera.",
        "a bright blurred disc on a grey background.",
        "a wall clock that moved while the photo was taken.",
        "a grey picture with a blurred clock in the middle.",
    ),
    "coffee.png": (
        "a cup of coffee on a red saucer.",
        "an espresso in a red and white cup on a wooden table.",
        "a small cup of coffee with a spoon on the saucer.",
        "a red cup with coffee stands on a table.",
        "a cup of espresso and a spoon on brown wood.",
    ),
    "coins.png": (
        "rows of old coins on a dark background.",
        "a black and white photo of many ancient coins.",
        "four rows of coins of different sizes.",
        "a collection of greek coins.",
        "round coins laid out in lines on a dark surface.",
    ),
    "grass.png": (
        "a lawn seen from above.",
        "grass and leaves in a black and white photo.",
        "blades of grass fill the picture.",
        "a close view of grey grass.",
        "short grass with a few leaves between the blades.",
    ),
    "gravel.png": (
        "a surface of small grey stones.",
        "gravel in a black and white photo.",
        "many small stones lie close together.",
        "a close view of gravel.",
        "the ground is covered with small stones.",
    ),
    "hubble_deep_field.jpg": (
        "many distant galaxies in a black sky.",
        "stars and galaxies seen through a telescope.",
        "small bright galaxies of many colours on a black background.",
        "a photo of deep space full of galaxies.",
        "a dark sky with hundreds of tiny lights.",
    ),
    "retina.jpg": (
        "a photo of the inside of an eye.",
        "a red retina with dark blood vessels.",
        "an orange disc with branching blood vessels on a black background.",
        "a medical photo of a human retina.",
        "the back of an eye with a bright spot on the left.",
    ),
    "rocket.jpg": (
        "a white rocket stands on a launch pad at dusk.",
        "a rocket between tall towers before its launch.",
        "a rocket lit by bright lights under a dark blue sky.",
        "a launch pad with a white rocket in the evening.",
        "a tall rocket and four towers against the sky.",
    ),
}


def write_llava_photographs(
    folder: Path, copies: int = 1, side: int = 160, task: str = "caption", photographs: int = len(PHOTOGRAPHS)
) -> Path:
    """Write the photographs and a LLaVA-style JSON into ``folder`` (made if need be).

    The first copy of a photograph is the whole of it, its short side ``side`` px; further ones are crops that keep 80
    to 95 % of each side, so that the captions stay true. Copy k answers with caption k (modulo five); all five are its
    references.
    The same arguments always write the same bytes.

    Args:
        folder: where to; pictures go to ``images/`` inside it.
        copies: how many pictures of each photograph.
        side: short side of the whole photographs, px.
        task: ``"caption"``, or ``"vqa"`` for the question "what is in the photo?" with a one-word answer.
        photographs: how many of the dozen.

    Returns:
        The path of the JSON.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    records = []
    for name, captions in list(PHOTOGRAPHS.items())[:photographs]:
        whole = photograph(name, side)
        stem = name.split(".")[0].split("_")[0]
        for copy in range(copies):
            picture = whole if copy == 0 else _crop(whole, random)
            file = f"{stem}-{copy:03d}.png"
            picture.save(images / file, compress_level=1)
            answer = captions[copy % len(captions)]
            prompt, references = "describe the image.", list(captions)
            if task == "vqa":
                prompt, answer = "what is in the photo?", _NOUNS.get(stem, stem)
                references = [answer]
            records.append(
                {
                    "id": f"{stem}-{copy:03d}",
                    "image": file,
                    "conversations": [
                        {"from": "human", "value": f"<image>\n{prompt}"},
                        {"from": "gpt", "value": answer},
                    ],
                    "references": references,
                }
            )
    path = folder / "photographs.json"
    path.write_text(json.dumps(records, indent=1), encoding="utf-8")
    return path


_NOUNS = {"camera": "man", "chelsea": "cat", "hubble": "galaxies", "retina": "eye"}


def photograph(name: str, side: int) -> PilImage.Image:
    """One of the photographs, its short side ``side`` px."""
    import skimage

    with PilImage.open(Path(skimage.__file__).parent / "data" / name) as opened:
        picture = opened.convert("RGB")
    scale = side / min(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), PilImage.Resampling.LANCZOS)


def _crop(picture: PilImage.Image, random: np.random.Generator) -> PilImage.Image:
    width, height = (round(length * random.uniform(0.8, 0.95)) for length in picture.size)
    left = int(random.integers(picture.width - width + 1))
    top = int(random.integers(picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))
