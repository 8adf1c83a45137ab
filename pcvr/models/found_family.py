"""An entry for a model whose family has none: asked of the model (its parts) and its processor (the images)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pcvr.data.sample import Sample
from pcvr.errors import PcvrError, reason
from pcvr.models.encode import collate, encode_samples
from pcvr.models.families import Described, Family, not_supported
from pcvr.models.forward import answer_logits
from pcvr.models.layout import own_pixels, tiles_of
from pcvr.models.of_tokens import OF_TOKENS
from pcvr.models.sight import Sight
from pcvr.models.vlm import VisionLanguageModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CONNECTORS = ("projector", "connector", "merger", "aligner", "embed_vision", "resampler", "projection", "adapter")
"""Parts of names of modules that turn the tower's features into image tokens."""
_ATTENTION = r"(attn|attention)[^.]*\.([^.]*\.)?[^.]*$"
"""Names of modules at most two levels inside one that is called attention."""
_SHAPES = ((40, 64), (64, 40), (900, 300))
"""Heights and widths of the images that are tried; the last one is cut into tiles by processors that cut."""
_LARGE = ((2000, 2000), (2000, 700))
"""Images of which a processor makes about as many tokens as of any."""
_LIKE = 0.05
"""Largest difference of logits alone and in a batch, as a fraction of the largest logit: rounding in 16 bits."""


class _NotFound(PcvrError):
    """A part of a model that no question finds."""


def found_family(config: Any, processor: Any) -> tuple[Family, int]:
    """Return an entry for a model type that has none, and the most tokens of an image.

    Args:
        config: config of the model; the model is made without memory for its weights.
        processor: its processor.

    Raises:
        PcvrError: a part is not found: the sentence of `not_supported`, with the reason.
    """
    kind = str(getattr(config, "model_type", None))
    try:
        family = _with_layout(_with_parts(kind, config), processor, config)
        return family, _most_tokens(family, processor, config)
    except Exception as problem:  # code of any architecture runs here
        raise not_supported(kind, str(problem) if isinstance(problem, _NotFound) else reason(problem)) from problem


def _with_parts(kind: str, config: Any) -> Family:
    """Return an entry with the parts of the model."""
    from transformers import AutoModelForImageTextToText

    if getattr(config, "is_encoder_decoder", False):
        raise _NotFound("its language model has an encoder of its own")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    names = {id(part): name for name, part in model.named_modules()}
    tower, speaker = names.get(id(model.get_encoder("image")), ""), names.get(id(model.get_decoder()), "")
    for what, name in (("image encoder", tower), ("language model", speaker)):
        if not name:
            raise _NotFound(f"the model has no {what} under one of the usual names")
    connector = _connector(model, tower, speaker)
    return Family(
        model_type=kind,
        about=f"{kind}: found by asking the model and its processor",
        examples=(),
        tower=tower,
        connector=connector or tower,
        language_model=speaker,
        lora_targets=_targets(model, tower, connector, speaker),
    )


def _connector(model: nn.Module, tower: str, speaker: str) -> str:
    """Return the name of the module that makes image tokens: beside the tower, or its last part; ``""`` if none."""
    parent = tower.rpartition(".")[0]
    for place in (parent, tower):
        found = [
            f"{place}.{name}".lstrip(".")
            for name, part in model.get_submodule(place).named_children()
            if any(word in name for word in _CONNECTORS) and next(part.parameters(), None) is not None
        ]
        found = [name for name in found if name not in (tower, speaker)]
        if found:
            return min(found, key=len)
    return ""


def _targets(model: nn.Module, tower: str, connector: str, speaker: str) -> str:
    """Return a regular expression for the language model's attention and the connector's linear layers."""
    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    joins = [name for name in linear if connector and f"{name}.".startswith(f"{connector}.")]
    spoken = [name for name in linear if name.startswith(f"{speaker}.") and not f"{name}.".startswith(f"{tower}.")]
    reads = [name for name in spoken if re.search(_ATTENTION, name) and ".mlp." not in name and name not in joins]
    ends = sorted({name.rpartition(".")[2] for name in reads})
    if not ends:
        raise _NotFound("its language model has no linear layers of attention")
    ahead = rf"(?!{re.escape(tower)}\.)" if tower.startswith(f"{speaker}.") else ""
    attention = rf"{ahead}{re.escape(speaker)}\..*(attn|attention).*\.({'|'.join(map(re.escape, ends))})"
    return "|".join([attention, *map(re.escape, joins)])


