"""The embedded models by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcvr.errors import unknown_name

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True)
class Embedded:
    """A model that comes inside the package.

    Attributes:
        name: what the user says.
        module: the module that builds it.
        about: one line for listings.
        image_px: side of the picture it reads, pixels.
        patch: side of a tower patch, pixels.
        width: width of a tower token.
        joined: width of a token behind the connector.
        image_tokens: tokens a picture takes in the prompt.
    """

    name: str
    module: str
    about: str
    image_px: int
    patch: int
    width: int
    joined: int
    image_tokens: int

    @property
    def folder(self) -> Path:
        return CHECKPOINTS / self.name

    def _builder(self, what: str) -> Callable[..., Any]:
        from importlib import import_module

        builder: Callable[..., Any] = getattr(import_module(self.module), what)
        return builder

    def build_processor(self) -> Any:
        """A fresh processor (tokenizer and picture preparation)."""
        return self._builder("build_processor")()

    def build_model(self, processor: Any) -> Any:
        """The architecture with fresh weights; seed torch first."""
        return self._builder("build_model")(processor)


EMBEDDED = {
    "tiny-llava": Embedded(
        name="tiny-llava",
        module="pcvr.models.tiny_llava",
        about="LLaVA: CLIP tower, MLP projector, Llama; 1.9 M parameters, 96 px, 36 image tokens",
        image_px=96,
        patch=16,
        width=128,
        joined=128,
        image_tokens=36,
    )
}


def embedded(name: str) -> Embedded:
    """The embedded model `name`, or an error with the nearest name."""
    if name not in EMBEDDED:
        raise unknown_name("model", name, EMBEDDED)
    return EMBEDDED[name]
