"""What a model is made of, read off the model itself: shapes on the way from patches to image tokens, parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pcvr.analysis.attention import query_maps
from pcvr.analysis.decoding import read_along
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.models.pictures import to_pictures
from pcvr.models.tower import tower_grid
from pcvr.models.zoo import EMBEDDED
from pcvr.tasks.caption import PROMPT as CAPTION_PROMPT

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

CONNECTORS = {
    "projector": "each patch by itself through a small perceptron",
    "queries": "learned queries look at all patches",
    "shuffle": "neighbouring patches side by side, then one linear layer",
}


@dataclass(frozen=True)
class Anatomy:
    """The way of one picture through one model, with the shapes that were seen on it.

    Attributes:
        name: of the model.
        connector: one of `CONNECTORS`.
        picture: uint8 ``[H, W, 3]``, as the tower gets it.
        patch_px: side of a tower patch, pixels.
        grid: patches down and across.
        tower: shape ``(tokens, width)`` of what the tower hands on.
        image_tokens: shape ``(tokens, width)`` of what the connector hands to the language model.
        merge: patches side by side in one image token, along each side.
        links: float32 ``[I, patches]``, from which patches each image token is read; for queries the attention that
            they paid to the patches of this very picture.
        parameters: numbers in ``"tower"``, ``"connector"`` and ``"language model"``.
        vocabulary: words the model can say.
    """

    name: str
    connector: str
    picture: Image
    patch_px: int
    grid: tuple[int, int]
    tower: tuple[int, int]
    image_tokens: tuple[int, int]
    merge: int
    links: np.ndarray
    parameters: Mapping[str, int]
    vocabulary: int

    @property
    def patches(self) -> int:
        """How many patches there are."""
        return self.grid[0] * self.grid[1]

    @property
    def class_token(self) -> bool:
        """Whether the tower hands on a token that stands for no patch but for the whole picture."""
        return self.tower[0] == self.patches + 1


def installed_models() -> tuple[str, ...]:
    """Names of the embedded models whose weights are there."""
    return tuple(name for name, each in EMBEDDED.items() if (each.folder / "config.json").is_file())


def anatomy(vlm: VisionLanguageModel, image: Image) -> Anatomy:
    """Send one picture through `vlm` and write down what it looks like on the way.

    Args:
        vlm: a model whose tower takes pictures of one size.
        image: uint8 ``[H, W, 3]``.

    Raises:
        PcvrError: pictures of any size, or a connector of an unknown kind.
    """
    grid = tower_grid(vlm)
    found = _seen(vlm, image)
    merge = getattr(vlm.base.config, "scale_factor", 1)
    queries = hasattr(vlm.base.config, "qformer_config")
    kind = "queries" if queries else "shuffle" if merge > 1 else "projector"
    tokens, width = found["connector"].shape[-2:]
    patches = grid[0] * grid[1]
    if not queries and tokens != patches // merge**2:
        raise PcvrError(
            f"{vlm.name!r} makes {tokens} image tokens of {patches} patches, and this is no connector known here."
        )
    return Anatomy(
        name=vlm.name,
        connector=kind,
        picture=found["picture"],
        patch_px=vlm.base.config.vision_config.patch_size,
        grid=grid,
        tower=(found["tower"].shape[-2], found["tower"].shape[-1]),
        image_tokens=(tokens, width),
        merge=merge,
        links=_query_links(vlm, image) if queries else block_links(grid, merge),
        parameters=_parameters(vlm, queries),
        vocabulary=len(vlm.tokenizer),
    )


def anatomy_table(models: Sequence[Anatomy]) -> str:
    """The figures of some models side by side, as lines of text."""
    lines = [
        ("connector", [each.connector for each in models]),
        ("picture", [f"{each.picture.shape[0]} × {each.picture.shape[1]} px" for each in models]),
        ("tower patch", [f"{each.patch_px} × {each.patch_px} px" for each in models]),
        ("patches", [f"{each.grid[0]} × {each.grid[1]} = {each.patches}" for each in models]),
        ("tower hands on", [f"{each.tower[0]} × {each.tower[1]}" for each in models]),
        ("image tokens", [f"{each.image_tokens[0]} × {each.image_tokens[1]}" for each in models]),
        *(
            (f"parameters: {part}", [f"{each.parameters[part]:,}" for each in models])
            for part in ("tower", "connector", "language model")
        ),
        ("parameters in all", [f"{sum(each.parameters.values()):,}" for each in models]),
        ("vocabulary", [f"{each.vocabulary:,} words" for each in models]),
    ]
    widths = [max(16, len(each.name)) + 2 for each in models]
    rows = [("", [each.name for each in models]), *lines]
    return "\n".join(
        f"{label:<28}" + "".join(f"{value:>{wide}}" for value, wide in zip(values, widths, strict=True))
        for label, values in rows
    )


def block_links(grid: tuple[int, int], merge: int) -> np.ndarray:
    """Links ``[tokens, patches]`` of a connector that lays `merge` by `merge` patches side by side, or 1 by 1."""
    down, across = (side // merge for side in grid)
    rows, columns = np.indices(grid).reshape(2, -1) // merge  # of each patch
    owner = rows * across + columns
    return (np.arange(down * across)[:, None] == owner[None]).astype(np.float32) / merge**2


def tower_layers(vlm: VisionLanguageModel, image: Image) -> np.ndarray:
    """What the tower holds of each patch: float32 ``[layers + 1, down, across, width]``, the patches as embedded first.

    Raises:
        PcvrError: the tower takes pictures of any size.
    """
    down, across = tower_grid(vlm)
    tower = vlm.family.part(vlm.model, "tower")
    pixels = vlm.encode([image], [CAPTION_PROMPT])["pixel_values"]
    shown = pixels if vlm.family.layout == "picture" else pixels[:, vlm.family.overview]
    with torch.inference_mode():
        states = tower(shown.to(next(tower.parameters()).dtype), output_hidden_states=True).hidden_states
    kept = torch.stack([state[0, -down * across :] for state in states]).float()
    return kept.reshape(len(kept), down, across, -1).cpu().numpy()


def patch_pixels(picture: Image, grid: tuple[int, int]) -> np.ndarray:
    """The levels of each patch: float32 ``[down, across, levels]``; what is over at the right and below is left out."""
    (down, across), (high, wide) = grid, picture.shape[:2]
    tall, broad = high // down, wide // across
    cut = picture[: down * tall, : across * broad].reshape(down, tall, across, broad, 3)
    return cut.transpose(0, 2, 1, 3, 4).reshape(down, across, -1).astype(np.float32)


def busiest_patch(picture: Image, grid: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the patch whose levels differ most, where most likely something is to be seen."""
    spread = patch_pixels(picture, grid).std(-1)
    row, column = np.unravel_index(int(spread.argmax()), grid)
    return int(row), int(column)


