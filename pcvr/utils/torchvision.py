"""A check that an installed torchvision fits torch."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from pcvr.errors import PcvrError, first_line


def check_torchvision() -> None:
    """Raise if torchvision is of another build than torch: transformers and peft then fail in many places.

    Raises:
        PcvrError: it is installed and cannot be imported.
    """
    if find_spec("torchvision") is None:
        return
    try:
        import_module("torchvision")
    except Exception as problem:
        import torch

        raise PcvrError(
            f"torchvision is installed and does not work with torch {torch.__version__} ({first_line(problem)}): "
            "install the one of torch's own build, from the index that PyTorch's installation page names for it, or "
            "pip uninstall torchvision, which only some families need (pcvr models)."
        ) from problem
