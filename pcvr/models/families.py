"""What differs between model families, one entry each; everything else in the workbook is the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Family:
    """Where the parts of one architecture sit.

    Attributes:
        model_type: ``config.model_type`` of its checkpoints.
        tower: dotted path of the vision tower in the full model.
        connector: dotted path of what joins tower and language model.
        language_model: dotted path of the language model.
        lora_targets: regular expression over module names that get an adapter; the tower stays frozen.
    """

    model_type: str
    tower: str
    connector: str
    language_model: str
    lora_targets: str

    def part(self, model: Any, which: str) -> nn.Module:
        """The ``"tower"``, ``"connector"`` or ``"language_model"`` of `model`, adapted by peft or not."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        part: nn.Module = base.get_submodule(getattr(self, which))
        return part


LLAVA = Family(
    model_type="llava",
    tower="model.vision_tower",
    connector="model.multi_modal_projector",
    language_model="model.language_model",
    lora_targets=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)|.*multi_modal_projector\.linear_[12]",
)
FAMILIES = {family.model_type: family for family in (LLAVA,)}


def family_of(model: Any) -> Family:
    """The family entry of a loaded model.

    Raises:
        PcvrError: the architecture has no entry.
    """
    kind = getattr(model.config, "model_type", None)
    if kind not in FAMILIES:
        raise PcvrError(
            f"the model's type {kind!r} is not supported: use one of {', '.join(sorted(FAMILIES))}, "
            "or add an entry to pcvr/models/families.py."
        )
    return FAMILIES[kind]
