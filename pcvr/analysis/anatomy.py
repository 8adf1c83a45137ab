"""Read a model's structure off the model: shapes from patches to image tokens, and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from pcvr.models.picture_tokens import merge_of, side_of
from pcvr.models.pictures import overview, to_pictures
from pcvr.models.tower import tower_grid
from pcvr.models.zoo import EMBEDDED
from pcvr.tasks.caption import PROMPT as CAPTION_PROMPT

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

CONNECTORS = {
    "projector": "each patch alone through a small perceptron",
    "queries": "learned queries look at all patches",
    "shuffle": "neighbouring patches joined, then one linear layer",
}


@dataclass(frozen=True)
class Anatomy:
    """The path of one image through a model, with the shapes along it.

    Attributes:
        name: name of the model.
        connector: one of `CONNECTORS`.
        image: uint8 ``[H, W, 3]``, as the tower gets it.
        patch_px: side of a tower patch, pixels.
        grid: patches down and across.
        tower: shape ``(tokens, width)`` of the tower's output.
        image_tokens: shape ``(tokens, width)`` of the connector's output, which the language model reads.
        merge: patches in one image token, along each side.
        links: float32 ``[I, patches]``, how much each image token reads from each patch; for queries, their attention
            to the patches of this image.
        parameters: number of parameters in ``"tower"``, ``"connector"`` and ``"language model"``.
        vocabulary: number of words in the vocabulary.
    """

    name: str
    connector: str
    image: Image
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
        """Number of patches."""
        return self.grid[0] * self.grid[1]

    @property
    def class_token(self) -> bool:
        """Whether the tower returns an extra token for the whole image."""
        return self.tower[0] == self.patches + 1


def installed_models() -> tuple[str, ...]:
    """Return the names of the embedded models whose weights are installed."""
    return tuple(name for name, each in EMBEDDED.items() if (each.folder / "config.json").is_file())


def anatomy(vlm: VisionLanguageModel, image: Image) -> Anatomy:
    """Send one image through `vlm` and record the shapes on the way.

    Args:
        vlm: a model whose tower takes images of one size only.
        image: uint8 ``[H, W, 3]``.

    Raises:
        PcvrError: the tower takes images of any size, or the connector is unsupported.
    """
    grid = tower_grid(vlm)
    found = _outputs(vlm, image)
    merge = merge_of(vlm.base.config)
    queries = hasattr(vlm.base.config, "qformer_config")
    kind = "queries" if queries else "shuffle" if merge > 1 else "projector"
    tokens, width = found["connector"].shape[-2:]
    patches = grid[0] * grid[1]
    if not queries and tokens != patches // merge**2:
        raise PcvrError(f"{vlm.name!r} has an unsupported connector: {patches} patches become {tokens} image tokens.")
    return Anatomy(
        name=vlm.name,
        connector=kind,
        image=found["image"],
        patch_px=side_of(vlm.base.config.vision_config.patch_size),
        grid=grid,
        tower=(found["tower"].shape[-2], found["tower"].shape[-1]),
        image_tokens=(tokens, width),
        merge=merge,
        links=query_maps(vlm, image).mean((0, 1)).reshape(tokens, -1) if queries else block_links(grid, merge),
        parameters=_parameters(vlm, queries),
        vocabulary=len(vlm.tokenizer),
    )


def anatomy_table(models: Sequence[Anatomy]) -> str:
    """Format the figures of several models side by side, as lines of text."""
    lines = [
        ("connector", [each.connector for each in models]),
        ("image", [f"{each.image.shape[0]} × {each.image.shape[1]} px" for each in models]),
        ("tower patch", [f"{each.patch_px} × {each.patch_px} px" for each in models]),
        ("patches", [f"{each.grid[0]} × {each.grid[1]} = {each.patches}" for each in models]),
        ("tower output", [f"{each.tower[0]} × {each.tower[1]}" for each in models]),
        ("image tokens", [f"{each.image_tokens[0]} × {each.image_tokens[1]}" for each in models]),
        *(
            (f"parameters: {part}", [f"{each.parameters[part]:,}" for each in models])
            for part in ("tower", "connector", "language model")
        ),
        ("parameters in total", [f"{sum(each.parameters.values()):,}" for each in models]),
        ("vocabulary", [f"{each.vocabulary:,} words" for each in models]),
    ]
    widths = [max(16, len(each.name)) + 2 for each in models]
    rows = [("", [each.name for each in models]), *lines]
    return "\n".join(
        f"{label:<28}" + "".join(f"{value:>{wide}}" for value, wide in zip(values, widths, strict=True))
        for label, values in rows
    )


def block_links(grid: tuple[int, int], merge: int) -> np.ndarray:
    """Return links ``[tokens, patches]`` of a connector that joins `merge` by `merge` patches, or takes them one by
    one."""
    down, across = (side // merge for side in grid)
    rows, columns = np.indices(grid).reshape(2, -1) // merge  # of each patch
    owner = rows * across + columns
    return (np.arange(down * across)[:, None] == owner[None]).astype(np.float32) / merge**2


def tower_layers(vlm: VisionLanguageModel, image: Image) -> np.ndarray:
    """Return the tower's states of each patch: float32 ``[layers + 1, down, across, width]``, the embeddings first.

    Raises:
        PcvrError: the tower takes images of any size.
    """
    down, across = tower_grid(vlm)
    tower = vlm.family.part(vlm.model, "tower")
    if vlm.family.pack == "list":
        raise PcvrError(f"the tower of {vlm.name!r} takes more than pixels: take a model of another family.")
    shown = overview(vlm, read_along(vlm, image, CAPTION_PROMPT, ""))[None].to(vlm.device)
    with torch.inference_mode():
        states = tower(shown.to(next(tower.parameters()).dtype), output_hidden_states=True).hidden_states
    kept = torch.stack([state[0, -down * across :] for state in states]).float()
    return kept.reshape(len(kept), down, across, -1).cpu().numpy()


def patch_pixels(image: Image, grid: tuple[int, int]) -> np.ndarray:
    """Return the levels of each patch: float32 ``[down, across, levels]``, without a remainder at the right or
    bottom."""
    (down, across), (high, wide) = grid, image.shape[:2]
    tall, broad = high // down, wide // across
    cut = image[: down * tall, : across * broad].reshape(down, tall, across, broad, 3)
    return cut.transpose(0, 2, 1, 3, 4).reshape(down, across, -1).astype(np.float32)


def busiest_patch(image: Image, grid: tuple[int, int]) -> tuple[int, int]:
    """Return row and column of the patch with the largest contrast, which most likely shows something."""
    contrast = patch_pixels(image, grid).std(-1)
    row, column = np.unravel_index(int(contrast.argmax()), grid)
    return int(row), int(column)


def likeness(features: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """Return the cosine between the features of one patch and of every patch: ``[down, across]``, -1 to 1.

    The mean over all patches is subtracted first, since a common part does not distinguish patches.

    Args:
        features: ``[down, across, width]``.
        at: row and column of the patch.
    """
    apart = features - features.mean((0, 1), keepdims=True)
    unit = apart / np.maximum(np.linalg.norm(apart, axis=-1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit[at])


def nearest_words(vlm: VisionLanguageModel, image: Image, words: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the word whose embedding is nearest to each image token, and their cosines ``[I]``.

    Args:
        vlm: the model.
        image: uint8 ``[H, W, 3]``.
        words: the words to choose from.

    Raises:
        PcvrError: a word is not a single token of the model's vocabulary.
    """
    for word in words:
        if len(vlm.tokenizer.tokenize(word)) != 1:
            raise PcvrError(f"{word!r} is not a single token of {vlm.name!r}: choose words of its vocabulary.")
    ids = vlm.tokenizer([" ".join(words)], add_special_tokens=False)["input_ids"][0]
    tokens = _outputs(vlm, image)["connector"].flatten(0, -2)
    with torch.inference_mode():
        meant = vlm.base.get_input_embeddings()(torch.tensor(ids, device=vlm.device)).float()
        alike = normalize(tokens, dim=-1) @ normalize(meant, dim=-1).T  # [I, words]
    best = alike.max(-1)
    return [words[i] for i in best.indices.tolist()], best.values.cpu().numpy()


