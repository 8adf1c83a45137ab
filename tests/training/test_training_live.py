"""A training that is watched: what is kept, that it can be stopped in mid-run, and that nobody disturbs it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from pcvr import PCVR, PcvrError, TrainConfig, VisionLanguageModel, finetune, generate
from pcvr.defenses import Defense
from pcvr.defenses.base import Fit, StagePlan
from pcvr.defenses.context import TrainingContext
from pcvr.plots.describe import description
from pcvr.plots.training import live_curves
from pcvr.training.live import LoggedStep, Recorder, TrainingJob
from tests.tiny import Numbers

LONG = TrainConfig(max_steps=5000, batch_size=4, lora_r=4)
SHORT = TrainConfig(max_steps=4, batch_size=4, lora_r=4)


@dataclass(frozen=True)
class TwoStages(Defense):
    """Notes what was done after each stage."""

    name: ClassVar[str] = "two_stages"

    def train(self, run: TrainingContext, fit: Fit) -> None:
        fit(StagePlan("first"))
        run.state["after"] = "first"
        fit(StagePlan("second", fraction=0.5))
        run.state["after"] = "second"


class StopAt(Recorder):
    """Presses the button itself."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.at = step

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        if self.done + args[1].global_step == self.at:  # type: ignore[attr-defined]
            self.stop()
        super().on_step_end(*args, **kwargs)


def weights(result: object) -> dict[str, torch.Tensor]:
    return {k: v for k, v in result.model.model.state_dict().items() if "lora_" in k}  # type: ignore[attr-defined]


def wait_for(what: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_recorder_keeps_what_the_history_says(tiny: VisionLanguageModel) -> None:
    recorder = Recorder()
    rule = PCVR(scan_at=(0.2,), gate="running", refit=1)
    result = finetune(tiny, Numbers(8), rule, SHORT, callbacks=[recorder], progress=False)
    assert [(p.step, p.loss) for p in recorder.points] == [(h["step"], h["loss"]) for h in result.history]
    assert recorder.points[-1].figures == result.run.log and "suspicious" in result.run.log
    assert (recorder.step, recorder.steps, recorder.stage) == (4, 4, "train")
    assert not result.stopped
    alone = finetune(tiny, Numbers(8), rule, SHORT, progress=False)
    assert all(torch.equal(v, weights(alone)[k]) for k, v in weights(result).items())


def test_steps_count_through_all_stages(tiny: VisionLanguageModel) -> None:
    recorder = Recorder()
    finetune(tiny, Numbers(8), TwoStages(), SHORT, callbacks=[recorder], progress=False)
    told = [(p.step, p.stage) for p in recorder.points]
    assert told == [*((k, "first") for k in range(1, 5)), (5, "second"), (6, "second")]
    finetune(tiny, Numbers(8), TwoStages(), SHORT, callbacks=[recorder], progress=False)
    assert [(p.step, p.stage) for p in recorder.points] == told


@pytest.mark.parametrize(("step", "after"), [(2, None), (4, None), (5, "first")])
def test_a_stop_keeps_what_was_trained_and_leaves_out_the_rest(
    tiny: VisionLanguageModel, step: int, after: str | None
) -> None:
    result = finetune(tiny, Numbers(8), TwoStages(), SHORT, callbacks=[StopAt(step)], progress=False)
    assert result.stopped and result.history[-1]["step"] == step
    assert result.run.state.get("after") == after
    assert any(v.abs().max() > 0 for k, v in weights(result).items() if "lora_B" in k)
    assert len(generate(result.model, [Numbers()[0].image], ["what is there?"], 2)) == 1


def test_a_stopped_training_with_checkpoints_goes_on_where_it_was(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    stopped = finetune(
        tiny, Numbers(8), TwoStages(), SHORT, callbacks=[StopAt(3)], progress=False, checkpoints=tmp_path / "kept"
    )
    assert stopped.stopped
    result = finetune(tiny, Numbers(8), TwoStages(), SHORT, progress=False, checkpoints=tmp_path / "kept")
    whole = finetune(tiny, Numbers(8), TwoStages(), SHORT, progress=False)
    assert result.history == whole.history and not result.stopped
    assert all(torch.equal(v, weights(whole)[k]) for k, v in weights(result).items())


def test_a_job_is_stopped_in_mid_run_from_another_thread(tiny: VisionLanguageModel) -> None:
    job = TrainingJob(tiny, Numbers(8), "pcvr", LONG)
    with pytest.raises(PcvrError, match="not been started"):
        job.result()
    before = threading.active_count()
    job.start()
    with pytest.raises(PcvrError, match="started already"):
        job.start()
    with pytest.raises(PcvrError, match="wait until it is over"):
        job.result(timeout=0)
    wait_for(lambda: job.recorder.step >= 3)
    assert (job.running, job.finished) == (True, False)
    job.stop()
    result = job.result(timeout=60)
    assert (job.running, job.finished, result.stopped) == (False, True, True)
    assert 3 <= result.run.step + 1 == job.recorder.step < LONG.max_steps
    assert threading.active_count() == before


def test_a_job_is_the_plain_training(tiny: VisionLanguageModel) -> None:
    job = TrainingJob(tiny, Numbers(8), TwoStages(), SHORT)
    job.start()
    plain = finetune(tiny.copy(), Numbers(8), TwoStages(), SHORT, progress=False) if job.result() else None
    assert plain is not None and job.result().history == plain.history
    assert all(torch.equal(v, weights(plain)[k]) for k, v in weights(job.result()).items())


def test_what_goes_wrong_is_told_to_who_asks(tiny: VisionLanguageModel) -> None:
    job = TrainingJob(
        tiny, Numbers(8), "none", TrainConfig(max_steps=6, batch_size=4, learning_rate=1e30, warmup_ratio=0)
    )
    job.start()
    with pytest.raises(PcvrError, match="lower learning_rate"):
        job.result(timeout=60)
    assert isinstance(job.error, PcvrError) and job.finished


def test_the_figure_says_what_it_shows() -> None:
    empty = live_curves([], 0)
    assert "nothing has been logged" in description(empty) and len(empty.axes) == 1
    points = [
        LoggedStep(1, "first", 2.0),
        LoggedStep(2, "first", 1.5, {"suspicious": 0.25}),
        LoggedStep(3, "last", 1.0),
    ]
    figure = live_curves(points, 10)
    assert len(figure.axes) == 2
    assert figure.axes[0].lines[0].get_ydata().tolist() == [2.0, 1.5, 1.0]
    assert figure.axes[1].lines[0].get_xdata().tolist() == [2]
    assert figure.axes[0].get_xlim() == (0, 10)
    assert "from 2.00 to 1.00 at step 3" in description(figure)
    assert [t.get_text() for t in figure.axes[0].texts] == ["last"]


def test_the_callback_needs_no_jupyter(root: Path) -> None:
    blocked = ["ipywidgets", "IPython", "ipykernel", "matplotlib"]
    code = f"import sys\nfor n in {blocked!r}: sys.modules[n] = None\nimport pcvr.training.live; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.stdout == "fine\n", done.stderr
