"""A Jupyter kernel named python3 that is this very interpreter, whatever else is installed on the machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ipykernel.kernelspec import write_kernel_spec


def kernel_environment(folder: Path) -> dict[str, str]:
    """Write a kernelspec for the running interpreter and return the environment in which Jupyter prefers it.

    Args:
        folder: an empty folder; it also becomes the kernel's IPython profile, so that nobody's start-up files run.
    """
    # Quiet: the notes of the kernel itself (no encryption on the loopback address, interrupted at its end) help nobody.
    write_kernel_spec(str(folder / "kernels" / "python3"), extra_arguments=["--log-level=50"])
    (folder / "ipython").mkdir()
    environment = dict(os.environ)
    others = environment.get("JUPYTER_PATH")
    environment["JUPYTER_PATH"] = os.pathsep.join([str(folder), *([others] if others else [])])
    environment["IPYTHONDIR"] = str(folder / "ipython")
    # A backend chosen for this process would silence the plots of the notebook.
    environment.pop("MPLBACKEND", None)
    return environment


@contextmanager
def this_kernel() -> Iterator[None]:
    """Within the block, ``python3`` names a kernel of the running interpreter."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="pcvr-kernel-", ignore_cleanup_errors=True) as folder:
        environment = kernel_environment(Path(folder))
        os.environ.clear()
        os.environ.update(environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
