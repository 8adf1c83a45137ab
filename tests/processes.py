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
    return subprocess.run(
        [*launcher, *map(str, words)],
        cwd=cwd or root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
