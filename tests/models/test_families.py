"""Every supported architecture, at a tiny size: opened from its folder, poisoned, fine-tuned, evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pcvr
from pcvr import PatchView, PcvrError, TrainConfig, VisionLanguageModel
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import IGNORE, EncodedData, collate, encode_samples, prompt_batch, prompt_rows
from pcvr.models.families import FAMILIES, family_of
from pcvr.models.forward import answer_logits
from pcvr.models.layout import tiles_of, viewed
from tests import families_today
from tests.families import BUILDERS, Photos, loud, missing_for, no_videos, write


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    """A model of each architecture, saved and loaded back where transformers can make its processor here."""
    missing = missing_for(request.param)
    if missing and request.param.startswith("qwen"):
        return without_videos(request.param)
    if missing:
        pytest.skip(f"{request.param} needs {missing} for the video part of its processor")
    return pcvr.load(write(request.param, tmp_path_factory.mktemp("families") / "model"), device="cpu")


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_qwen_opens_by_folder(name: str, tmp_path: Path) -> None:
    if missing := missing_for(name):
        pytest.skip(f"{name} needs {missing} for the video part of its processor; the rest of it is tested without")
    vlm = pcvr.load(write(name, tmp_path / "model"), device="cpu")
    assert vlm.family.model_type == name


def test_qwen_without_torchvision_is_one_sentence(tmp_path: Path) -> None:
    if not missing_for("qwen2_vl"):
        pytest.skip("torchvision is here")
    folder = tmp_path / "model"
    vlm = without_videos("qwen2_vl")
    vlm.model.save_pretrained(folder)
    vlm.processor.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"processor_class": "Qwen2VLProcessor"}', encoding="utf-8")
    with pytest.raises(PcvrError, match=r"could not be opened .*pip install 'pcvr\[vision\]'") as caught:
        pcvr.load(folder, device="cpu")
    assert "\n" not in str(caught.value)


def without_videos(name: str) -> VisionLanguageModel:
    """Qwen with its own picture processor and tokenizer, and nothing where torchvision would make one for videos."""
    torch.manual_seed(0)
    with no_videos() as videos:
        model, processor = BUILDERS[name](videos=videos)
    processor.tokenizer.padding_side = "left"
    return VisionLanguageModel(name, loud(model).eval(), processor, family_of(model))


def test_every_family_has_a_model_here() -> None:
    assert {name.split()[0] for name in (*BUILDERS, *families_today.BUILDERS)} == set(FAMILIES)


SAMPLES = [Photos()[i] for i in range(6)]


def test_its_parts_are_where_the_table_says(vlm: VisionLanguageModel) -> None:
    from pcvr.training.finetune import with_adapter

    parts = {which: vlm.family.part(vlm.model, which) for which in ("tower", "connector", "language_model")}
    assert all(sum(p.numel() for p in part.parameters()) for part in parts.values())
    adapted = with_adapter(vlm.copy(), TrainConfig(lora_r=2, lora_alpha=2))
    trained = {name for name, p in adapted.model.named_parameters() if p.requires_grad}
    inside = {which: [n for n in trained if f".{getattr(vlm.family, which)}." in n] for which in parts}
    assert inside["language_model"] and inside["connector"]
    assert all("merger" in name for name in inside["tower"]), "the tower stays frozen, but for a connector inside it"


def test_only_the_answer_and_its_end_count(vlm: VisionLanguageModel) -> None:
    tokenizer = vlm.tokenizer
    for row, sample in zip(encode_samples(vlm, SAMPLES), SAMPLES, strict=True):
        told = row["labels"] != IGNORE
        assert torch.equal(row["labels"][told], row["input_ids"][told])
        assert row["labels"][told][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(row["labels"][told][:-1]).replace(" ", "") == sample.answer.replace(" ", "")
        prompt = row["input_ids"][~told]
        assert torch.equal(prompt, vlm.encode([sample.image], [sample.prompt])["input_ids"][0])
        assert tokenizer.pad_token_id not in row["input_ids"]
        assert tokenizer.convert_tokens_to_ids("<image>") in prompt


def test_company_changes_no_sample(vlm: VisionLanguageModel) -> None:
    """Neither padding on the right, nor tiles filled up, nor patches in one row."""
    rows = encode_samples(vlm, SAMPLES)
    pad = vlm.tokenizer.pad_token_id
    with torch.inference_mode():
        together = answer_logits(vlm, collate(rows, pad), hidden=True)
        for i, row in enumerate(rows):
            alone = answer_logits(vlm, collate([row], pad), hidden=True)
            at = together.owner == i
            assert torch.equal(together.targets[at], alone.targets)
            assert torch.allclose(together.logits[at], alone.logits, atol=2e-3)
            assert together.hidden is not None and alone.hidden is not None
            assert torch.allclose(together.hidden[at], alone.hidden, atol=2e-3)


def test_the_tower_is_watched_for_each_sample(vlm: VisionLanguageModel) -> None:
    """What it made of an image is the same alone and in company, with and without kept features."""
    rows = encode_samples(vlm, SAMPLES)
    pad = vlm.tokenizer.pad_token_id
    marked = [row | {"index": torch.tensor(i)} for i, row in enumerate(rows)]
    with torch.inference_mode():
        together = answer_logits(vlm, collate(marked, pad), pictures=True).pictures
        alone = [answer_logits(vlm, collate([row], pad), pictures=True).pictures for row in marked]
    assert together is not None and len(together) == len(rows)
    for i, (mine, own) in enumerate(zip(together, alone, strict=True)):
        assert own is not None and mine.dim() == 2
        assert torch.allclose(mine, own[0], atol=2e-3)
        assert not any(mine.shape == other.shape and torch.allclose(mine, other, atol=1e-2) for other in together[:i])
    data = EncodedData(vlm, Photos())
    if data.keep_features():
        kept = answer_logits(vlm, data.batch(range(6)), pictures=True).pictures
        assert kept is not None and all(torch.allclose(a, b, atol=2e-3) for a, b in zip(kept, together, strict=True))


def test_batched_answers_are_those_of_one_by_one(vlm: VisionLanguageModel) -> None:
    images, prompts = [s.image for s in SAMPLES], [s.prompt for s in SAMPLES]
    together = pcvr.generate(vlm, images, prompts, 6)
    alone = [pcvr.generate(vlm, [i], [p], 6)[0] for i, p in zip(images, prompts, strict=True)]
    assert together == alone
    assert len(set(together)) > 1, "the answers hang on picture and prompt"
    assert not any("describe" in text and "assistant" in text for text in together), "the prompt is cut off"


def test_generation_says_what_training_expects(vlm: VisionLanguageModel) -> None:
    """The first generated token is the likeliest at the first answer position of the training's forward pass."""
    row = encode_samples(vlm, SAMPLES[:1])
    with torch.inference_mode():
        first = answer_logits(vlm, collate(row, vlm.tokenizer.pad_token_id)).logits[0].argmax()
    said = pcvr.generate(vlm, [SAMPLES[0].image], [SAMPLES[0].prompt], 1)[0]
    assert said == vlm.tokenizer.decode([first], skip_special_tokens=True).strip()


