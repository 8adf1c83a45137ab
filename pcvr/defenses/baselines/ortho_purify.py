"""OrthoPurify (arXiv 2610.09941): remove directions of an adapter that benign fine-tuning does not take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from pcvr.defenses.base import Defense, Fit, StagePlan
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number, check_whole

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel


class Factors(NamedTuple):
    """The trained factors of one adapted matrix: it changes by ``scale * up @ down``.

    Attributes:
        down: ``A``, ``[r, in]``.
        up: ``B``, ``[out, r]``.
    """

    down: Tensor
    up: Tensor


@register_defense
@dataclass(frozen=True)
class OrthoPurify(Defense):
    """Fine-tune on everything, then project out what benign fine-tuning does not look at.

    For each adapted matrix, fine-tuning has added ``dW_bd``. From the base weights, a few ordinary steps on clean
    samples give a pseudo-benign ``dW_pb``. With the top-k right singular vectors ``V_bd`` and ``V_pb`` (columns), the
    singular values of ``V_bd^T V_pb = P diag(cos t) Q^T`` are the cosines of the principal angles ``t``. The directions
    ``D = V_bd P[:, t > angle]`` are hijacked, and one projection removes them:

        ``W = W_bd - dW_bd D D^T``.

    From the paper: the formulas, ``k = 10``, 50 degrees, 2 to 16 steps, 8 to 64 clean samples, batches of 8 to 16.
    Ours: which value within these ranges, and the learning rate of the reference, which is that of an ordinary stage
    with its own warm-up and decay. Ours too: directions of ``dW_bd`` beyond its rank are left out, and one without a
    partner in ``V_pb`` counts as orthogonal to it.

    One assumption is ours and matters: the reference starts from the same untrained factors as the suspicious adapter.
    A LoRA update reads little else than the rows of its ``A``, and these hardly move in a few steps, so with another
    random ``A`` nearly all angles are above 50 degrees and all k directions are removed, benign ones too.

    Nothing dense is formed. With ``dW = s B A``, ``W - s B A D D^T`` is the adapter with ``A (I - D D^T)`` in place of
    ``A``, so the result is a LoRA adapter of the same shape. The singular vectors come from QR factors of ``B`` and
    ``A^T`` and the SVD of an r x r matrix.

    Needs clean data (``finetune(clean=...)``), and the steps of the reference. ``run.state`` gets ``angles``: for each
    adapted matrix the principal angles in degrees, ascending, ``[k]``.

    Attributes:
        directions: k, the right singular vectors that are compared, 1 or more.
        angle: degrees above which a direction is hijacked, 0 to 90; 90 changes nothing.
        samples: clean samples that are used at most, the first ones.
        steps: steps of the reference on clean samples.
        batch_size: samples of such a step, at most the configured number.
    """

    name: ClassVar[str] = "ortho_purify"
    needs_clean: ClassVar[bool] = True
    directions: int = field(default=10, metadata={"help": "right singular vectors compared (paper: 10)"})
    angle: float = field(default=50.0, metadata={"help": "degrees above which one is removed, 0 to 90 (paper: 50)"})
    samples: int = field(default=64, metadata={"help": "clean samples used at most (paper: 8 to 64)"})
    steps: int = field(default=16, metadata={"help": "steps of the benign reference (paper: 2 to 16)"})
    batch_size: int = field(default=16, metadata={"help": "samples of such a step (paper: 8 to 16)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("angle", self.angle, 0, 90, "degrees")
        for name in ("directions", "samples", "steps", "batch_size"):
            check_whole(name, getattr(self, name), 1)

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train on everything, then on a few clean samples from the base weights, and purify the first adapter."""
        configured = run.steps
        fit()
        if run.clean is None:
            raise PcvrError("defence 'ortho_purify' needs clean data: give finetune(clean=...) some trusted samples.")
        suspicious = {name: Factors(*(each.detach().clone() for each in own)) for name, own in adapted(run.vlm).items()}
        rows = range(min(self.samples, len(run.clean)))
        try:
            fit(StagePlan("reference", self.steps / configured, 1.0, rows, True, True, batch_size=self.batch_size))
            benign = {name: Factors(*(each.detach().clone() for each in own)) for name, own in adapted(run.vlm).items()}
        finally:  # a reader may stop the reference, which is never the model that is handed over
            put_factors(run.vlm, suspicious)
        angles, purified = {}, {}
        for name, own in suspicious.items():
            found, hijacked = hijacked_directions(own, benign[name], self.directions, self.angle)
            angles[name], purified[name] = found, Factors(without_directions(own.down, hijacked), own.up)
        put_factors(run.vlm, purified)
        run.state["angles"] = angles

    def notes(self, run: TrainingContext) -> tuple[str, ...]:
        """Say whether the repair is missing, and whether it removed nothing, or all that it looked at."""
        angles = run.state.get("angles")
        if angles is None:
            return ("Defence 'ortho_purify' was stopped before its repair: the adapter is as trained on all the data.",)
        every = torch.cat(list(angles.values()))
        removed = int((every > self.angle).sum())
        if 0 < removed < len(every):
            return ()
        return (
            f"Defence 'ortho_purify' removed {removed} of {len(every)} directions at {self.angle:g} degrees: the "
            "reference on clean samples does not tell directions apart; look at run.state['angles'].",
        )


