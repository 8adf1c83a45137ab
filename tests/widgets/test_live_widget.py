"""The live box: Start trains, the plot follows, Stop ends it, and errors are said where one looks."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pcvr import TrainConfig, VisionLanguageModel
from pcvr.widgets.live import live_training, live_view
from tests.tiny import Numbers, tiny, tiny_folder

__all__ = ["tiny", "tiny_folder"]
LONG = TrainConfig(max_steps=5000, batch_size=4, lora_r=4)


def test_start_and_stop(tiny: VisionLanguageModel) -> None:
    box, controls = live_training(tiny, Numbers(8), "none", LONG)
    controls.stop.click()  # there is nothing to stop yet
    assert "Not started" in controls.status.value
    empty = controls.picture.value
    controls.start.click()
    assert controls.start.description == "Training …" and not controls.start.disabled
    controls.start.click()  # one training at a time
    end = time.monotonic() + 60
    while len(controls.job.recorder.points) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    controls.refresh()
    assert controls.picture.value != empty
    assert "Stage train: step" in controls.status.value and "of 5000" in controls.status.value
    assert 0 < controls.bar.value < controls.bar.max == 5000
    controls.stop.click()
    result = controls.result(timeout=60)
    assert result.stopped and 20 <= controls.job.recorder.step < 5000
    assert controls.start.description == "Trained" and not controls.stop.disabled
    assert f"Stopped at step {controls.job.recorder.step}" in controls.status.value
    assert controls.bar.value == controls.job.recorder.step
    assert controls.picture in box.children and controls.status in box.children
    assert len(live_view(controls.job).axes) == 1


def test_in_a_running_loop_it_follows_by_itself(tiny: VisionLanguageModel) -> None:
    """As in a kernel, whose loop goes on between cells."""

    async def session() -> list[str]:
        _, controls = live_training(tiny, Numbers(8), "none", LONG, seconds=0.05)
        controls.start.click()
        seen = {controls.status.value}
        end = time.monotonic() + 60
        while len(seen) < 4 and time.monotonic() < end:
            await asyncio.sleep(0.05)
            seen.add(controls.status.value)
        controls.stop.click()
        while not controls.job.finished and time.monotonic() < end:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        return [*seen, controls.status.value]

    with ThreadPoolExecutor(1) as other:  # a browser test before this one leaves its own loop running in this thread
        seen = other.submit(asyncio.run, session()).result()
    assert len(seen) >= 5
    assert "Stopped at step" in seen[-1]


def test_done_and_wrong(tiny: VisionLanguageModel) -> None:
    _, controls = live_training(tiny, Numbers(8), "pcvr", TrainConfig(max_steps=2, batch_size=4))
    controls.start.click()
    assert not controls.result(timeout=60).stopped
    assert "Done after 2 steps." in controls.status.value
    assert "The gate came to no verdict (8 samples" in controls.status.value
    _, controls = live_training(tiny, Numbers(8), "no such <defence>")
    controls.start.click()
    with pytest.raises(ValueError, match="unknown defence"):
        controls.result(timeout=60)
    assert 'role="alert"' in controls.status.value and "&lt;defence&gt;" in controls.status.value
