"""A torchvision built for CUDA beside a torch without it: its Python part works, once its operators are declared.

The processors that transformers makes for videos need that part only. The usual index has no build without CUDA.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

DECLARED: list[Any] = []
"""Keeps the declarations alive."""


def declare_operators() -> None:
    """Make an installed torchvision importable in this process, if nothing but its compiled part is missing."""
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except RuntimeError as problem:
        if "does not exist" not in str(problem):
            raise
        import torch

        for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        DECLARED.append(operators)
        import_module("torchvision")


declare_operators()
