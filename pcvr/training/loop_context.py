"""What a defence can use inside somebody else's training loop: the model, and the batches that go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from pcvr.defenses.context import TrainingContext
from pcvr.errors import PcvrError
from pcvr.models.batch_rows import image_rows, select_rows, with_images
from pcvr.models.layout import viewed
from pcvr.models.tower import with_features
from pcvr.training.own_batch import as_batch, labelled
from pcvr.utils import distributed
from pcvr.utils.packing import packed, undamaged, unpacked

if TYPE_CHECKING:
    from pcvr.models.encode import Batch, EncodedData
    from pcvr.models.forward import AnswerLogits
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView


class LoopContext(TrainingContext):
    """A `TrainingContext` without a data set: views, donors and figures come from the batches alone.

    Args:
        vlm: the model in training.
        seed: seeds the generator for views.
        reference: the base model; None for `vlm` with its adapter off.
        steps: optimiser steps of the training, if they are known; a defence that follows a plan needs them.
        kind: which defence the state is of; a state of another one is refused.

    Raises:
        PcvrError: there is neither an adapter nor a reference.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        seed: int = 0,
        reference: VisionLanguageModel | None = None,
        steps: int = 0,
        kind: str = "",
    ) -> None:
        if reference is None and not vlm.adapted:
            raise PcvrError(
                "the model has no adapter that could be turned off, and no reference is given, so nothing says what "
                "the base model answers: train a peft adapter, or give reference=, a copy from before the training."
            )
        super().__init__(vlm, cast("EncodedData", _NoData()), steps, seed)
        self.reference, self.kind = reference, kind
        self.spare: Batch | None = None  # the last batch of several samples has donors for a batch of one

    def take(self, inputs: Mapping[str, Any], index: Any = None) -> Batch:
        """Return what a collator made as a batch of samples with a label, and remember it.

        Arguments and errors as `pcvr.training.own_batch.as_batch` and `pcvr.training.own_batch.labelled`.
        """
        batch = as_batch(self.vlm, inputs, index)
        if len(batch["index"]) > 1:
            self.spare = batch  # with the samples that have no label: they can be donors
        return labelled(batch)

    def base_forward_no_grad(self, batch: Batch) -> AnswerLogits:
        """As `forward_no_grad`, by the reference model, or with the adapter off."""
        if self.reference is None:
            return super().base_forward_no_grad(batch)
        return TrainingContext(self.reference, self.data, self.steps, self.seed).forward_no_grad(batch)

    def view(self, batch: Batch, view: PatchView, rows: Tensor | None = None) -> Batch:
        """Return a second view of `batch`, or of some of its rows: same text, perturbed images or tower features.

        Patches for the swap operator come from the other images of the batch. Tower features are changed where the
        images have one size; where the batch lacks them, they are computed here without gradient.

        Raises:
            PcvrError: the swap operator has a single image, and no earlier batch had more.
        """
        rows = torch.arange(len(batch["index"])) if rows is None else rows.cpu()
        part, donors = self.part(batch, rows), self._donors(batch, view, rows)
        if view.level == "features":
            fast, lent = with_features(self.vlm, part), None if donors is None else with_features(self.vlm, donors)
            if "features" in fast and (lent is None or "features" in lent):
                others = None if lent is None else lent["features"]
                return fast | {"features": view.of_tokens(fast["features"], self.generator, others)}
        given = None if donors is None else image_rows(donors)
        return with_images(part, viewed(self.vlm, image_rows(part), given, view, self.generator))

    def _donors(self, batch: Batch, view: PatchView, rows: Tensor) -> Batch | None:
        """Return another sample of the batch for each row; None for an operator without donors.

        Random numbers are drawn for every operator, as `TrainingContext.view` does.
        """
        pool = batch
        if len(batch["index"]) == 1 and self.spare is not None:
            others = (self.spare["index"] != batch["index"]).nonzero()[:, 0]
            pool = select_rows(self.spare, others) if len(others) else batch
        count = len(pool["index"])
        aside = torch.randint(1, max(2, count), (len(rows),), generator=self.generator)
        if view.operator != "swap":
            return None
        if pool is batch and count == 1:
            raise PcvrError(
                "the swap operator takes patches of other images and got a batch of one sample: give micro-batches of "
                "at least 2 (a smaller gradient_accumulation_steps), drop the last one of an epoch, or choose another "
                "operator, such as view=PatchView('shuffle')."
            )
        # By index, so that the order within a batch does not matter. A sample is never its own donor.
        order = pool["index"].argsort()
        places = order.argsort()[rows] if pool is batch else torch.zeros_like(rows)
        return select_rows(pool, order[(places + aside) % count])

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the defence knows, its figures and the generators of views as flat tensors, for safetensors.

        Every process has to call this.
        """
        generators = distributed.gather(self.generator.get_state()[None])
        spare = None if self.spare is None else {name: value.cpu() for name, value in self.spare.items()}
        known = {"state": self.state, "log": self.log, "step": self.step, "kind": self.kind, "spare": spare}
        return packed(known | {"generators": generators})

    def load_state_dict(self, saved: dict[str, Tensor], packages: tuple[str, ...] = ("pcvr",)) -> None:
        """Continue from what `state_dict` returned.

        Args:
            saved: of a training with as many processes.
            packages: packages whose dataclasses the state may hold.

        Raises:
            PcvrError: it is damaged, of another defence, or something else.
        """
        found: dict[str, Any] = unpacked(saved, packages, self.vlm.device.type)
        with undamaged("the saved state", "give one that state_dict() returned"):
            generators = found["generators"]
            if len(generators) != self.world:
                raise PcvrError(
                    f"the saved state is of {len(generators)} processes, and this training has {self.world}: start as "
                    "many as before."
                )
            if (kind := found.get("kind", self.kind)) != self.kind:
                raise PcvrError(
                    f"the saved state is of {kind}, and this training has {self.kind}: go on with the same."
                )
            self.state, self.log, self.step = found["state"], found["log"], found["step"]
            spare = found.get("spare")  # lacking in states of earlier versions
            self.spare = spare and {name: value.to(self.vlm.device) for name, value in spare.items()}
            self.generator.set_state(generators[self.rank].clone())  # torch reads the storage from its start


class _NoData:
    """Stands in for the data set, and says that there is none."""

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        raise PcvrError(
            "this defence reads the whole data set, and in a trainer or loop of your own it sees one batch at a time: "
            "choose another gate or defence, or train with pcvr.finetune()."
        )
