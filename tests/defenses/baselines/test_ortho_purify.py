"""OrthoPurify: the projection against a dense calculation in NumPy, its invariants, and the adapter it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pcvr
from pcvr import PcvrError, VisionLanguageModel, finetune, get_defense
from pcvr.defenses import OrthoPurify
from pcvr.defenses.baselines.ortho_purify import (
    Factors,
    adapted,
    hijacked_directions,
    right_singular_vectors,
    without_directions,
)
from pcvr.defenses.context import TrainingContext
from pcvr.training.callback_base import StageCallback
from tests.families import write
from tests.rivals import FAMILIES, SHORT, Calls, adapter, begun
from tests.tiny import Numbers

SHAPES = st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(1, 5))


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


def factors(seed: int, wide: int, high: int, rank: int) -> Factors:
    drawn = torch.Generator().manual_seed(seed)
    made = (
        torch.randn(rows, columns, generator=drawn, dtype=torch.float64)
        for rows, columns in ((rank, wide), (high, rank))
    )
    return Factors(*made)


def dense(own: Factors, benign: Factors, most: int, angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles in degrees, and ``dW - dW D D^T``, from the dense matrices."""
    mine, theirs = (scale * each.up.numpy() @ each.down.numpy() for each in (own, benign))
    kept = []
    for matrix in (mine, theirs):
        _, values, rows = np.linalg.svd(matrix)
        kept.append(rows[: min(most, int((values > 1e-9 * values[0]).sum()))].T)
    first, second = kept
    turned, cosines, _ = np.linalg.svd(first.T @ second)
    cosines = np.pad(cosines, (0, first.shape[1] - len(cosines)))
    angles = np.degrees(np.arccos(np.clip(cosines, 0, 1)))
    away = first @ turned[:, angles > angle]
    return angles, mine - mine @ away @ away.T


class TestFormula:
    @settings(max_examples=60, deadline=None)
    @given(SHAPES, st.integers(1, 5), st.integers(1, 6), st.floats(5, 85), st.integers(0, 999))
    def test_against_dense_matrices(
        self, shape: tuple[int, int, int], other: int, most: int, angle: float, seed: int
    ) -> None:
        wide, high, rank = shape
        own, benign = factors(seed, wide, high, rank), factors(seed + 1000, wide, high, other)
        angles, wanted = dense(own, benign, most, angle, 2.0)
        found, hijacked = hijacked_directions(own, benign, most, angle)
        assert found.numpy() == pytest.approx(angles, abs=1e-4)
        if np.abs(angles - angle).min() > 1e-3:
            purified = 2.0 * own.up @ without_directions(own.down, hijacked)
            assert purified.numpy() == pytest.approx(wanted, abs=1e-8)

    @settings(max_examples=60, deadline=None)
    @given(SHAPES, st.integers(1, 6), st.floats(0, 90), st.integers(0, 999))
    def test_what_always_holds(self, shape: tuple[int, int, int], most: int, angle: float, seed: int) -> None:
        wide, high, rank = shape
        own, benign = factors(seed, wide, high, rank), factors(seed + 1000, wide, high, rank)
        angles, hijacked = hijacked_directions(own, benign, most, angle)
        assert len(angles) == min(most, wide, high, rank) and hijacked.shape[1] <= len(angles)
        assert torch.allclose(hijacked.T @ hijacked, torch.eye(hijacked.shape[1], dtype=torch.float64), atol=1e-9)
        once = without_directions(own.down, hijacked)
        assert torch.allclose(without_directions(once, hijacked), once, atol=1e-12), "a projection is idempotent"
        assert torch.allclose(once @ hijacked, torch.zeros(rank, hijacked.shape[1], dtype=torch.float64), atol=1e-9)
        assert once.norm() <= own.down.norm() + 1e-9

    def test_90_degrees_change_nothing(self) -> None:
        own, benign = factors(0, 8, 6, 3), factors(1, 8, 6, 3)
        _, hijacked = hijacked_directions(own, benign, 10, 90)
        assert hijacked.shape == (8, 0)
        assert torch.equal(without_directions(own.down, hijacked), own.down)

    def test_a_planted_direction_by_hand(self) -> None:
        """Both updates read coordinate 0; the suspicious one reads coordinate 1 too, and loses it alone."""
        own = Factors(torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[3.0, 0], [0, 2]]))
        benign = Factors(torch.tensor([[1.0, 0, 0]]), torch.tensor([[5.0], [1]]))
        angles, hijacked = hijacked_directions(own, benign, 10, 50)
        assert angles.tolist() == pytest.approx([0, 90], abs=1e-5)
        assert hijacked.abs().flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-9)
        assert without_directions(own.down, hijacked).tolist() == [[1, 0, 0], [0, 0, 0]]

    def test_the_strongest_directions_come_first(self) -> None:
        own = Factors(torch.eye(3), torch.diag(torch.tensor([1.0, 9.0, 4.0])))
        assert right_singular_vectors(own, 2).abs().T.tolist() == [[0, 1, 0], [0, 0, 1]]

    def test_an_update_that_is_zero(self) -> None:
        """An adapter before any step: all of the other's directions are orthogonal to nothing at all."""
        own, none = factors(0, 8, 6, 3), Factors(torch.randn(3, 8), torch.zeros(6, 3))
        angles, hijacked = hijacked_directions(own, none, 10, 50)
        assert angles.tolist() == [90, 90, 90] and hijacked.shape == (8, 3)
        angles, hijacked = hijacked_directions(none, own, 10, 50)
        assert len(angles) == 0 and hijacked.shape == (8, 0)


