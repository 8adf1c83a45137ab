"""Choosing the device and the dtype."""

from __future__ import annotations

import torch

from pcvr.errors import PcvrError, shown


def pick_device(name: str | torch.device) -> torch.device:
    """Return the device of a torch device name; ``"auto"`` is CUDA, then MPS, then CPU.

    Raises:
        PcvrError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError) as problem:
        raise PcvrError(f"device must be auto, cpu, cuda or mps, got {shown(name)}.") from problem
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in there:
        raise PcvrError(f"device must be auto, cpu, cuda or mps, got {shown(name)}.")
    if (device.index or 0) >= there[device.type]:
        raise PcvrError(f"torch finds no device {name!r} on this machine: use auto or cpu, or a torch built for it.")
    return device


def _named(dtype: str | torch.dtype) -> torch.dtype:
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point or kind.itemsize < 2:
        raise PcvrError(f"dtype must be auto, float32, bfloat16, float16 or float64, got {shown(dtype)}.")
    return kind


def pick_dtype(dtype: str | torch.dtype, device: torch.device, own: torch.dtype | None) -> torch.dtype:
    """Return the dtype of a model's weights.

    ``"auto"`` is float32 on a CPU and for float32 checkpoints (the embedded ones: small models are sensitive to
    rounding); else bfloat16 if the device supports it, else float16 (T4, V100).

    Args:
        dtype: ``"auto"``, the name of a torch dtype, or a torch dtype.
        device: the model's device.
        own: the checkpoint's dtype.

    Raises:
        PcvrError: no such dtype.
    """
    if dtype != "auto":
        return _named(dtype)
    if device.type == "cpu" or own is torch.float32:
        return torch.float32
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16  # these GPUs only emulate bfloat16, slowly
    return torch.bfloat16 if device.type == "cuda" else torch.float16
