"""A model of any family with its processor."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pcvr.data.pictures import as_picture
from pcvr.errors import PcvrError, shown
from pcvr.models.card import CARD, adapter_card
from pcvr.models.conversation import asked
from pcvr.models.families import Family
from pcvr.models.guard import GUARD, Guard


@dataclass
class VisionLanguageModel:
    """A model with its processor and family.

    Attributes:
        name: the name, folder or hub id that it was opened by.
        model: the transformers (or peft) model.
        processor: prepares images and text.
        family: paths of the model's parts, and other differences between architectures.
        guard: the defence that answers at test time, from `pcvr.finetune` or beside an adapter; None for none.
            `pcvr.generate` and `pcvr.evaluate` answer through it. It does not act on ``model.generate(...)``, which is
            plain transformers.
    """

    name: str
    model: Any
    processor: Any
    family: Family
    guard: Guard | None = None

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

    @property
    def image_token_id(self) -> int:
        """The token that stands for the image in ``input_ids``; families with cross-attention have one an image."""
        found = getattr(self.base.config, "image_token_id", None)
        return int(self.processor.image_token_id if found is None else found)

    def image_at(self, ids: torch.Tensor) -> torch.Tensor:
        """Return which of the tokens `ids` are image tokens, bool of the same shape.

        Raises:
            PcvrError: the text reads images by cross-attention, so that the sequence has no image tokens.
        """
        if self.family.pack == "list":
            raise PcvrError(
                f"the text of {self.name!r} ({self.family.model_type}) reads images by cross-attention, without image "
                "tokens, which this needs: take a model of another family."
            )
        return ids == self.image_token_id

    def prompt(self, text: str) -> str:
        """Return `text` with one image in the family's chat template, ready for generation."""
        refuse_image_token(self.processor, text, "prompt")
        refuse_image_token(self.processor, getattr(text, "system", ""), "system turn")
        return asked(self, text)

    def encode(self, images: Sequence[Any], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return left-padded inputs for generation: ``input_ids [B, T]``, ``pixel_values [B, 3, H, W]`` and so on."""
        return {k: v.to(self.device) for k, v in self.prepare(images, prompts).items()}

    def prepare(self, images: Sequence[Any], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the inputs of `encode` on the CPU.

        Raises:
            PcvrError: an item is not an image, or a prompt has the image token.
        """
        texts = [self.prompt(p) for p in prompts]
        begin = self.tokenizer.bos_token
        # The tokenizer would add a second start token to a template that has one; otherwise the processor decides.
        plain = {"add_special_tokens": False} if begin and texts[0].startswith(begin) else {}
        pictures = [as_picture(image) for image in images]
        given = pictures if self.family.layout == "picture" else [[picture] for picture in pictures]
        encoded = self.processor(images=given, text=texts, return_tensors="pt", padding=True, **plain)
        if "qformer_attention_mask" in encoded:
            # The Q-Former counts positions from the first column, so left padding would shift shorter prompts.
            order = encoded["qformer_attention_mask"].argsort(dim=1, descending=True, stable=True)
            for key in ("qformer_input_ids", "qformer_attention_mask"):
                encoded[key] = encoded[key].gather(1, order)
        # Some processors make labels of the whole text; ours are on the answer only.
        return {k: v for k, v in encoded.items() if k not in (*self.family.drop, "labels")}

    def copy(self) -> VisionLanguageModel:
        """Return an independent copy with the same guard; for embedded models this costs milliseconds."""
        return replace(self, model=copy.deepcopy(self.model))

    def save_adapter(
        self, folder: str | Path, weights: dict[str, torch.Tensor] | None = None, about: Sequence[str] = ()
    ) -> Path:
        """Write the adapter (half precision) with its model card and guard to `folder`, whole or not at all.

        Plain peft opens the adapter, without the guard; `pcvr.load` opens both.

        Args:
            folder: a new folder.
            weights: the full trainable parameters by name, if the model holds only a shard of each.
            about: paragraphs for the card on how the adapter was made.

        Raises:
            PcvrError: the model has no adapter, or the folder exists or cannot be written.
        """
        from pcvr.utils.files import new_folder
        from pcvr.utils.packing import write_packed

        if not self.adapted:
            raise PcvrError("the model has no adapter to save: finetune() it first.")
        with new_folder(folder) as scratch:
            from peft import get_peft_model_state_dict
            from safetensors.torch import save_file

            # The base model is stored by name: an absolute path would be useless on another machine.
            config = next(iter(self.model.peft_config.values()))
            # "./" marks a folder, since "a/b" would be read as a hub id.
            local = self.name.count("/") == 1 and Path(self.name).is_dir() and not self.name.startswith(("/", ".", "~"))
            config.base_model_name_or_path = f"./{self.name}" if local else self.name
            # With "auto", peft would fetch the base's config from the hub to see whether the vocabulary grew.
            state = get_peft_model_state_dict(self.model, state_dict=weights, save_embedding_layers=False)

            save_file({k: v.half().contiguous().cpu() for k, v in state.items()}, scratch / "adapter_model.safetensors")
            config.save_pretrained(scratch)
            if self.guard is not None:
                write_packed(scratch, GUARD, self.guard)
            card = adapter_card(self.name, None if self.guard is None else self.guard.name, about)
            (scratch / CARD).write_text(card, encoding="utf-8")
        return Path(folder)


def refuse_image_token(processor: Any, text: str, what: str) -> None:
    """Raise if `text` has the image token, which the processor adds itself.

    Raises:
        PcvrError: naming the text and the token.
    """
    given: Any = text
    if not isinstance(given, str):
        raise PcvrError(f"the {what} is {shown(given)}: give a text.")
    tokenizer, known = getattr(processor, "tokenizer", None), getattr(processor, "image_token_id", None)
    tokens = [getattr(holder, "image_token", None) for holder in (processor, tokenizer)]  # Gemma 3 has two of them
    if known is not None and tokenizer is not None:  # Idefics 1 names it by its id only
        tokens.append(tokenizer.convert_ids_to_tokens(known))
    for token in map(str, filter(None, tokens)):
        if token in text:
            raise PcvrError(f"the {what} {shown(text)} holds the image token {token!r}: leave it out, we add it.")
