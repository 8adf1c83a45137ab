"""The set-up that a run is made under: versions, device, processor, cores and threads."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pcvr.utils.versions import versions


def setup_now(threads: int) -> dict[str, Any]:
    """Return what a Record says about the process that made it.

    Args:
        threads: what torch was told to use; if torch is loaded, it is asked.
    """
    torch = sys.modules.get("torch")
    device = torch.cuda.get_device_name() if torch and torch.cuda.is_available() else "cpu"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "device": device,
        "cores": cores(),
        "threads": torch.get_num_threads() if torch else threads,
        "machine": processor(),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    from joblib import cpu_count

    return int(cpu_count())


@cache
def processor() -> str:
    """Return what kind of processor this is, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