class TestRepair:
    def test_its_stages_and_what_it_writes(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm, clean=5)
        before = {name: Factors(*(each.detach().clone() for each in own)) for name, own in adapted(run.vlm).items()}
        rule = OrthoPurify(directions=3, steps=2, samples=4, batch_size=3)

        class Moving(Calls):
            """The reference moves the adapter."""

            def __call__(self, *plan: Any) -> None:
                super().__call__(*plan)
                if plan:
                    torch.manual_seed(7)
                    with torch.no_grad():
                        for own in adapted(self.run.vlm).values():
                            own.down.normal_()
                            own.up.normal_()

        calls = Moving(run)
        rule.begin(run)
        rule.train(run, calls)
        first, second = calls.made
        assert (first.name, first.fraction, first.clean) == ("train", 1.0, False)
        assert (second.name, second.steps(4), second.rate, second.clean, second.fresh) == (
            "reference",
            2,
            1,
            True,
            True,
        )
        assert list(second.rows or []) == [0, 1, 2, 3] and second.batch_size == 3
        torch.manual_seed(7)
        benign = {name: Factors(*(torch.randn_like(each) for each in own)) for name, own in before.items()}
        now = adapted(run.vlm)
        assert run.state["angles"].keys() == now.keys() and len(now) > 4
        for name, own in now.items():
            angles, wanted = dense(
                Factors(*(e.double() for e in before[name])), Factors(*(e.double() for e in benign[name])), 3, 50, 1.0
            )
            assert run.state["angles"][name].numpy() == pytest.approx(angles, abs=1e-2)
            assert torch.equal(own.up, before[name].up), "only A changes"
            assert (own.up @ own.down).detach().numpy() == pytest.approx(wanted, abs=1e-4)

    def test_it_trains_every_family(self, vlm: VisionLanguageModel, tmp_path: Path) -> None:
        rule = OrthoPurify(steps=2, angle=1.0)
        result = finetune(vlm, Numbers(), rule, SHORT, clean=Numbers(5), progress=False)
        plain = finetune(vlm, Numbers(), "none", SHORT, progress=False)
        mine, theirs = adapter(result.model), adapter(plain.model)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine if "lora_B" in name)
        assert any(not torch.equal(mine[name], theirs[name]) for name in mine if "lora_A" in name)
        opened = pcvr.load(vlm.copy(), adapter=result.save(tmp_path / "adapter"))
        said = ([Numbers()[0].image], [Numbers()[0].prompt], 3)
        assert pcvr.generate(opened, *said) == pcvr.generate(result.model, *said)

    def test_90_degrees_leave_plain_fine_tuning(self, tiny: VisionLanguageModel) -> None:
        result = finetune(tiny, Numbers(), OrthoPurify(angle=90, steps=2), SHORT, clean=Numbers(5), progress=False)
        plain = finetune(tiny, Numbers(), "none", SHORT, progress=False)
        mine, theirs = adapter(result.model), adapter(plain.model)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        (note,) = result.notes
        assert "removed 0 of " in note

    def test_a_finished_training_gives_the_same_adapter_again(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        """From the checkpoints of its stages: the projection is made anew."""
        given: dict[str, Any] = {"clean": Numbers(5), "progress": False, "checkpoints": tmp_path / "kept"}
        first, again = (finetune(tiny, Numbers(), OrthoPurify(steps=2), SHORT, **given) for _ in range(2))
        mine, theirs = adapter(first.model), adapter(again.model)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine) and first.history == again.history

    def test_a_reader_who_stops_the_reference_gets_the_adapter_of_before(self, tiny: VisionLanguageModel) -> None:
        class StopThere(StageCallback):
            def on_stage(self, run: TrainingContext, done: int) -> None:
                self.stopped = run.stage == "reference"

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                control.should_training_stop |= self.stopped

        given: dict[str, Any] = {"clean": Numbers(5), "callbacks": [StopThere()], "progress": False}
        result = finetune(tiny, Numbers(), OrthoPurify(steps=3), SHORT, **given)
        plain = finetune(tiny, Numbers(), "none", SHORT, progress=False)
        mine, theirs = adapter(result.model), adapter(plain.model)
        assert result.stopped and all(torch.equal(mine[name], theirs[name]) for name in mine)
        (note,) = result.notes
        assert "stopped before its repair" in note

    def test_clean_samples_are_asked_for(self, vlm: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="'ortho_purify' needs clean data"):
            finetune(vlm, Numbers(), "ortho_purify", SHORT, progress=False)
        run = begun(vlm, clean=0)
        with pytest.raises(PcvrError, match="'ortho_purify' needs clean data"):
            OrthoPurify().train(run, Calls(run))

    def test_a_model_without_an_adapter(self, vlm: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match=r"has no LoRA adapter, and defence 'ortho_purify' repairs one"):
            adapted(vlm)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("directions", (0, 1.5, True)),
        ("angle", (-1, 91, float("nan"))),
        ("samples", (0, -3)),
        ("steps", (0, 2.5)),
        ("batch_size", (0,)),
    ],
)
def test_an_option_out_of_range_is_named(option: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(PcvrError, match=f"^{option} is "):
            get_defense("ortho_purify", **{option: value})