def adapted(vlm: VisionLanguageModel) -> dict[str, Factors]:
    """Return the LoRA factors of each adapted matrix, by the dotted path of its layer.

    Raises:
        PcvrError: the model has no LoRA adapter.
    """
    found = {}
    for name, part in vlm.model.named_modules():
        down, up = getattr(part, "lora_A", None), getattr(part, "lora_B", None)
        if down is not None and up is not None and "default" in down:
            found[name] = Factors(down["default"].weight, up["default"].weight)
    if not found:
        raise PcvrError(f"the model {vlm.name!r} has no LoRA adapter, and defence 'ortho_purify' repairs one.")
    return found


@torch.no_grad()
def put_factors(vlm: VisionLanguageModel, factors: Mapping[str, Factors]) -> None:
    """Copy `factors`, from `adapted`, into the model's adapter."""
    for name, own in adapted(vlm).items():
        own.down.copy_(factors[name].down)
        own.up.copy_(factors[name].up)


@torch.no_grad()
def right_singular_vectors(own: Factors, most: int) -> Tensor:
    """Return the top right singular vectors of ``B A``, the columns of float64 ``[in, k]`` on the CPU.

    Args:
        own: ``A [r, in]`` and ``B [out, r]``; the product is never formed.
        most: the largest k; singular values that are zero in their own precision give no vector.
    """
    down, up = (each.detach().cpu().double() for each in own)
    across, left = torch.linalg.qr(down.T)  # [in, m], [m, r]: A = left^T across^T
    _, right = torch.linalg.qr(up)  # [n, r]: B is orthonormal columns times it
    _, values, rows = torch.linalg.svd(right @ left.T, full_matrices=False)
    smallest = float(values[0]) * torch.finfo(own.up.dtype).eps * max(down.shape)
    rank = int((values > smallest).sum())
    return across @ rows[: min(most, rank)].T


def hijacked_directions(own: Factors, benign: Factors, most: int, angle: float) -> tuple[Tensor, Tensor]:
    """Return the principal angles of two updates of a matrix, and the directions of the first beyond an angle.

    Args:
        own: factors of the suspicious update.
        benign: factors of the pseudo-benign one.
        most: the largest number k of right singular vectors of each.
        angle: in degrees, 0 to 90.

    Returns:
        The angles in degrees, ascending, float64 ``[k]``, and the directions ``D``: orthonormal columns, float64
        ``[in, d]`` with ``d <= k``.
    """
    mine, theirs = right_singular_vectors(own, most), right_singular_vectors(benign, most)
    if not mine.shape[1]:
        return mine.new_zeros(0), mine
    turned, cosines, _ = torch.linalg.svd(mine.T @ theirs, full_matrices=True)
    # A direction of mine without a partner among theirs is orthogonal to all of them.
    whole = torch.cat([cosines, cosines.new_zeros(mine.shape[1] - len(cosines))])
    angles = torch.rad2deg(torch.arccos(whole.clamp(0, 1)))
    return angles, mine @ turned[:, angles > angle]


@torch.no_grad()
def without_directions(down: Tensor, hijacked: Tensor) -> Tensor:
    """Return ``A (I - D D^T)`` for ``A [r, in]`` and orthonormal ``D [in, d]``, in the type and place of ``A``."""
    own = down.detach().cpu().double()
    return (own - (own @ hijacked) @ hijacked.T).to(down)
