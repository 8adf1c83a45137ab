"""What PCVR costs beside one plain epoch on any number of samples, from shapes: time, memory and disk.

Counted are the steps (`pcvr.models.work`), the views that the streaming gate shows its samples (one batch in eight, and
all of the first ones), the questions that samples exchange, and the samples that it flags: each takes a forward pass of
the base model and one of a view.
The hearings of the witnesses are left out: their number grows with the logarithm of the samples.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as PilImage

from pcvr.data.pictures import open_picture, rgb_array
from pcvr.defenses.pcvr.inputs import CHANNELS, LABEL, PLACES, WORDS
from pcvr.defenses.pcvr.other_question import ASKED
from pcvr.defenses.pcvr.pools import OTHERS, SUSPECTS
from pcvr.defenses.pcvr.stream import EARLY, EXCHANGED, VIEWED
from pcvr.models.budget import Costs
from pcvr.models.load import LARGE
from pcvr.models.memory import Estimate
from pcvr.models.preparing import threads
from pcvr.models.store import KEEP_BYTES, SPILL_BYTES
from pcvr.models.work import ANSWER_TOKENS, Work, work_of
from pcvr.training.config import TrainConfig
from pcvr.utils.checks import check_number, check_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcvr.models.load import Outline

PICTURE = (640, 480)
"""Width and height of the pictures, in pixels, unless the caller says otherwise: the usual size in COCO."""
FLAGGED = 0.05
"""Fraction of the samples that PCVR flags, in the more expensive of the two figures."""
_POOLS = 5
"""Pools of samples that the gate keeps the inputs of."""


@dataclass(frozen=True)
class Run:
    """One epoch, as far as the price depends on it.

    Attributes:
        samples: number of samples.
        flagged: fraction of them that PCVR flags.
        checkpointing: whether layers are computed again in the backward pass.
        tower: whether the tower runs in every step; otherwise its features are kept, and it runs once for each sample.
        picture_ms: milliseconds to decode and prepare one picture in one thread.
        workers: threads that prepare pictures.
        flops_a_second: of the device, in training.
    """

    samples: int
    flagged: float = 0.0
    checkpointing: bool = True
    tower: bool = True
    picture_ms: float = 0.0
    workers: int = 1
    flops_a_second: float = 1e12

    def __post_init__(self) -> None:
        check_whole("data", self.samples, 1)
        check_number("flagged", self.flagged, 0, 1)


@dataclass(frozen=True)
class Price:
    """What an epoch takes.

    Attributes:
        flops: of the device.
        pictures: number of pictures that are prepared.
        compute_seconds: of the device.
        picture_seconds: of the threads that prepare pictures.
        memory: bytes of the device at the peak, with one sample at a time.
        disk: bytes of encoded samples and of the adapter, its optimiser and the gate's state in a checkpoint.
    """

    flops: float
    pictures: float
    compute_seconds: float
    picture_seconds: float
    memory: int
    disk: int

    @property
    def seconds(self) -> float:
        """Seconds of both, one after the other."""
        return self.compute_seconds + self.picture_seconds


def viewed(samples: int) -> float:
    """Return the fraction of the samples of an epoch that the streaming gate shows a view."""
    first = min(samples, EARLY)
    return (first + (samples - first) / VIEWED) / samples


def exchanged(samples: int) -> float:
    """Return the fraction of the samples of an epoch that are asked another question, where no trigger is found.

    Between one in `ASKED` samples of a batch and three are; half of the additional ones are counted.
    """
    first = min(samples, EARLY)
    return (first + (samples - first) * 2 / (EXCHANGED * ASKED)) / samples


def prices(work: Work, run: Run, needed: Estimate, costs: Costs) -> tuple[Price, Price]:
    """Return the price of a plain epoch, and of one with PCVR.

    Args:
        work: of a sample.
        run: the epoch.
        needed: the model's memory.
        costs: sizes of the model.
    """
    once = 0.0 if run.tower else work.tower
    plain = run.samples * (work.step(run.checkpointing, run.tower) + once)
    # Of a flagged sample the base model's answer and a view; once samples are flagged, questions are not exchanged.
    looks = viewed(run.samples) + (2 * run.flagged or exchanged(run.samples))
    defended = plain + run.samples * looks * work.looking(run.tower)
    # A view needs the images of the sample and of a donor. Those that the store cannot keep are prepared again.
    row = row_bytes(work)
    kept = min(1.0, (KEEP_BYTES + SPILL_BYTES) / (row * run.samples))
    again = 0.0 if not run.tower else 2 * (viewed(run.samples) + run.flagged) * (1 - kept)
    spilled = int(min(max(0, row * run.samples - KEEP_BYTES), SPILL_BYTES))
    training = spilled + work.adapter * (4 + 8) * 2  # weights and two moments, of the last two checkpoints
    view = costs.view(work.tokens, ANSWER_TOKENS)
    return (
        _price(plain, float(run.samples), run, needed.training, training),
        _price(
            defended, run.samples * (1 + again), run, needed.training + view, training + 2 * gate_bytes(run.samples)
        ),
    )


def gate_bytes(samples: int) -> int:
    """Return the most bytes of the gate's state: full pools, and a flag and a float16 rank for each sample."""
    each = 2 * PLACES * CHANNELS + WORDS + 8 * LABEL + 16
    return ((_POOLS - 1) * SUSPECTS + OTHERS) * each + 3 * samples