@pytest.mark.parametrize("operator", ["swap", "mean", "noise", "shuffle"])
def test_the_view_reaches_the_tower(vlm: VisionLanguageModel, operator: str) -> None:
    rows = encode_samples(vlm, SAMPLES[:3])
    donors = encode_samples(vlm, SAMPLES[3:])
    view = PatchView(operator, 0.6, patch=8)
    seen = viewed(vlm, rows, donors, view, torch.Generator().manual_seed(0))
    shown: list[torch.Tensor] = []
    hook = vlm.family.part(vlm.model, "tower").register_forward_pre_hook(
        lambda _module, args, kwargs: shown.append(args[0] if args else kwargs["pixel_values"]), with_kwargs=True
    )
    pad = vlm.tokenizer.pad_token_id
    with torch.inference_mode():
        plain = answer_logits(vlm, collate(rows, pad))
        other = answer_logits(vlm, collate([r | {"pixel_values": p} for r, p in zip(rows, seen, strict=True)], pad))
    hook.remove()
    assert shown[0].shape == shown[1].shape
    changed = (shown[0] != shown[1]).float().mean()
    assert 0.2 < changed < 0.8, "about the share that the view perturbs (fewer where tiles are padded)"
    assert not torch.allclose(plain.logits, other.logits, atol=1e-3)
    for row, pixels in zip(rows, seen, strict=True):
        tiles = tiles_of(vlm, row)
        again = tiles_of(vlm, row | {"pixel_values": pixels})
        assert tiles.shape == again.shape and tiles.dim() == 4
        grid = again == tiles
        assert grid.any() and not grid.all()


