"""The embedded models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcvr.utils.registry import Registry

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True)
class Embedded:
    """A model that the package contains.

    Attributes:
        name: the name for users.
        module: the module that builds it.
        about: one line for listings.
        patch: side of a tower patch in pixels.
        cell: side of the square that one image token represents, in pixels.
        recipe: options of its pretraining that differ from the defaults of `pcvr.pretraining.config.PretrainConfig`.
    """

    name: str
    module: str
    about: str
    patch: int
    cell: int
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return CHECKPOINTS / self.name

    def _builder(self, what: str) -> Callable[..., Any]:
        from importlib import import_module

        builder: Callable[..., Any] = getattr(import_module(self.module), what)
        return builder

    def build_processor(self) -> Any:
        """Build a fresh processor (tokenizer and image preparation)."""
        return self._builder("build_processor")()

    def build_model(self, processor: Any) -> Any:
        """Build the architecture with fresh weights; seed torch first."""
        return self._builder("build_model")(processor)


EMBEDDED: Registry[Embedded] = Registry("model")
"""Name to model. Listings show these first, in this order; the first is the default."""
for _order, _model in enumerate(
    (
        Embedded(
            name="tiny-llava",
            module="pcvr.pretraining.tiny_llava",
            about="LLaVA: CLIP tower, MLP projector, Llama; 36 image tokens",
            patch=16,
            cell=16,
        ),
        Embedded(
            name="tiny-blip2",
            module="pcvr.pretraining.tiny_blip2",
            about="BLIP-2: ViT tower, Q-Former, Llama; 16 image tokens",
            patch=16,
            cell=24,
            recipe={"max_steps": 4_800, "seeing": 0.75, "language_from": "tiny-llava"},
        ),
        Embedded(
            name="tiny-idefics3",
            module="pcvr.pretraining.tiny_idefics3",
            about="Idefics3 (SmolVLM): SigLIP tower, pixel shuffle, Llama; 16 image tokens",
            patch=12,
            cell=24,
            recipe={"seeing": 0.75, "language_from": "tiny-llava"},
        ),
    ),
    start=-3,
):
    EMBEDDED.register(_model.name, _model, order=_order)


def shipped() -> list[str]:
    """Return the names of the embedded models with a shipped checkpoint; `pcvr pretrain` makes the others."""
    return [name for name, model in EMBEDDED.items() if (model.folder / "model.safetensors").is_file()]


def embedded(name: str) -> Embedded:
    """Return the embedded model `name`, or raise an error with the nearest name."""
    return EMBEDDED[name]
