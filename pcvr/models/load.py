"""Open a model: an embedded one by name, any other by folder or hub id, with or without an adapter."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcvr.errors import PcvrError, unknown_name
from pcvr.models.families import Family, family_of
from pcvr.models.zoo import EMBEDDED

ADAPTERS = Path(__file__).parent / "adapters"


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
        content = [{"type": "image"}, {"type": "text", "text": text}]
        rendered: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return rendered

    def encode(self, images: Sequence[Any], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Model inputs for generation, left-padded: ``input_ids [B, T]``, ``pixel_values [B, 3, H, W]`` and so on."""
        encoded = self.processor(
            images=list(images), text=[self.prompt(p) for p in prompts], return_tensors="pt", padding=True
        )
        return {k: v.to(self.device) for k, v in encoded.items()}

    def copy(self) -> VisionLanguageModel:
        """An independent copy; for embedded models this costs milliseconds."""
        return VisionLanguageModel(self.name, copy.deepcopy(self.model), self.processor, self.family)

    def save_adapter(self, folder: str | Path) -> Path:
        """Write the adapter (half precision) to `folder`, whole or not at all; plain peft loads it.

        Raises:
            PcvrError: there is no adapter, the folder exists already or cannot be written.
        """
        from pcvr.files import new_folder

        if not self.adapted:
            raise PcvrError("the model has no adapter to save: finetune() it first.")
        with new_folder(folder) as scratch:
            from peft import get_peft_model_state_dict
            from safetensors.torch import save_file

            # The base is named, not located: an absolute path of this machine would mean nothing on another.
            config = next(iter(self.model.peft_config.values()))
            config.base_model_name_or_path = self.name
            # Left to itself, peft asks the hub for the base's config to see whether the vocabulary grew.
            state = get_peft_model_state_dict(self.model, save_embedding_layers=False)

            save_file({k: v.half().contiguous().cpu() for k, v in state.items()}, scratch / "adapter_model.safetensors")
            config.save_pretrained(scratch)
        return Path(folder)


def load(
    name: str | Path, adapter: str | Path | None = None, device: str = "auto", dtype: str | torch.dtype = "auto"
) -> VisionLanguageModel:
    """Open a vision language model.

    Args:
        name: an embedded model (``"tiny-llava"``), a folder in Hugging Face format, or a hub id (``"org/model"``).
        adapter: a folder with a peft adapter to put on, or the name of a shipped one.
        device: ``"auto"`` (CUDA, then MPS, then CPU) or a torch device name.
        dtype: ``"auto"`` takes the checkpoint's own on accelerators and float32 on a CPU.

    Raises:
        PcvrError: unknown name, no checkpoint in the folder, an unsupported architecture, an unusable adapter, a
            device or dtype that there is not. Weights are safetensors; pickled ones are refused.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    where = _locate(str(name))
    target = _device(device)
    kind = (torch.float32 if target.type == "cpu" else "auto") if dtype == "auto" else _dtype(dtype)
    with quiet_loading():
        try:
            processor = AutoProcessor.from_pretrained(where, trust_remote_code=False)
            model = AutoModelForImageTextToText.from_pretrained(
                where, dtype=kind, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as problem:
            raise PcvrError(
                f"model {str(name)!r} could not be opened as a vision language checkpoint: expected an embedded name "
                f"({', '.join(sorted(EMBEDDED))}), a folder with config.json and safetensors, or a hub id; "
                f"{_first_line(problem)}"
            ) from problem
    processor.tokenizer.padding_side = "left"
    vlm = VisionLanguageModel(str(name), model.to(target).eval(), processor, family_of(model))
    return put_adapter(vlm, adapter) if adapter is not None else vlm


def put_adapter(vlm: VisionLanguageModel, adapter: str | Path) -> VisionLanguageModel:
    """The model with the adapter of folder `adapter` on; `vlm` itself is changed (peft wraps it in place).

    Raises:
        PcvrError: no adapter there, or one of another model.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    folder = _shipped_adapter(vlm.name, str(adapter)) or Path(adapter)
    if not all((folder / file).is_file() for file in ("adapter_config.json", "adapter_model.safetensors")):
        shipped = ", ".join(shipped_adapters(vlm.name)) or "none"
        raise PcvrError(
            f"no adapter in {str(adapter)!r}: expected a folder with adapter_config.json and safetensors weights, "
            f"or one that comes with {vlm.name} ({shipped})."
        )
    try:
        with quiet_loading(), warnings.catch_warnings():
            # peft only warns where weights are missing: the model would answer as if half the adapter were not there.
            warnings.filterwarnings("error", "Found missing adapter keys", UserWarning)
            adapted = PeftModel.from_pretrained(vlm.model, folder, torch_device=str(vlm.device))
    except (RuntimeError, ValueError, OSError, UserWarning, SafetensorError) as problem:
        raise PcvrError(
            f"the adapter in {folder} does not fit model {vlm.name!r}: use the model it was trained on; "
            f"{_first_line(problem)}"
        ) from problem
    return VisionLanguageModel(vlm.name, adapted.eval(), vlm.processor, vlm.family)


def shipped_adapters(model: str) -> list[str]:
    """Names of the adapters that come with the embedded model `model`."""
    return sorted(f.parent.name for f in (ADAPTERS / model).glob("*/adapter_config.json"))


def _shipped_adapter(model: str, name: str) -> Path | None:
    return ADAPTERS / model / name if name in shipped_adapters(model) else None


def quiet_loading() -> Any:
    """Silence transformers' bars, and a warning between it and peft, while a model is opened, adapted or saved."""
    from contextlib import contextmanager

    from transformers.utils import logging

    @contextmanager
    def quiet() -> Any:
        bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            with warnings.catch_warnings():
                # peft reads a property by the name it had before transformers renamed it; no user can mend that.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
                yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()

    return quiet()


def _locate(name: str) -> str:
    if name in EMBEDDED:
        return str(EMBEDDED[name].folder)
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise PcvrError(f"folder {name!r} is no checkpoint (no config.json): give one in Hugging Face format.")
        return name
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise unknown_name("model", name, EMBEDDED)


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise PcvrError(f"device must be auto, cpu, cuda or mps, got {name!r}.") from problem
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, True):
        raise PcvrError(f"torch finds no device {name!r} on this machine: use auto or cpu, or a torch built for it.")
    return device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype):
        raise PcvrError(f"dtype must be auto or the name of a torch dtype such as bfloat16, got {dtype!r}.")
    return kind


def refuse_image_token(processor: Any, text: str, what: str) -> None:
    """Say that `text` holds the token that stands for a picture, before the model counts one picture too many.

    Raises:
        PcvrError: it does.
    """
    token = getattr(processor, "image_token", None)
    if token and token in text:
        raise PcvrError(f"the {what} {text!r} holds the image token {token!r}: leave it out, it is added by itself.")


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