def likeness(features: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """The cosine of the angle between one patch's features and everybody's: ``[down, across]``, -1 to 1.

    The mean over all patches is taken off first, for what all of them share says nothing about any.

    Args:
        features: ``[down, across, width]``.
        at: row and column of the patch.
    """
    apart = features - features.mean((0, 1), keepdims=True)
    unit = apart / np.maximum(np.linalg.norm(apart, axis=-1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit[at])


def nearest_words(vlm: VisionLanguageModel, image: Image, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The word to whose embedding each image token lies nearest, and the cosine of the angle between them: ``[I]``.

    Args:
        vlm: the model.
        image: uint8 ``[H, W, 3]``.
        words: the words to choose from.

    Raises:
        PcvrError: a word is no single token of the model's vocabulary.
    """
    for word in words:
        if len(vlm.tokenizer.tokenize(word)) != 1:
            raise PcvrError(f"{word!r} is no single token of {vlm.name!r}: choose words of its vocabulary.")
    ids = vlm.tokenizer([" ".join(words)], add_special_tokens=False)["input_ids"][0]
    tokens = _seen(vlm, image)["connector"].flatten(0, -2)
    with torch.inference_mode():
        meant = vlm.base.get_input_embeddings()(torch.tensor(ids, device=vlm.device)).float()
        alike = normalize(tokens, dim=-1) @ normalize(meant, dim=-1).T  # [I, words]
    best = alike.max(-1)
    return [words[i] for i in best.indices.tolist()], best.values.cpu().numpy()


def _query_links(vlm: VisionLanguageModel, image: Image) -> np.ndarray:
    maps = query_maps(vlm, image).mean((0, 1))
    return maps.reshape(len(maps), -1)


def _seen(vlm: VisionLanguageModel, image: Image) -> dict[str, Any]:
    """The picture as the tower gets it, and what tower and connector give for it (of tiles, the overview's)."""
    row = read_along(vlm, image, CAPTION_PROMPT, "")
    with torch.inference_mode(), _kept(vlm) as outputs:
        vlm.model(**vlm.encode([image], [CAPTION_PROMPT]), use_cache=False)
    kept = {part: each[vlm.family.overview].float() for part, each in outputs.items()}
    return {"picture": to_pictures(vlm, [row])[0], **kept}


@contextmanager
def _kept(vlm: VisionLanguageModel) -> Iterator[dict[str, Tensor]]:
    """Collects what tower and connector give while the model runs: ``[tiles, tokens, width]`` each."""
    outputs: dict[str, Tensor] = {}

    def keeper(part: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs[part] = getattr(output, "last_hidden_state", output)

        return keep

    hooks = [vlm.family.part(vlm.model, part).register_forward_hook(keeper(part)) for part in ("tower", "connector")]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _parameters(vlm: VisionLanguageModel, queries: bool) -> dict[str, int]:
    """Numbers by part. What belongs to no tower and no language model connects the two."""
    total, tower = _count(vlm.base), _count(vlm.family.part(vlm.model, "tower"))
    connector = _count(vlm.family.part(vlm.model, "connector"))
    if queries:
        connector += _count(vlm.base.qformer) + vlm.base.query_tokens.numel()
    return {"tower": tower, "connector": connector, "language model": total - tower - connector}


def _count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())
