"""One step of pretraining: the answers' loss plus the losses of the auxiliary heads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pcvr.models.encode import IGNORE
from pcvr.models.families import Family
from pcvr.models.libraries import Trainer
from pcvr.models.zoo import Embedded
from pcvr.pretraining.heads import Reader, truth_at
from pcvr.pretraining.lessons import Lessons
from pcvr.pretraining.pointing import Queries, pointing_loss, recorded_head
from pcvr.pretraining.squares import NAMES


class PretrainTrainer(Trainer):
    """Trainer with the answers' loss, and the auxiliary losses of tower tokens and image tokens."""

    def __init__(self, *, lessons: Lessons, entry: Embedded, family: Family, wrapped: nn.Module, **kwargs: Any) -> None:
        super().__init__(train_dataset=lessons, **kwargs)
        self.entry, self.recipe = entry, lessons.config
        self._tokens: torch.Tensor | None = None
        self._joined: torch.Tensor | None = None
        self._parts: dict[str, float] = {}
        self.hooks = [
            family.part(wrapped, "tower").register_forward_hook(self._keep),
            family.part(wrapped, "connector").register_forward_hook(self._keep_joined),
        ]
        self.language_model = family.part(wrapped, "language_model")
        self.queries = Queries(wrapped, entry)
        self.hooks += self.queries.hooks

    def _keep(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._tokens = output.last_hidden_state

    def _keep_joined(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._joined = output

    def _get_train_sampler(self, *_: Any, **__: Any) -> torch.utils.data.Sampler[int]:
        # Draws are random already; in sequence, the first ones are those without text.
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> torch.Tensor:
        truths = [inputs.pop(k) for k in ("under", "over", "under_cells", "over_cells")]
        if "input_ids" in inputs:
            loss = self._answer_loss(model, inputs)
        else:
            with _mixed(model.wrapped.device):
                model.wrapped.get_image_features(inputs["pixel_values"])
            loss, self._parts = torch.zeros(()), {}
        if self.queries.hooks:
            placed = self.queries.loss()
            loss = loss + self.recipe.pointing_weight * placed
            self._parts["queries placed"] = placed.item()
        # While only tower and connector learn, the embeddings of a trained language model must not change.
        words = model.names().detach() if self.recipe.language_from and "input_ids" not in inputs else model.names()
        with _mixed(model.wrapped.device):
            losses = self._head_losses(model, inputs["pixel_values"], truths, words)
        self._parts |= {k: v.item() for k, v in losses.items()}
        recipe = self.recipe
        return (
            loss
            + recipe.rebuild_weight * (losses["pixels"] + 2 * losses["pixels joined"])
            + recipe.naming_weight * (losses["names"] + losses["names joined"])
            + recipe.overlay_weight * (losses["overlays"] + losses["overlays joined"])
        )

    def _answer_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the loss of the answers plus that of the pointing head."""
        labels, weights, points = (inputs.pop(name)[:, 1:] for name in ("labels", "weights", "points"))
        at = labels != IGNORE
        head = model.wrapped.get_output_embeddings()
        decoder = getattr(self.language_model, "model", self.language_model)
        with _mixed(labels.device), _only_at(head, at), recorded_head(decoder) as glance:
            logits = model.wrapped(**inputs, use_cache=False).logits
        each = nn.functional.cross_entropy(logits.float(), labels[at], reduction="none")
        answers = (each * weights[at]).sum() / weights[at].sum()
        one_word = weights[at] == weights[at].max()
        self._parts = {"answers": answers.item(), "questions": each.detach()[one_word].mean().item()}
        pointing = pointing_loss(glance.weights[:, :-1], points, self.data_collator.picture)
        self._parts["pointing"] = pointing.item()
        return answers + self.recipe.pointing_weight * pointing

    def _head_losses(
        self, model: Any, pixels: torch.Tensor, truths: list[torch.Tensor], words: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the losses of the auxiliary heads on the tokens that the hooks have kept; `words` as in `Reader`."""
        assert self._tokens is not None and self._joined is not None  # the hooks have run
        pixels = pixels.flatten(0, -4)
        patch, cell = self.entry.patch, self.entry.cell
        seen = truth_at(pixels, patch, *truths[:2])
        passed = truth_at(pixels, cell, *truths[2:])
        tokens = self._tokens[:, -seen.pixels.shape[1] :]  # [B, P, D], without the class token
        names = ("pixels", "names", "overlays")
        return dict(zip(names, model.seen(tokens, seen), strict=True)) | {
            f"{k} joined": v for k, v in zip(names, model.passed(self._joined, passed, words), strict=True)
        }

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | {k: round(v, 4) for k, v in self._parts.items()}, start_time)


def _mixed(device: torch.device) -> torch.autocast:
    """Return a bfloat16 autocast; off on CPUs without AVX-512, which emulate bfloat16 at three times float32's cost."""
    computes = device.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()
    return torch.autocast(device.type, torch.bfloat16, enabled=computes)


@contextmanager
def _only_at(head: nn.Module, at: torch.Tensor) -> Iterator[None]:
    """Make `head` compute logits only before answer tokens inside the block: ``[B, T, D] -> [A, V]``."""
    hook = head.register_forward_pre_hook(lambda _module, args: (args[0][:, :-1][at],))
    try:
        yield
    finally:
        hook.remove()


class WithHeads(nn.Module):
    """The model with the auxiliary heads, which are not saved."""

    def __init__(self, wrapped: Any, entry: Embedded, tokenizer: Any) -> None:
        super().__init__()
        self.name_ids = tokenizer.convert_tokens_to_ids(list(NAMES))
        self.wrapped = wrapped
        width, joined = wrapped.config.vision_config.hidden_size, wrapped.config.text_config.hidden_size
        self.seen = Reader(width, entry.patch)
        self.passed = Reader(joined, entry.cell)

    def names(self) -> torch.Tensor:
        """Return the language model's embeddings of the kinds and colours, ``[NAMES, D]``."""
        table: torch.Tensor = self.wrapped.get_input_embeddings().weight
        return table[self.name_ids]

    def forward(self, **inputs: torch.Tensor) -> Any:
        return self.wrapped(**inputs)