@pytest.mark.parametrize("name", ["llava", "llava_next"])
@pytest.mark.parametrize("layers", [[-2, -1], [1, 0, 1], [-1]])
def test_a_connector_that_reads_several_layers(name: str, layers: list[int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, processor = BUILDERS[name]()
    model.config.vision_feature_layer = layers
    loud(type(model)(model.config)).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    vlm = pcvr.load(tmp_path / "model", device="cpu")
    data = EncodedData(vlm, pcvr.open_data("scenes", n=4))
    with torch.inference_mode():
        plain = answer_logits(vlm, data.batch([2, 0, 3])).logits
        assert data.keep_features(batch_size=2)
        assert data[0]["features"].shape[-1] == len(layers) * model.config.vision_config.hidden_size
        assert torch.allclose(answer_logits(vlm, data.batch([2, 0, 3])).logits, plain, atol=1e-4)


def test_laying_out_undoes_itself(vlm: VisionLanguageModel) -> None:
    from pcvr.models.layout import with_tiles

    for row in encode_samples(vlm, SAMPLES[:3]):
        assert torch.equal(with_tiles(vlm, row, tiles_of(vlm, row)), row["pixel_values"])


def test_prompts_joined_are_those_of_the_processor(vlm: VisionLanguageModel) -> None:
    """Pictures are prepared a few at a time; the batch is what the processor makes of all at once."""
    images, prompts = [s.image for s in SAMPLES[:3]], ["what is there?", "a", "describe the image."]
    whole = vlm.encode(images, prompts)
    joined = prompt_batch(vlm, [row for _, row in prompt_rows(vlm, images, prompts)])
    assert joined.keys() == whole.keys()
    assert all(torch.equal(joined[k], v) for k, v in whole.items())


def test_kept_features_give_the_same(vlm: VisionLanguageModel) -> None:
    scenes = pcvr.open_data("scenes", n=5)  # of one size, so that they have as many tiles each
    data = EncodedData(vlm, scenes)
    with torch.inference_mode():
        plain = answer_logits(vlm, data.batch([2, 0, 4])).logits
        if data.keep_features(batch_size=2):
            assert "pixel_values" not in data[0]
            assert torch.allclose(answer_logits(vlm, data.batch([2, 0, 4])).logits, plain, atol=1e-4)
        else:
            assert vlm.family.layout == "patches"


def test_reading_in_parts_gives_the_same(vlm: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where patches of all pictures lie in one row, which cannot be cut by samples."""
    run = TrainingContext(vlm, EncodedData(vlm, Photos()), steps=1, seed=0)
    batch = run.data.batch(range(5))
    vlm.model.train()
    whole = run.forward_no_grad(batch)
    monkeypatch.setattr("pcvr.defenses.context.READ_ON_CPU", 2)
    parts = run.forward_no_grad(batch)
    assert vlm.model.training and not parts.logits.requires_grad
    assert parts.samples == whole.samples == 5
    assert torch.equal(parts.owner, whole.owner) and torch.equal(parts.targets, whole.targets)
    assert torch.allclose(parts.logits, whole.logits, atol=2e-3)
    vlm.model.eval()
    assert torch.equal(whole.logits, answer_logits(vlm, batch).logits.detach()), "dropout is off"


@pytest.mark.parametrize("defense", ["none", "augment", "pcvr", "two_stage"])
def test_poison_finetune_evaluate(vlm: VisionLanguageModel, defense: str, tmp_path: Path) -> None:
    attack = pcvr.get_attack("badnets", size=9, place="seen_bottom_right")  # photographs are cut by some
    data = pcvr.poison(Photos(), attack, rate=0.25, model=vlm)
    config = TrainConfig(max_steps=3, batch_size=4, learning_rate=4e-3, lora_r=2, lora_alpha=2)
    rule = pcvr.PCVR(gate="two_stage", scan_at=(0.4,)) if defense == "two_stage" else pcvr.get_defense(defense)
    result = pcvr.finetune(vlm, data, rule, config, progress=False)
    assert np.isfinite([entry["loss"] for entry in result.history]).all()
    assert result.config == config
    record = pcvr.evaluate(result.model, Photos(), attack, max_new_tokens=4)
    assert record.n == 12 and set(record.clean) >= {"bleu4", "cider"}
    if defense == "none" and Path(vlm.name).is_dir():
        result.save(tmp_path / "adapter")
        again = pcvr.load(vlm.name, adapter=tmp_path / "adapter", device="cpu")
        texts = pcvr.generate(again, [s.image for s in SAMPLES], [s.prompt for s in SAMPLES], 4)
        assert texts == pcvr.generate(result.model, [s.image for s in SAMPLES], [s.prompt for s in SAMPLES], 4)
