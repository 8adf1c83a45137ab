"""Which versions made a figure."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "pillow", "pycocoevalcap")


def versions() -> dict[str, str]:
    """Versions of Python, pcvr and of the packages that figures depend on; missing ones are left out."""
    found = {"python": platform.python_version()}
    for name in ("pcvr", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
