"""What holds for every test: nothing is downloaded, nothing draws on a screen, and paths of the checkout."""

import os
from pathlib import Path

import pytest

# Before anything imports these libraries; kernels and subprocesses inherit it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
# Jupyter's own folders, to be the ones of the platform without a warning on it.
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]