def _outputs(vlm: VisionLanguageModel, image: Image) -> dict[str, Any]:
    """Return the image as the tower gets it, and what tower and connector make of it (of tiles, the overview)."""
    row = read_along(vlm, image, CAPTION_PROMPT, "")
    with torch.inference_mode(), _recorded(vlm) as outputs:
        vlm.model(**vlm.encode([image], [CAPTION_PROMPT]), use_cache=False)
    kept = {part: each[vlm.family.overview].float() for part, each in outputs.items()}
    return {"image": to_pictures(vlm, [row])[0], **kept}


@contextmanager
def _recorded(vlm: VisionLanguageModel) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of tower and connector while the model runs: ``[tiles, tokens, width]`` each."""
    outputs: dict[str, Tensor] = {}

    def recorder(part: str) -> Any:
        def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs[part] = getattr(output, "last_hidden_state", output)

        return record

    with ExitStack() as hooks:
        for part in ("tower", "connector"):
            hooks.callback(vlm.family.part(vlm.model, part).register_forward_hook(recorder(part)).remove)
        yield outputs


def _parameters(vlm: VisionLanguageModel, queries: bool) -> dict[str, int]:
    """Count the parameters by part. The connector is what belongs to neither tower nor language model."""
    total, tower = _count(vlm.base), _count(vlm.family.part(vlm.model, "tower"))
    connector = _count(vlm.family.part(vlm.model, "connector"))
    if queries:
        connector += _count(vlm.base.qformer) + vlm.base.query_tokens.numel()
    return {"tower": tower, "connector": connector, "language model": total - tower - connector}


def _count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())