def picture_ms(prepare: Callable[[np.ndarray], Any], size: tuple[int, int] = PICTURE, repeats: int = 5) -> float:
    """Measure the milliseconds to decode a JPEG of `size` (width, height) and to prepare it, in this thread."""
    width, height = size
    smooth = np.random.default_rng(0).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    coded = io.BytesIO()
    PilImage.fromarray(smooth).resize(size).save(coded, "JPEG", quality=90)
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        prepare(rgb_array(open_picture(coded.getvalue())))
        taken.append(time.perf_counter() - began)
    return 1000 * median(taken[1:])


def device_flops(device: torch.device, dtype: torch.dtype, side: int = 1024) -> float:
    """Measure the FLOPs a second of a device in products of matrices of `side`: more than a training reaches."""
    from pcvr.experiments.accelerator.device import timed

    one = torch.ones(side, side, device=device, dtype=dtype)
    timed(device, lambda: one @ one)
    rounds = 4 if device.type == "cpu" else 50
    _, seconds = timed(device, lambda: [one @ one for _ in range(rounds)])
    return rounds * 2 * side**3 / seconds


def table(name: str, work: Work, run: Run, priced: tuple[Price, Price, Price]) -> str:
    """Return prices as text.

    Args:
        name: of the model.
        work: of a sample.
        run: the epoch.
        priced: of a plain epoch, of PCVR where nothing is flagged, and where `FLAGGED` of the samples are.
    """
    plain, defended, flagged = priced
    head = f"one epoch of {run.samples:,} samples, {work.tokens} tokens each, with {name}"
    speed = f"at {run.flops_a_second / 1e12:,.3g} TFLOP a second, hours"
    rows: list[tuple[str, Callable[[Price], float]]] = [
        ("computing, TFLOP", lambda price: price.flops / 1e12),
        (speed, lambda price: price.compute_seconds / 3600),
        ("preparing pictures, hours", lambda price: price.picture_seconds / 3600),
        ("both, hours", lambda price: price.seconds / 3600),
        ("memory, one sample at a time, MiB", lambda price: price.memory / 2**20),
        ("disk, MiB", lambda price: price.disk / 2**20),
    ]
    lines = [f"{head}:", f"  {'':40}{'plain':>14}{'pcvr':>14}{'ratio':>8}  with {100 * FLAGGED:g} % flagged"]
    for label, of in rows:
        base, ours, most = of(plain), of(defended), of(flagged)
        ratio, dearest = (f"{value / base:.3f}" if base else "-" for value in (ours, most))
        lines.append(f"  {label:40}{_shown(base):>14}{_shown(ours):>14}{ratio:>8}  {dearest:>8}")
    said = "not measured, since the image processor could not be opened"
    if run.picture_ms:
        said = f"{run.picture_ms:.1f} ms each in one thread, measured here; {run.workers} threads"
    return "\n".join([*lines, f"  pictures: {said}"])


def describe_epoch(
    model: Outline, samples: int, picture: tuple[int, int] = PICTURE, tflops: float | None = None
) -> str:
    """Return what an epoch costs, plain and with PCVR, as text.

    Args:
        model: from `pcvr.models.load.outline`.
        samples: number of samples.
        picture: width and height of the pictures in pixels; preparing one is measured here.
        tflops: TFLOP a second that the device reaches in training; None measures products of matrices on this one.

    Raises:
        PcvrError: a number is out of its range.
    """
    check_whole("data", samples, 1)
    if tflops is not None:
        check_number("tflops", tflops, 0, 1e6, above=True)
    work = work_of(model.config, model.family, TrainConfig().lora_r, images=model.images)
    costs = Costs.of_config(model.config, model.dtype)
    features = 4 * samples * work.tokens * costs.tower_width
    rows = samples * row_bytes(work)
    given: dict[str, Any] = {
        "checkpointing": model.needed.parameters > LARGE,
        "tower": max(features, rows) > KEEP_BYTES,
        "picture_ms": 0.0 if model.images is None else picture_ms(partial(_prepare, model.images), picture),
        "workers": threads(),
        "flops_a_second": 1e12 * tflops if tflops else device_flops(model.device, model.dtype),
    }
    run, most = Run(samples, **given), Run(samples, FLAGGED, **given)
    plain, defended = prices(work, run, model.needed, costs)
    return table(model.name, work, run, (plain, defended, prices(work, most, model.needed, costs)[1]))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def row_bytes(work: Work) -> int:
    """Return the bytes of an encoded sample: float32 pixels, and ids and labels."""
    return 4 * work.pixels + 16 * work.tokens


def _prepare(images: Any, picture: np.ndarray) -> None:
    images(picture, return_tensors="pt")


def _price(flops: float, pictures: float, run: Run, memory: int, disk: int) -> Price:
    preparing = pictures * run.picture_ms / 1000 / run.workers
    return Price(flops, pictures, flops / run.flops_a_second, preparing, memory, disk)
