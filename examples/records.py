"""What a project of your own has already: reading records, a peft model, and a collator.

The records are those of LLaMA-Factory and ms-swift, one image each:

    {"messages": [{"role": "user", "content": "<image>What is it?"}, {"role": "assistant", "content": "a cat"}],
     "images": ["cat.png"]}
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)|.*multi_modal_projector\.linear_[12]"
"""Modules of LLaVA that get an adapter: the language model's attention and the connector."""


def options(about: str | None) -> argparse.ArgumentParser:
    """Return the command-line options that the examples share."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub id of a LLaVA model")
    parser.add_argument("--data", required=True, type=Path, help="JSON of records, images beside it")
    parser.add_argument("--out", default="out", type=Path, help="folder for what the training writes")
    parser.add_argument("--steps", default=400, type=int, help="optimiser steps")
    parser.add_argument("--batch-size", default=32, type=int, help="samples an optimiser step")
    parser.add_argument("--learning-rate", default=2e-4, type=float, help="peak of the linear schedule")
    parser.add_argument("--seed", default=0, type=int, help="seed of adapter, order and views")
    return parser


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON, with the paths of their images."""
    records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [record | {"images": [str(path.parent / name) for name in record["images"]]} for record in records]


def peft_model(name: str, seed: int) -> tuple[Any, Any]:
    """Return a model with a fresh LoRA adapter, and its processor."""
    processor = AutoProcessor.from_pretrained(name)
    base = AutoModelForImageTextToText.from_pretrained(name)
    torch.manual_seed(seed)
    return get_peft_model(base, LoraConfig(r=32, lora_alpha=64, target_modules=TARGETS)), processor


def turns(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return question and answer in the form of transformers' chat templates, the image first."""
    question, answer = (turn["content"].replace("<image>", "").strip() for turn in record["messages"])
    return [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]


class Collator:
    """Makes a batch of records: ``input_ids``, ``attention_mask``, ``labels`` (-100 but for the answer), images."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        images = [Image.open(row["images"][0]).convert("RGB") for row in rows]
        template = self.processor.apply_chat_template
        prompts = [template(turns(row)[:1], add_generation_prompt=True) for row in rows]
        whole = [template(turns(row)) for row in rows]
        batch: dict[str, Tensor] = dict(self._encoded(images, whole))
        lengths = self._encoded(images, prompts)["attention_mask"].sum(1)
        answer = torch.arange(batch["input_ids"].shape[1]) >= lengths[:, None]
        batch["labels"] = batch["input_ids"].masked_fill(~answer | (batch["attention_mask"] == 0), -100)
        return batch

    def _encoded(self, images: list[Any], texts: list[str]) -> Any:
        """Return the processor's tensors, padded on the right; the template has its own special tokens."""
        return self.processor(
            images=images, text=texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
        )
