"""The package versions that produced a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "pillow", "pycocoevalcap")


def versions() -> dict[str, str]:
    """Return the versions of Python, pcvr and the packages that results depend on; missing packages are left out."""
    found = {"python": platform.python_version()}
    for name in ("pcvr", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
