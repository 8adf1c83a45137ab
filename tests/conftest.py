"""What holds for every test: nothing is downloaded, nothing draws on a screen; and how workers share the tests."""

import os
from pathlib import Path

import pytest

import pcvr  # noqa: F401  # before torch: it sets how waiting threads wait

# Tests run side by side, one thread each. Alone they have one too, so that a figure is the same both ways.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before anything imports these libraries; kernels and subprocesses inherit it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
# Jupyter's own folders, to be the ones of the platform without a warning on it.
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")

import tests.vision  # noqa: F401  # before transformers looks for torchvision
from tests.tiny import scenes, tiny, tiny_folder  # imports torch, which reads the environment once

__all__ = ["scenes", "tiny", "tiny_folder"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Workers take units of `tests.sharing`, in the order of the folders: pages and notebooks, the longest, first."""
    from xdist.scheduler import LoadScopeScheduling

    from tests.sharing import unit_of

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return unit_of(nodeid)

    config.option.loadscopereorder = False  # by number of tests, which says little about time
    return Sharing(config, log)