def _with_layout(family: Family, processor: Any, config: Any) -> Family:
    """Return the entry with the layout of images, from what the processor makes of some."""
    token = getattr(processor, "image_token", None)
    if not getattr(processor, "chat_template", None) and token:
        family = replace(family, template=f"{token}{{prompt}}")
    made = [_prepared(replace(family, layout="tiles"), processor, config, shape) for shape in _SHAPES]
    pixels = [each["pixel_values"] for each in made]
    layout, pack = _kind(pixels, made)
    family = replace(family, layout=layout, pack=pack)
    if family.layout == "tiles" and family.pack == "row" and all(len(each) == 1 for each in pixels):
        try:  # one tile an image: several images at a time, if the processor takes them as a flat list
            both = _prepared(replace(family, layout="picture"), processor, config, *_SHAPES[:2])["pixel_values"]
            family = replace(family, layout="picture", pack="") if len(both) == 2 else family
        except Exception:  # as Gemma 3's, it takes one list a sample only
            pass
    _check_rows(family, made)
    _check_order(family, processor, config)
    if family.layout == "tiles" and pixels[-1].shape[-4] > 1:
        areas = Sight(_opened(family, processor, config), *_SHAPES[-1]).areas
        family = replace(family, overview=-1 if areas[-1] > areas[0] else 0)
    return family


def check_forward(vlm: VisionLanguageModel) -> None:
    """Raise if a model of a found entry does not run, or says something else about an image in a batch than alone.

    Raises:
        PcvrError: the sentence of `not_supported`, with the reason.
    """
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    samples = [Sample("a", image, "?", "a"), Sample("b", image[:, :40].copy(), "what is there to see?", "yes")]
    pad, kind = vlm.tokenizer.pad_token_id, vlm.family.model_type
    try:
        rows = encode_samples(vlm, samples)
        with torch.inference_mode():
            together = answer_logits(vlm, collate(rows, pad)).logits
            alone = torch.cat([answer_logits(vlm, collate([row], pad)).logits for row in rows])
    except Exception as problem:  # code of any architecture runs here
        raise not_supported(kind, reason(problem)) from problem
    if not (together - alone).abs().max() <= _LIKE * alone.abs().max():
        raise not_supported(kind, "it answers an image in a batch differently from one alone")


def _kind(pixels: list[Tensor], made: Iterable[Mapping[str, Tensor]]) -> tuple[str, str]:
    """Return layout and packing of what a processor made of single images."""
    dims = {each.dim() for each in pixels}
    if dims == {2} and all("image_grid_thw" in each for each in made):
        return "patches", ""
    sizes = {tuple(each.shape[-2:]) for each in pixels}
    if dims == {4} and len(sizes) > 1:
        given = [each.get("image_sizes") for each in made]
        if all(g is not None and g.tolist() == [list(p.shape[-2:])] for g, p in zip(given, pixels, strict=True)):
            return "sized", ""
    if len(sizes) == 1 and dims <= {4} | {5} | {6} and len(dims) == 1:
        return "tiles", {4: "row", 5: "", 6: "list"}[dims.pop()]
    raise _NotFound(f"its processor makes pixel_values of the shapes {[tuple(each.shape) for each in pixels]}")


def _check_rows(family: Family, made: Iterable[Mapping[str, Tensor]]) -> None:
    """Raise if something else than the known values a token, or a value that no sample owns, comes with an image."""
    own = {"pixel_values", "attention_mask", *OF_TOKENS}
    for each in made:
        for name, value in each.items():
            if name not in own and (not isinstance(value, Tensor) or len(value) != 1):
                raise _NotFound(f"its processor makes {name}, which has no row for each sample")


def _check_order(family: Family, processor: Any, config: Any) -> None:
    """Raise unless an image that is black on the left and white on the right has this order in its tiles too."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    vlm = _opened(family, processor, config)
    batch = vlm.prepare([image], ["?"])
    tile = tiles_of(vlm, batch | {"pixel_values": own_pixels(family, batch["pixel_values"])})[family.overview].float()
    left, right = (part.mean() for part in (tile[..., : tile.shape[-1] // 3], tile[..., -(tile.shape[-1] // 3) :]))
    spread = tile.mean(0)[:, 1:].diff(dim=-1).abs().sum(-1).max()  # one step from black to white
    if not (left < right and spread <= 1.6 * (tile.max() - tile.min())):
        raise _NotFound("the order of its patches is not that of Qwen2-VL")


def _most_tokens(family: Family, processor: Any, config: Any) -> int:
    """Return the most tokens that a processor makes of an image."""
    token = _opened(family, processor, config).image_token_id
    made = [_prepared(family, processor, config, shape)["input_ids"] for shape in _LARGE]
    return max(int((ids == token).sum()) for ids in made)


def _prepared(family: Family, processor: Any, config: Any, *shapes: tuple[int, int]) -> dict[str, Tensor]:
    images = [np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    return _opened(family, processor, config).prepare(images, ["?"] * len(images))


def _opened(family: Family, processor: Any, config: Any) -> VisionLanguageModel:
    return VisionLanguageModel(family.model_type, Described(config), processor, family)
