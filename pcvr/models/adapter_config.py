"""Reading the config of an untrusted adapter folder field by field: plain LoRA only.

peft gets a new config with the fields read here. Other fields that its releases accept, such as modules to import,
never reach it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import is_number, is_whole
from pcvr.utils.files import read_json

HIGHEST_RANK = 4096
_RANK = f"a whole number from 1 to {HIGHEST_RANK}"
_NAMES = "a list of module names, or a regular expression that compiles"


def _is_rank(value: Any) -> bool:
    return is_whole(value) and 1 <= value <= HIGHEST_RANK


def _is_positive(value: Any) -> bool:
    return is_number(value) and 0 < value < 1e9


def _are_names(value: Any) -> bool:
    if isinstance(value, str):
        try:
            return bool(value) and re.compile(value) is not None
        except (re.error, RecursionError, OverflowError):
            return False
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) and each for each in value)


def _by_name(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(_are_names(name) and holds(of) for name, of in value.items())


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _layers(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, list) and all(map(is_whole, value)))


READ: dict[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_rank, _RANK),
    "lora_alpha": (_is_positive, "a number above 0"),
    "lora_dropout": (lambda value: is_number(value) and 0 <= value < 1, "a number from 0 to below 1"),
    "use_rslora": (lambda value: isinstance(value, bool), "true or false"),
    "target_modules": (_are_names, _NAMES),
    "exclude_modules": (_or_none(_are_names), f"null, {_NAMES}"),
    "rank_pattern": (_by_name(_is_rank), f"an object of module names, each with {_RANK}"),
    "alpha_pattern": (_by_name(_is_positive), "an object of module names, each with a number above 0"),
    "layers_to_transform": (_or_none(_layers), "null, a whole number or a list of them"),
    "layers_pattern": (_or_none(_are_names), f"null, {_NAMES}"),
}
"""Fields of plain LoRA: a check of the value, and the allowed values in words."""

IGNORED = {"base_model_name_or_path", "peft_type", "peft_version", "revision", "task_type", "inference_mode"}
"""Fields that do not change how an adapter computes, or are checked separately."""


def read_adapter_config(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Return the arguments of ``peft.LoraConfig`` from a folder's ``adapter_config.json``, and its base model.

    Raises:
        PcvrError: it is not a JSON object, not plain LoRA, or has a field of a wrong type or range.
    """
    from peft import LoraConfig

    config: dict[str, Any] = read_json(folder / "adapter_config.json", "the adapter config")
    if (kind := config.get("peft_type")) != "LORA":
        raise PcvrError(f"the adapter in {folder} has peft_type {shown(kind)}: only plain LoRA ('LORA') is opened.")
    for name in ("r", "lora_alpha", "target_modules"):
        if name not in config:
            raise PcvrError(f"the adapter config in {folder} has no {name!r}: it is not whole, fetch it again.")
    usual = {field.name: field.default for field in fields(LoraConfig)}
    for name, value in config.items():
        if name in READ:
            holds, expected = READ[name]
            if not (holds(value) or (value is None and name in ("rank_pattern", "alpha_pattern"))):
                raise PcvrError(f"the adapter in {folder} has {name} {shown(value)}: it must be {expected}.")
        elif name not in IGNORED and value and value != usual.get(name) and not _is_harmless(name, value):
            raise PcvrError(
                f"the adapter in {folder} has {shown(name)} set to {shown(value)}: only plain LoRA is opened, without "
                "it; merge the adapter into its model with its own tools, and open that."
            )
    base = config.get("base_model_name_or_path")
    if base is not None and not isinstance(base, str):
        raise PcvrError(f"the adapter in {folder} has base_model_name_or_path {shown(base)}: it must be a text.")
    return {name: config[name] for name in READ if config.get(name) is not None}, base


def _is_harmless(name: str, value: Any) -> bool:
    """Return whether a field only states the initial weights, or the base's class, which is never imported."""
    if name == "auto_mapping" and isinstance(value, dict):
        library = value.get("parent_library")
        return isinstance(library, str) and library.startswith("transformers.")
    return name == "init_lora_weights" and value in (True, "gaussian")
