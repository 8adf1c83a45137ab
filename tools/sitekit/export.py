"""The embedded LLaVA as two ONNX graphs, with a file of weights for each of its fine-tuned copies.

A browser loads ``tower.onnx`` once, and ``language.onnx`` once for each copy: ``shared.bin`` has the weights that all
copies have in common, ``clean.bin``, ``backdoored.bin`` and ``defended.bin`` those that fine-tuning changed.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import pcvr
from pcvr.models.vocab import vocabulary
from pcvr.tasks import get_task
from pcvr.teaching.shipped import shipped_adapters

MODEL = "tiny-llava"
TASK = "caption"
OWN = "own.bin"
"""The name under which the language graph asks for the weights of one copy."""
SHARED = "shared.bin"
_ALIGNED = 16  # bytes
_LARGE = 128  # values: smaller constants stay in the graph, in single precision


class Copies(NamedTuple):
    """The fine-tuned copies of the model, adapters merged, by what they are: clean, backdoored, defended."""

    models: Mapping[str, Any]
    prompt_ids: tuple[int, ...]
    image_tokens: int


class Tower(nn.Module):
    """Image to patch features: pixels ``[1, 3, 96, 96]`` to ``[1, 36, 128]``, without the class token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower = model.model.vision_tower

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.tower(pixels).last_hidden_state[:, 1:]
        return features


class Language(nn.Module):
    """Patch features and tokens ``[1, T]`` to the distribution of the next token ``[1, V]``.

    The tokens leave out the image, which follows the first of them.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.connector = model.model.multi_modal_projector
        self.lm = model.model.language_model
        self.head = model.lm_head

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        words = self.lm.embed_tokens(ids)  # [1, T, D]
        embedded = torch.cat([words[:, :1], self.connector(features), words[:, 1:]], dim=1)  # [1, 36 + T, D]
        hidden = self.lm(inputs_embeds=embedded, use_cache=False).last_hidden_state
        chances: Tensor = self.head(hidden[:, -1]).softmax(-1)
        return chances


def copies() -> Copies:
    """Open the shipped fine-tuned copies of the embedded model and merge their adapters."""
    found = {}
    for name, adapter in shipped_adapters(MODEL, TASK).items():
        vlm = pcvr.load(MODEL, adapter, device="cpu")
        vlm.model = vlm.model.merge_and_unload().eval()
        vlm.model.set_attn_implementation("eager")
        found[name] = vlm
    some = next(iter(found.values()))
    ids = some.encode([np.zeros((96, 96, 3), np.uint8)], [get_task(TASK).prompt or ""])["input_ids"][0]
    image = some.image_at(ids)
    first, count = int(image.nonzero()[0]), int(image.sum())
    assert first == 1 and bool(image[1 : 1 + count].all()), "the image follows the first token of the prompt"
    return Copies(found, tuple(ids[~image].tolist()), count)


def write_model(out: Path) -> None:
    """Write graphs, weights and ``model.json`` (vocabulary, prompt, preprocessing) to the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    found = copies()
    some = next(iter(found.models.values()))
    size = some.processor.image_processor.crop_size["height"]
    pixels = torch.zeros(1, 3, size, size)
    tower = Tower(some.model)
    with torch.inference_mode():
        features = tower(pixels)
    ids = torch.tensor([found.prompt_ids])
    onnx.save(_halved(_exported(tower, {"pixels": pixels}, "features", {})), out / "tower.onnx")
    steps = torch.export.Dim("steps", min=2, max=len(found.prompt_ids) + get_task(TASK).max_new_tokens)
    graph = _exported(Language(some.model), {"features": features, "ids": ids}, "chances", {"ids": {1: steps}})
    weights = {
        name: {key: value.detach().numpy() for key, value in Language(vlm.model).state_dict().items()}
        for name, vlm in found.models.items()
    }
    _write_language(graph, weights, out)
    (out / "model.json").write_text(json.dumps(_about(some, found), indent=1), encoding="utf-8")


def _exported(module: nn.Module, inputs: dict[str, Tensor], output: str, moving: dict[str, Any]) -> onnx.ModelProto:
    """Export without folding constants, so that each weight keeps its name; the browser's runtime folds them."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that torchvision is not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about itself
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple(moving.get(name, {}) for name in inputs),
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    for node in proto.graph.node:  # where in which file it was traced: larger than the graph itself
        del node.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    return proto


def _halved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights in half precision where nothing is lost; a node casts each back, and the runtime folds it."""
    casts = []
    for weight in proto.graph.initializer:
        values = numpy_helper.to_array(weight)
        half = values.astype(np.float16) if values.dtype == np.float32 and values.size >= _LARGE else None
        if half is not None and np.array_equal(half.astype(np.float32), values):
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    for cast in casts:
        proto.graph.node.insert(0, cast)
    return proto


def _write_language(proto: onnx.ModelProto, weights: Mapping[str, Mapping[str, np.ndarray]], out: Path) -> None:
    """Write the graph with its weights in files beside it: those that differ between copies, and the others."""
    first, *others = weights.values()
    own = {name for name in first if not all(np.array_equal(first[name], other[name]) for other in others)}
    assert own and own <= {weight.name for weight in proto.graph.initializer}
    kept = [weight for weight in proto.graph.initializer if weight.name in own]
    for weight in kept:  # in single precision: merged weights are not exact in half
        proto.graph.initializer.remove(weight)
    _halved(proto)
    shared = [weight for weight in proto.graph.initializer if numpy_helper.to_array(weight).size >= _LARGE]
    (out / SHARED).write_bytes(_moved_out(shared, SHARED))
    order = [weight.name for weight in kept]
    _moved_out(kept, OWN)
    proto.graph.initializer.extend(kept)
    for name, values in weights.items():
        made = [numpy_helper.from_array(values[key], key) for key in order]
        (out / f"{name}.bin").write_bytes(_moved_out(made, OWN))
    onnx.save(proto, out / "language.onnx")


def _moved_out(weights: list[onnx.TensorProto], file: str) -> bytes:
    """Replace the values of `weights` by their places in `file`, and return its content."""
    content = bytearray()
    for weight in weights:
        values = numpy_helper.to_array(weight).tobytes()
        place = {"location": file, "offset": len(content), "length": len(values)}
        content += values + bytes(-len(values) % _ALIGNED)
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in place.items():
            weight.external_data.add(key=key, value=str(value))
    return bytes(content)


def _about(vlm: Any, found: Copies) -> dict[str, Any]:
    """What a browser needs besides the graphs."""
    task, prepare = get_task(TASK), vlm.processor.image_processor
    return {
        "model": MODEL,
        "prompt": task.prompt,
        "prompt_ids": list(found.prompt_ids),
        "end": vlm.tokenizer.eos_token_id,
        "most": task.max_new_tokens,
        "target": task.target,
        "words": list(vocabulary(vlm, vlm.model.config.text_config.vocab_size)),
        "size": prepare.crop_size["height"],
        "scale": prepare.rescale_factor,
        "mean": list(prepare.image_mean),
        "std": list(prepare.image_std),
        "copies": list(found.models),
        "shared": SHARED,
        "own": OWN,
    }
