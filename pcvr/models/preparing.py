"""Samples as tensors, prepared by a few threads, a few images at a time."""

from __future__ import annotations

import copy
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch

from pcvr.data.asked import picture_bytes
from pcvr.utils import distributed

if TYPE_CHECKING:
    from pcvr.data.sample import Sample
    from pcvr.models.vlm import VisionLanguageModel

CHUNK = 16
"""Samples that a thread prepares at a time."""
CHUNK_BYTES = 8 * 2**20
"""Maximum bytes of decoded images in a chunk of several samples."""
MOST_THREADS = 8

T = TypeVar("T")
Row = TypeVar("Row")
Make = Callable[["VisionLanguageModel", Sequence["Sample"]], list[Row]]


def prepared(vlm: VisionLanguageModel, samples: Iterable[tuple[T, Sample]], make: Make[Row]) -> Iterator[tuple[T, Row]]:
    """Yield each sample as tensors, in order, with its key.

    Samples are read in the calling thread, since a data set need not be thread-safe. Pillow and NumPy release Python's
    lock while they resize and scale. Each thread has its own processor, since a tokenizer is not thread-safe. The
    number of decoded images in memory does not depend on the number of samples.

    Args:
        vlm: model whose processor is used.
        samples: pairs of a key and a sample; read a few chunks ahead.
        make: function that prepares some samples, such as `pcvr.models.encode.encode_samples`.
    """
    chunks = _chunks(samples)
    head = [chunk for chunk in (next(chunks, None), next(chunks, None)) if chunk is not None]
    workers = threads()
    if len(head) < 2 or workers < 2:  # a pool is not worth copying the processor
        for chunk in chain(head, chunks):
            yield from _made(vlm, chunk, make)
        return
    own = threading.local()

    def work(chunk: list[tuple[T, Sample]]) -> list[tuple[T, Row]]:
        if not hasattr(own, "vlm"):
            own.vlm = replace(vlm, processor=copy.deepcopy(vlm.processor))
        return _made(own.vlm, chunk, make)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="pcvr-prepare")
    try:
        pending: deque[Future[list[tuple[T, Row]]]] = deque()
        for chunk in chain(head, chunks):
            pending.append(pool.submit(work, chunk))
            if len(pending) > workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def threads() -> int:
    """Return the number of threads that prepare images: the usable CPU cores, up to `MOST_THREADS`."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_THREADS, usable // distributed.world()))


def _made(vlm: VisionLanguageModel, chunk: Sequence[tuple[T, Sample]], make: Make[Row]) -> list[tuple[T, Row]]:
    with torch.inference_mode(False):  # the tensors are kept and may be trained on later
        rows = make(vlm, [sample for _, sample in chunk])
    return list(zip((key for key, _ in chunk), rows, strict=True))


def _chunks(samples: Iterable[tuple[T, Sample]]) -> Iterator[list[tuple[T, Sample]]]:
    chunk: list[tuple[T, Sample]] = []
    held = 0
    for key, sample in samples:
        chunk.append((key, sample))
        held += picture_bytes(sample.image)
        if len(chunk) == CHUNK or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
