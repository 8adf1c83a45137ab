"""What a notebook says about its device: measured where it can be, computed elsewhere, and true to the parameter."""

import re
from pathlib import Path

import pytest
import torch

import pcvr
from pcvr.errors import PcvrError
from pcvr.models.work import Work
from pcvr.teaching.machine import device_note, seconds_a_step, training_flops
from pcvr.training import TrainConfig
from tests.tiny import Numbers

ROOT = Path(__file__).resolve().parents[2]
CONFIG = TrainConfig(max_steps=60, batch_size=4)
TRAINS = re.compile(r"finetune\(|LocalTrainer\(")


def test_the_note_names_device_time_and_what_is_computed(tiny):
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    note = device_note(tiny, Numbers(6), CONFIG)
    assert re.match(r"Device: cpu \(\w+\), \d+ cores; weights in float32\.\n", note)
    took = re.search(r"60 steps of 4 samples takes about ([\d.]+) s here \(measured on 4 steps", note)
    assert took and 0 < float(took[1]) < 600
    assert re.search(r"TFLOP would take an NVIDIA T4 .* at the least \(computed .* not measured\)", note)
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items()), "a copy is trained"


def test_a_large_model_is_not_trained_and_only_computed(tiny, monkeypatch):
    monkeypatch.setattr("pcvr.models.load.LARGE", 1000)
    note = device_note(tiny, Numbers(6), CONFIG)
    assert "measured on" not in note and "computed" in note and not tiny.adapted
    with pytest.raises(PcvrError, match="changes in place"):
        seconds_a_step(tiny, Numbers(6), CONFIG)


def test_the_arithmetic_grows_with_steps_and_counts_the_tower_once(tiny, monkeypatch):
    def work(*_, **__):
        return Work(tower=1000.0, forward=2.0, backward=3.0, layers=1.0, tokens=1, pixels=1, adapter=1)

    monkeypatch.setattr("pcvr.models.work.work_of", work)
    assert training_flops(tiny, Numbers(6), CONFIG) == 60 * 4 * 5 + 6 * 1000
    assert training_flops(tiny, Numbers(6), CONFIG, large=True) == 60 * 4 * (1000 + 2 + 3 + 1)


@pytest.mark.parametrize("path", sorted((ROOT / "workbook").glob("*.py")), ids=lambda path: path.stem)
def test_a_notebook_that_trains_has_a_device_and_uses_it(path):
    text = path.read_text()
    if not TRAINS.search(text):
        return
    assert '\ndevice = "auto"' in text and text.count("device_note(") == 1
    for call in re.findall(r"pcvr\.load\([^)]*\)", text):
        assert "device=device" in call or "llava-hf/" in call or "..." in call, call


def test_a_device_that_is_not_there_gets_a_sentence():
    with pytest.raises(PcvrError, match="device must be auto, cpu, cuda or mps"):
        pcvr.load("tiny-llava", device="gpu")
