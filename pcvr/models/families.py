"""The differences between model families, one entry each; all other code is the same for every family."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.utils.registry import Registry

if TYPE_CHECKING:
    from torch import nn

_ATTENTION = r"\.(q_proj|k_proj|v_proj|o_proj|out_proj)"

_DIMENSIONS = {"picture": 4, "sized": 4, "tiles": 5, "patches": 2}


@dataclass(frozen=True)
class Family:
    """The particulars of one architecture.

    Attributes:
        model_type: ``config.model_type`` of its checkpoints.
        about: name and connector, for listings.
        examples: hub ids of well-known checkpoints.
        tower: dotted path of the vision tower in the full model.
        connector: dotted path of the module whose outputs are the image tokens of the language model.
        language_model: dotted path of the language model.
        lora_targets: regular expression over module names that get an adapter; the tower stays frozen.
        layout: the processor's output for an image: ``"picture"`` ``[3, H, W]``, ``"sized"`` ``[3, h, w]``, of any size
            and filled up with zeros in a batch, ``"tiles"`` ``[n, 3, H, W]``, or ``"patches"`` ``[n, D]``, flattened,
            all images of a batch concatenated.
        pack: how the model takes the images of a batch: ``""`` stacked, ``"row"`` with the tiles of all images
            concatenated ``[N, 3, H, W]``, ``"list"`` with one more dimension, the images of a sample.
        overview: index of the tile that shows the whole image.
        template: the prompt's template with ``{prompt}``, for processors without a chat template.
        adds: what the processor itself adds after a prompt.
        answer_type: value of ``token_type_ids`` at the answer's tokens.
        drop: outputs of the processor that the model does not need, since they are the same for every image here.
        needs: packages without which transformers makes no processor of the family, mostly for its videos.
    """

    model_type: str
    about: str
    examples: tuple[str, ...]
    tower: str
    connector: str
    language_model: str
    lora_targets: str
    layout: str = "picture"
    pack: str = ""
    overview: int = 0
    template: str | None = None
    adds: str = ""
    answer_type: int = 0
    drop: tuple[str, ...] = field(default=())
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages of `needs` that are not installed."""
        return tuple(package for package in self.needs if find_spec(package) is None)

    @property
    def dimensions(self) -> int:
        """Dimensions of ``pixel_values`` of a batch, as processor and model have them."""
        return _DIMENSIONS[self.layout] + {"": 0, "row": -1, "list": 1}[self.pack]

    def part(self, model: Any, which: str) -> nn.Module:
        """Return the ``"tower"``, ``"connector"`` or ``"language_model"`` of `model`, with or without an adapter."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        part: nn.Module = base.get_submodule(getattr(self, which))
        return part


LLAVA = Family(
    model_type="llava",
    about="LLaVA-1.5: a two-layer perceptron turns each patch into a token",
    examples=("llava-hf/llava-1.5-7b-hf",),
    tower="model.vision_tower",
    connector="model.multi_modal_projector",
    language_model="model.language_model",
    lora_targets=rf".*language_model.*{_ATTENTION}|.*multi_modal_projector\.linear_[12]",
)
LLAVA_NEXT = replace(
    LLAVA,
    model_type="llava_next",
    about="LLaVA-NeXT: as LLaVA, on tiles of the image and an overview",
    examples=("llava-hf/llava-v1.6-mistral-7b-hf",),
    layout="tiles",
)
LLAVA_ONEVISION = replace(
    LLAVA_NEXT,
    model_type="llava_onevision",
    needs=("torchvision",),
    about="LLaVA-OneVision: as LLaVA-NeXT, with a SigLIP tower, and the tiles' tokens scaled down to a limit",
    examples=("llava-hf/llava-onevision-qwen2-0.5b-ov-hf",),
)
BLIP2 = Family(
    model_type="blip-2",
    about="BLIP-2: a Q-Former reads the patches with learned queries",
    examples=("Salesforce/blip2-opt-2.7b",),
    tower="vision_model",
    connector="language_projection",
    language_model="language_model",
    lora_targets=rf".*language_model.*{_ATTENTION}|language_projection|qformer.*attention\.(query|key|value)",
    template="Question: {prompt} Answer:",
)
INSTRUCTBLIP = replace(
    BLIP2,
    model_type="instructblip",
    about="InstructBLIP: a Q-Former that reads the prompt too",
    examples=("Salesforce/instructblip-vicuna-7b",),
    template="{prompt}",
)
IDEFICS3 = Family(
    model_type="idefics3",
    about="Idefics3 and SmolVLM: neighbouring patches side by side (pixel shuffle), then a linear layer",
    examples=("HuggingFaceTB/SmolVLM-256M-Instruct", "HuggingFaceM4/Idefics3-8B-Llama3"),
    tower="model.vision_model",
    connector="model.connector",
    language_model="model.text_model",
    lora_targets=rf".*text_model.*{_ATTENTION}|.*connector\.modality_projection\.proj",
    layout="tiles",
    overview=-1,
    drop=("pixel_attention_mask",),
)
SMOLVLM = replace(
    IDEFICS3,
    model_type="smolvlm",
    needs=("torchvision", "num2words"),
    about="SmolVLM2: as Idefics3",
    examples=("HuggingFaceTB/SmolVLM2-500M-Video-Instruct",),
)
QWEN2_VL = Family(
    model_type="qwen2_vl",
    needs=("torchvision",),
    about="Qwen2-VL: patches of images of any size, merged two by two by a perceptron",
    examples=("Qwen/Qwen2-VL-2B-Instruct",),
    tower="model.visual",
    connector="model.visual.merger",
    language_model="model.language_model",
    lora_targets=rf".*language_model.*{_ATTENTION}|.*visual\.merger\.mlp\.[02]",
    layout="patches",
)
QWEN2_5_VL = replace(
    QWEN2_VL,
    model_type="qwen2_5_vl",
    about="Qwen2.5-VL: as Qwen2-VL, with windows in the tower",
    examples=("Qwen/Qwen2.5-VL-3B-Instruct",),
)
QWEN3_VL = replace(
    QWEN2_VL,
    model_type="qwen3_vl",
    about="Qwen3-VL: as Qwen2-VL, with features of three layers of the tower added inside the language model",
    examples=("Qwen/Qwen3-VL-2B-Instruct",),
    lora_targets=rf".*language_model.*{_ATTENTION}|.*visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
)
GEMMA3 = replace(
    LLAVA,
    model_type="gemma3",
    about="Gemma 3: the tower's patches averaged in squares, then a linear map; image tokens attend to each other",
    examples=("google/gemma-3-4b-it",),
    lora_targets=rf".*language_model.*{_ATTENTION}",
    layout="tiles",
    pack="row",
)
PALIGEMMA = replace(
    LLAVA,
    model_type="paligemma",
    about="PaliGemma and PaliGemma 2: a linear layer after the tower; image and prompt attend to each other",
    examples=("google/paligemma2-3b-mix-224",),
    lora_targets=rf".*language_model.*{_ATTENTION}|.*multi_modal_projector\.linear",
    template="<image>{prompt}",
    adds="\n",
    answer_type=1,
)
INTERNVL = replace(
    LLAVA,
    model_type="internvl",
    needs=("torchvision",),
    about="InternVL (HF form): tiles of the image and an overview; pixel shuffle, then a perceptron",
    examples=("OpenGVLab/InternVL3-1B-hf",),
    layout="tiles",
    pack="row",
    overview=-1,
)
MISTRAL3 = replace(
    LLAVA,
    model_type="mistral3",
    needs=("torchvision",),
    about="Mistral 3: a Pixtral tower for images of any size, patches merged two by two, then a perceptron",
    examples=("mistralai/Mistral-Small-3.1-24B-Instruct-2503",),
    layout="sized",
)
PIXTRAL = replace(
    MISTRAL3,
    model_type="pixtral",
    about="Pixtral: LLaVA with a tower for images of any size (the config says llava, and pixtral for the tower)",
    examples=("mistral-community/pixtral-12b",),
)
MLLAMA = replace(
    LLAVA,
    model_type="mllama",
    about="Llama 3.2 Vision: the text reads the image's tiles by cross-attention in some layers",
    examples=("meta-llama/Llama-3.2-11B-Vision-Instruct",),
    tower="model.vision_model",
    lora_targets=rf".*language_model.*{_ATTENTION}|.*multi_modal_projector",
    layout="tiles",
    pack="list",
)
IDEFICS = Family(
    model_type="idefics",
    about="Idefics 1 (Flamingo): a perceiver with learned queries; the text reads them by gated cross-attention",
    examples=("HuggingFaceM4/idefics-9b-instruct",),
    tower="model.vision_model",
    connector="model.perceiver_resampler",
    language_model="model",
    lora_targets=rf"model\.(layers|gated_cross_attn_layers).*{_ATTENTION}|.*perceiver_resampler.*\.(q|k|v|output)_proj",
    pack="list",
    template="User: {prompt}\nAssistant:",
)

FAMILIES: Registry[Family] = Registry("model type")
"""``config.model_type`` to family; ``FAMILIES.register(family.model_type, family)`` adds one of your own."""
for _family in (
    LLAVA,
    LLAVA_NEXT,
    LLAVA_ONEVISION,
    BLIP2,
    INSTRUCTBLIP,
    IDEFICS3,
    SMOLVLM,
    QWEN2_VL,
    QWEN2_5_VL,
    QWEN3_VL,
    GEMMA3,
    PALIGEMMA,
    INTERNVL,
    MISTRAL3,
    PIXTRAL,
    MLLAMA,
    IDEFICS,
):
    FAMILIES.register(_family.model_type, _family)


class Described:
    """A config in place of a model."""

    def __init__(self, config: Any) -> None:
        self.config = config


def has_entry(config: Any) -> bool:
    """Return whether a model's type has an entry."""
    return getattr(config, "model_type", None) in FAMILIES


def not_supported(kind: str, why: str) -> PcvrError:
    """Return the error for a model type that has no entry and for which none is found."""
    return PcvrError(
        f"the model's type {kind!r} is not supported ({why}): use one of {', '.join(FAMILIES)}, "
        "or add yours with FAMILIES.register (pcvr/models/families.py)."
    )


def family_of(model: Any) -> Family:
    """Return the family entry of a loaded model.

    Raises:
        PcvrError: the architecture has no entry, or is a variant that cannot be taught here.
    """
    kind = str(getattr(model.config, "model_type", None))
    if kind == "llava" and getattr(model.config.vision_config, "model_type", None) == "pixtral":
        kind = "pixtral"
    family = FAMILIES.get(kind)
    if family is None:
        raise not_supported(kind, "it has no entry")
    if getattr(model.config, "use_decoder_only_language_model", True) is False:
        raise PcvrError(
            "this checkpoint has an encoder-decoder language model (Flan-T5): use one with a decoder-only model, "
            "such as the OPT or Vicuna variants."
        )
    return family
