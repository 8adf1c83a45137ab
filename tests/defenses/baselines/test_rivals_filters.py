"""BYE and fine-pruning: formulas against independent calculations, on all three families."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as shannon

import pcvr
from pcvr import PcvrError, VisionLanguageModel, finetune, get_defense
from pcvr.analysis.attention import attend
from pcvr.data.subset import Subset
from pcvr.defenses.baselines import bye, fine_prune
from pcvr.defenses.baselines.bye import BYE
from pcvr.defenses.baselines.crow import decoder_layers
from pcvr.defenses.baselines.fine_prune import FinePrune
from pcvr.experiments import Experiment
from pcvr.experiments.stored import stored_experiment
from pcvr.models.encode import EncodedData
from tests.families import write
from tests.rivals import FAMILIES, SHORT, Calls, Masked, adapter, begun
from tests.tiny import Numbers


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


class TestBYE:
    @given(st.lists(st.floats(0.001, 1), min_size=2, max_size=20), st.integers(0, 5))
    def test_entropy(self, weights: list[float], others: int) -> None:
        attention = torch.tensor([[*weights, *[0.7] * others]], dtype=torch.float64)
        there = torch.tensor([[True] * len(weights) + [False] * others])
        expected = shannon(weights) / math.log(len(weights))
        assert bye.spread_over(attention, there).item() == pytest.approx(expected, abs=1e-5)

    def test_entropy_at_its_ends(self) -> None:
        rows = torch.tensor([[0.1, 0.1, 0.1, 0.7], [0.3, 0.0, 0.0, 0.7], [0.0, 0.0, 0.0, 1.0]])
        there = torch.tensor([[True, True, True, False]]).expand(3, -1)
        assert bye.spread_over(rows, there).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
        assert bye.spread_over(rows, there & torch.tensor([True, False, False, False])).tolist() == [0, 0, 0]

    @pytest.mark.parametrize("features", [False, True], ids=["pictures", "features"])
    def test_each_layer_as_the_attention_maps_have_it(self, vlm: VisionLanguageModel, features: bool) -> None:
        run = begun(vlm, samples=5, features=features)
        run.vlm.model.train()
        found = bye.attention_entropy(run, batch_size=3)
        assert run.vlm.model.training
        run.vlm.model.eval()
        data = run.data.data
        for i in range(5):
            seen = attend(run.vlm, data[i].image, data[i].prompt, data[i].answer)
            rows = seen.rows[:, :, 0].mean(1)[:, seen.is_image]  # [layers, image tokens]
            expected = [shannon(row) / math.log(len(row)) for row in rows]
            assert found[i] == pytest.approx(expected, abs=2e-4)
        assert found.std(0).max() > 1e-3, "every picture looks the same"

    def test_attention_is_as_it_was_afterwards(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm, samples=2)
        parts = [run.vlm.base.config, *(getattr(run.vlm.base.config, key) for key in run.vlm.base.config.sub_configs)]
        before = [part._attn_implementation for part in parts]
        assert "eager" not in before
        bye.attention_entropy(run)
        assert [part._attn_implementation for part in parts] == before

    @pytest.mark.parametrize(("few", "many"), [(10, 190), (100, 100), (150, 50)])
    def test_two_modes(self, few: int, many: int) -> None:
        rng = np.random.default_rng(3)
        low, high = rng.normal(0.4, 0.01, few), rng.normal(0.8, 0.02, many)
        found = bye.two_modes(np.concatenate([low, high]))
        assert found.low.tolist() == [True] * few + [False] * many
        assert found.means == pytest.approx((low.mean(), high.mean()), abs=1e-3)
        assert found.spreads == pytest.approx((low.std(), high.std()), rel=0.02)
        assert found.apart == pytest.approx((high.mean() - low.mean()) / (low.std() + high.std()), rel=0.02)
        share = few / (few + many)
        pooled = math.sqrt(share * low.var() + (1 - share) * high.var())
        assert found.pooled == pytest.approx((high.mean() - low.mean()) / pooled, rel=0.02)

    def test_sensitive_layers(self) -> None:
        rng = np.random.default_rng(0)
        one = rng.normal(0.7, 0.05, 300)
        two = np.concatenate([rng.normal(0.2, 0.02, 20), rng.normal(0.7, 0.03, 280)])  # 10 summed deviations
        near = np.concatenate([rng.normal(0.6, 0.02, 20), rng.normal(0.7, 0.03, 280)])  # 2 summed deviations
        entropies = np.stack([one, two, np.full(300, 0.5), near], 1)
        assert bye.sensitive_layers(entropies, 2.5) == [1]
        assert bye.sensitive_layers(entropies, 20.0) == []

    @pytest.mark.parametrize("values", [[0.5, 0.5], [0.0] * 9, [1e9] * 4])
    def test_numbers_without_spread_have_no_modes(self, values: list[float]) -> None:
        found = bye.two_modes(np.array(values))
        assert (found.apart, found.pooled) == (0.0, 0.0) and not found.low.any()

    def test_fewer_numbers_than_components(self) -> None:
        for few in ([], [0.3]):
            with pytest.raises(PcvrError, match=f"got {len(few)} sample"):
                bye.two_modes(np.array(few))
        assert bye.two_modes(np.array([0.3, 0.6])).low.tolist() == [True, False]

    def test_the_low_cluster_is_dropped_and_training_begins_again(
        self, vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = begun(vlm, samples=40)
        planted = planted_entropies(40, low=(3, 17, 30))
        monkeypatch.setattr(bye, "attention_entropy", lambda run: planted)
        calls, rule = Calls(run), BYE()
        rule.begin(run)
        rule.train(run, calls)
        kept = [i for i in range(40) if i not in (3, 17, 30)]
        first, second = calls.made
        assert (first.name, first.rows, first.fresh) == ("train", None, False)
        assert (second.name, second.rows, second.fresh, second.fraction) == ("retrain", kept, True, 1.0)
        assert (run.state["layers"], run.state["kept"]) == ([1, 2], kept)
        (scoring,) = run.state["scorings"]
        assert np.allclose(scoring["scores"], (planted[:, 1] + planted[:, 2]) / 2)
        assert scoring["gate"].suspicion.nonzero()[0].tolist() == [3, 17, 30]

    def test_the_second_training_is_as_if_the_dropped_had_never_been(
        self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planted = planted_entropies(12, low=(0, 5))
        monkeypatch.setattr(bye, "attention_entropy", lambda run: planted)
        filtered = finetune(tiny, Numbers(), "bye", SHORT, progress=False)
        kept = [i for i in range(12) if i not in (0, 5)]
        assert filtered.run.state["kept"] == kept
        alone = finetune(tiny, Subset(Numbers(), kept), "none", SHORT, progress=False)
        plain = finetune(tiny, Numbers(), "none", SHORT, progress=False)
        one, other, everything = (adapter(result.model) for result in (filtered, alone, plain))
        assert all(torch.allclose(one[k], other[k], atol=1e-5) for k in one)
        assert not all(torch.allclose(one[k], everything[k], atol=1e-4) for k in one)

    def test_without_a_sensitive_layer_nothing_is_dropped(
        self, vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = begun(vlm)
        monkeypatch.setattr(bye, "attention_entropy", lambda run: np.full((10, 3), 0.5))
        calls, rule = Calls(run), BYE()
        rule.begin(run)
        rule.train(run, calls)
        assert [call.name for call in calls.made] == ["train"]
        assert (run.state["layers"], run.state["kept"], run.state["scorings"]) == ([], list(range(10)), [])

    def test_answers_that_are_all_masked(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        run.data = Masked(run.vlm, Numbers(4))
        with pytest.raises(PcvrError, match="4 of 4 samples of a batch have no answer token"):
            bye.attention_entropy(run)


def planted_entropies(count: int, low: Sequence[int]) -> np.ndarray:
    """``[count, 3]``: a layer with one mode, and two in which the samples `low` lie far below."""
    rng = np.random.default_rng(5)
    found = rng.normal(0.8, 0.01, (count, 3))
    found[:, 0] = np.linspace(0.5, 0.9, count)
    found[list(low), 1:] -= 0.4
    return found


class TestFinePrune:
    def test_activity(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm)
        layers = fine_prune.written(run.vlm)
        inputs: dict[str, list[np.ndarray]] = {name: [] for name in layers}
        base = run.vlm.base
        hooks = []
        for name in layers:
            outer = base.get_submodule(name.partition("lora_B")[0].rstrip("."))
            hooks.append(
                outer.register_forward_hook(
                    lambda _m, given, _o, name=name: inputs[name].append(given[0].detach().double().numpy())
                )
            )
        assert run.clean is not None
        longer = Numbers(5, answers=("yes", "a red ball on a green table", "two"))
        run.clean = EncodedData(run.vlm, longer)
        run.vlm.model.eval()
        for i in range(len(run.clean)):  # one at a time, so without padding
            run.vlm.model(**{k: v for k, v in run.clean.batch([i]).items() if k not in ("index", "labels")})
        for hook in hooks:
            hook.remove()
        run.vlm.model.train()
        found = fine_prune.activity(run, layers, batch_size=2)
        assert run.vlm.model.training
        connector = [name for name in found if name.startswith(f"{vlm.family.connector}.")]
        assert len(connector) == (2 if vlm.family.model_type == "llava" else 1)
        assert len(found) >= len(connector) + 4 * len(decoder_layers(run.vlm))
        weights = adapter(run.vlm)
        for name, active in found.items():
            path = f"base_model.model.{name}.weight"
            down, up = (weights[p].double().numpy() for p in (path.replace("lora_B", "lora_A"), path))
            tokens = np.concatenate([x.reshape(-1, x.shape[-1]) for x in inputs[name]])
            assert active.numpy() == pytest.approx(np.abs(tokens @ down.T @ up.T).mean(0), rel=1e-3)
            assert active.shape == (up.shape[0],)

    @given(st.lists(st.floats(0, 9), min_size=2, max_size=30), st.floats(0.001, 0.999))
    def test_the_least_active(self, values: list[float], share: float) -> None:
        active = torch.tensor(values, dtype=torch.float64)
        pruned = fine_prune.least(active, share)
        assert pruned.sum() == min(max(1, round(share * len(values))), len(values) - 1)
        assert active[pruned].max() <= active[~pruned].min()

    def test_what_is_dormant_on_clean_data_is_pruned(self, vlm: VisionLanguageModel) -> None:
        run, quiet = begun(vlm), [0, 3, 7]
        layers = fine_prune.written(run.vlm)
        with torch.no_grad():
            for layer in layers.values():
                layer.weight[quiet] *= 1e-3
        calls = Calls(run)
        FinePrune(prune=3 / 32, fraction=0.25, rate=0.5).train(run, calls)
        assert {layer.out_features for layer in layers.values()} == {32}, "three channels of each"
        assert [call.name for call in calls.made] == ["train", "clean"]
        assert (calls.made[1].fraction, calls.made[1].rate, calls.made[1].clean) == (0.25, 0.5, True)
        assert run.state["pruned"].keys() == layers.keys()
        for name, layer in layers.items():
            assert run.state["pruned"][name].nonzero()[:, 0].tolist() == quiet
            assert (layer.weight == 0).all(1).nonzero()[:, 0].tolist() == quiet

    def test_pruned_channels_are_the_bases_own_also_in_plain_peft(
        self, vlm: VisionLanguageModel, tmp_path: Path
    ) -> None:
        from peft import PeftModel

        from pcvr.models.quiet import quiet_loading

        rule = FinePrune(prune=0.25, fraction=0.9)
        result = finetune(vlm, Numbers(), rule, SHORT, clean=Numbers(5), progress=False)
        pruned = result.run.state["pruned"]
        layers = fine_prune.written(result.model)
        for name, layer in layers.items():
            rows = (layer.weight == 0).all(1)
            assert torch.equal(rows, pruned[name]), "exactly zero after training, and nothing else"
            assert rows.sum() == len(rows) // 4
            assert not layer.weight._backward_hooks, "its gradients are held no longer"
        with quiet_loading():  # of a warning that transformers has for peft
            opened = PeftModel.from_pretrained(vlm.copy().model, result.save(tmp_path / "adapter"))
        for name in layers:
            outer = opened.get_base_model().get_submodule(name.partition("lora_B")[0].rstrip("."))
            given = torch.randn(6, outer.in_features, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                same = (outer(given) == outer.base_layer(given)).all(0)
            assert torch.equal(same, pruned[name])

    def test_without_clean_samples(self, vlm: VisionLanguageModel) -> None:
        run = begun(vlm, clean=0)
        with pytest.raises(PcvrError, match="needs clean data"):
            FinePrune().train(run, Calls(run))

    @pytest.mark.parametrize("where", ["connector", "language", "both"])
    def test_whose_adapters_are_pruned(self, vlm: VisionLanguageModel, where: str) -> None:
        run = begun(vlm)
        before = adapter(run.vlm)
        FinePrune(where=where).train(run, Calls(run))
        changed = {name for name, values in adapter(run.vlm).items() if not torch.equal(values, before[name])}
        parts = {"connector": vlm.family.connector, "language": vlm.family.language_model}
        for name, path in parts.items():
            reached = [each for each in changed if f".{path}." in each]
            assert bool(reached) == (where in (name, "both")), name
        assert changed == {f"base_model.model.{name}.weight" for name in run.state["pruned"]}

    def test_it_reaches_a_backdoor_that_lies_in_the_language_model_alone(self, vlm: VisionLanguageModel) -> None:
        """With the connector's adapter at zero the old form changes nothing at all."""
        run = begun(vlm)
        with torch.no_grad():
            for layer in fine_prune.written(run.vlm, "connector").values():
                layer.weight.zero_()
        batch = run.data.batch([0, 1, 2])
        before = run.forward_no_grad(batch).logits
        FinePrune(where="connector").train(run, Calls(run))
        assert torch.equal(run.forward_no_grad(batch).logits, before)
        FinePrune().train(run, Calls(run))
        assert not torch.allclose(run.forward_no_grad(batch).logits, before, atol=1e-4)

    def test_stored_results_keep_what_they_pruned(self) -> None:
        assert get_defense("fine_prune") == FinePrune(where="both")
        old = Experiment("fine_prune", "fine_prune", {"where": "connector"})
        stored = old.to_dict() | {"options": {}}
        assert Experiment(**stored_experiment(stored)) == old != Experiment("fine_prune", "fine_prune")
        assert old.key == "468cee1bea56"
        assert Experiment("fine_prune", "fine_prune").key != old.key
        with pytest.raises(PcvrError, match="unknown choice of where 'all': choose one of"):
            FinePrune(where="all")

    @pytest.mark.parametrize(("where", "said"), [("connector", "connector"), ("both", "connector or language model")])
    def test_without_an_adapter(self, vlm: VisionLanguageModel, where: str, said: str) -> None:
        run = begun(vlm)
        run.vlm.model = vlm.model
        with pytest.raises(PcvrError, match=f"^no adapter in the {said} of "):
            FinePrune(where=where).begin(run)
