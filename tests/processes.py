"""Two processes that train together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def together(root: Path, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Two processes of the same command, by torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [*launcher, *map(str, words)]
    pipe, place = subprocess.PIPE, cwd or root
    with subprocess.Popen(command, cwd=place, env=environment, stdout=pipe, stderr=pipe, text=True) as started:
        try:
            out, errors = started.communicate(timeout=480)
        finally:
            started.terminate()  # torchrun then ends its workers; killed, as by subprocess.run(), it would leave them
    return subprocess.CompletedProcess(command, started.returncode, out, errors)
