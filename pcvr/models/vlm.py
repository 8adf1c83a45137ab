"""A model with its processor: what everything else here works with, whatever family it is of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcvr.data.pictures import as_picture
from pcvr.errors import PcvrError, shown
from pcvr.models.conversation import asked
from pcvr.models.families import Family


@dataclass
class VisionLanguageModel:
    """A model with its processor and what is known of its family.

    Attributes:
        name: what it was opened by.
        model: the transformers (or peft) model.
        processor: prepares pictures and text.
        family: where the model's parts sit.
    """

    name: str
    model: Any
    processor: Any
    family: Family

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def adapted(self) -> bool:
        """Whether an adapter is on."""
        return hasattr(self.model, "peft_config")

    @property
    def base(self) -> Any:
        """The transformers model itself, whether or not an adapter is on."""
        return self.model.get_base_model() if self.adapted else self.model

    def prompt(self, text: str) -> str:
        """`text` with one picture in the family's chat template, ready for an answer."""
        refuse_image_token(self.processor, text, "prompt")
        return asked(self, text)

    def encode(self, images: Sequence[Any], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Model inputs for generation, left-padded: ``input_ids [B, T]``, ``pixel_values [B, 3, H, W]`` and so on."""
        return {k: v.to(self.device) for k, v in self.prepare(images, prompts).items()}

    def prepare(self, images: Sequence[Any], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """As `encode`, but left where it was made.

        Raises:
            PcvrError: a picture is none, or a prompt holds the token that stands for one.
        """
        texts = [self.prompt(p) for p in prompts]
        begin = self.tokenizer.bos_token
        # A template that writes the beginning itself would get a second one from the tokenizer.
        twice = bool(begin) and texts[0].startswith(begin)
        pictures = [as_picture(image) for image in images]
        given = pictures if self.family.layout == "picture" else [[picture] for picture in pictures]
        encoded = self.processor(
            images=given, text=texts, return_tensors="pt", padding=True, add_special_tokens=not twice
        )
        if "qformer_attention_mask" in encoded:
            # Its positions count from the first column, so padding on the left would shift the shorter prompts.
            order = encoded["qformer_attention_mask"].argsort(dim=1, descending=True, stable=True)
            for key in ("qformer_input_ids", "qformer_attention_mask"):
                encoded[key] = encoded[key].gather(1, order)
        # Some processors make labels of what they are given to read; ours stand on the answer alone.
        return {k: v for k, v in encoded.items() if k not in (*self.family.drop, "labels")}

    def copy(self) -> VisionLanguageModel:
        """An independent copy; for embedded models this costs milliseconds."""
        return VisionLanguageModel(self.name, copy.deepcopy(self.model), self.processor, self.family)

    def save_adapter(self, folder: str | Path, weights: dict[str, torch.Tensor] | None = None) -> Path:
        """Write the adapter (half precision) to `folder`, whole or not at all; plain peft loads it.

        Args:
            folder: must not be there yet.
            weights: the trainable parameters by name where the model itself holds only its share of each.

        Raises:
            PcvrError: there is no adapter, the folder exists already or cannot be written.
        """
        from pcvr.utils.files import new_folder

        if not self.adapted:
            raise PcvrError("the model has no adapter to save: finetune() it first.")
        with new_folder(folder) as scratch:
            from peft import get_peft_model_state_dict
            from safetensors.torch import save_file

            # The base is named, not located: an absolute path of this machine would mean nothing on another.
            config = next(iter(self.model.peft_config.values()))
            # A folder's name is marked as one, since "a/b" would be read as the id of a model on the hub.
            local = self.name.count("/") == 1 and Path(self.name).is_dir() and not self.name.startswith(("/", ".", "~"))
            config.base_model_name_or_path = f"./{self.name}" if local else self.name
            # Left to itself, peft asks the hub for the base's config to see whether the vocabulary grew.
            state = get_peft_model_state_dict(self.model, state_dict=weights, save_embedding_layers=False)

            save_file({k: v.half().contiguous().cpu() for k, v in state.items()}, scratch / "adapter_model.safetensors")
            config.save_pretrained(scratch)
        return Path(folder)


def refuse_image_token(processor: Any, text: str, what: str) -> None:
    """Say that `text` holds the token that stands for a picture, before the model counts one picture too many.

    Raises:
        PcvrError: it does.
    """
    given: Any = text
    if not isinstance(given, str):
        raise PcvrError(f"the {what} is {shown(given)}: give a text.")
    token = str(getattr(processor, "image_token", None) or "")
    if token and token in text:
        raise PcvrError(f"the {what} {shown(text)} holds the image token {token!r}: leave it out, we add it.")
