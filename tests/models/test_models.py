"""Models: the tokenizer, the saved folder, opening by name and folder, adapters, and everything that is no model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pcvr import PcvrError, TrainConfig, VisionLanguageModel, finetune, load
from pcvr.data.scenes import Scenes
from pcvr.models.adapter import adapter_names, put_adapter
from pcvr.models.families import FAMILIES
from pcvr.models.zoo import EMBEDDED, embedded, shipped
from pcvr.pretraining.parts import IMAGE_PX
from pcvr.pretraining.vocabulary import SPECIAL, build_tokenizer, sentence, words
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers, write


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="module")
def adapter(tiny: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[VisionLanguageModel, Path]:
    """A model with an adapter that does something, and the adapter's folder."""
    result = finetune(
        tiny, Numbers(8), config=TrainConfig(max_steps=4, batch_size=4, learning_rate=2e-2), progress=False
    )
    return result.model, result.save(tmp_path_factory.mktemp("adapters") / "mine")


@torch.inference_mode()
def logits(vlm: VisionLanguageModel) -> torch.Tensor:
    """What the model says after the prompt of three samples: ``[3, V]``."""
    data = Numbers()
    inputs = vlm.encode([data[i].image for i in range(3)], [data[i].prompt for i in range(3)])
    return torch.as_tensor(vlm.model(**inputs).logits[:, -1])


class TestTokenizer:
    def test_every_word_of_the_vocabulary_is_one_token_and_comes_back(self, tokenizer: Any) -> None:
        for word in words():
            ids = tokenizer.encode(word, add_special_tokens=False)
            assert len(ids) == 1, word
            assert tokenizer.decode(ids) == word

    def test_captions_and_sentences_come_back(self, tokenizer: Any) -> None:
        scenes, rng = Scenes(30), np.random.default_rng(0)
        captions = [r for i in range(30) for r in scenes[i].references]
        for text in captions:
            assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
        for text in (sentence(rng) for _ in range(200)):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")
        terse = [scenes.scene(i).terse() for i in range(30)]
        pieces = tokenizer.convert_ids_to_tokens([k for t in captions + terse for k in tokenizer.encode(t)])
        assert [p for p in pieces if p.startswith("##")] == [], "a word of the scenes is spelled"

    def test_an_unknown_word_is_spelled(self, tokenizer: Any) -> None:
        ids = tokenizer.encode("Zyzzyva 42", add_special_tokens=False)
        assert tokenizer.convert_ids_to_tokens(ids) == ["z", *(f"##{c}" for c in "yzzyva"), "4", "##2"]
        assert tokenizer.decode(ids) == "zyzzyva 42"

    def test_case_and_accents_are_levelled_and_the_rest_is_unknown(self, tokenizer: Any) -> None:
        assert tokenizer.decode(tokenizer.encode("A RÉD Bäll")) == "a red ball"
        assert tokenizer.encode("猫") == [tokenizer.unk_token_id]

    @pytest.mark.parametrize("token", SPECIAL)
    def test_special_tokens_are_single(self, tokenizer: Any, token: str) -> None:
        assert tokenizer.encode(f"a{token}b", add_special_tokens=False) == [
            tokenizer.convert_tokens_to_ids(piece) for piece in ("a", token, "b")
        ]

    def test_special_tokens_can_be_left_out(self, tokenizer: Any) -> None:
        assert tokenizer.decode(tokenizer.encode("<image>a cat<eos><pad>"), skip_special_tokens=True) == "a cat"
        assert tokenizer.padding_side == "left"


class TestSavedFolder:
    def test_the_auto_classes_open_it(self, tiny_folder: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

        processor = AutoProcessor.from_pretrained(tiny_folder)
        model = AutoModelForImageTextToText.from_pretrained(tiny_folder)
        assert isinstance(model, LlavaForConditionalGeneration)
        assert model.dtype == torch.float32
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe the image."}]}]
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        assert text == "<user><image>describe the image.<assistant>"
        inputs = processor(images=[Numbers()[0].image], text=[text], return_tensors="pt")
        assert (inputs["input_ids"] == model.config.image_token_index).sum() == 9
        output = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        assert output.shape[1] <= inputs["input_ids"].shape[1] + 3

    def test_weights_are_half_precision_safetensors_with_a_record(self, tiny_folder: Path) -> None:
        files = {p.name for p in tiny_folder.iterdir()}
        assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "training.json"} <= files
        assert not [f for f in files if f.endswith((".bin", ".pt", ".pkl"))]
        assert {v.dtype for v in load_file(tiny_folder / "model.safetensors").values()} == {torch.float16}
        record = json.loads((tiny_folder / "training.json").read_text())
        assert {"config", "seconds", "versions", "sha256"} <= record.keys()

    def test_a_conversation_ends_each_answer(self, tiny: VisionLanguageModel) -> None:
        turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a cat"}]
        text = tiny.processor.apply_chat_template([*turns, {"role": "user", "content": "why"}])
        assert text == "<user>hi<assistant>a cat<eos><user>why"

    def test_the_same_seed_gives_the_same_weights(self, tiny_folder: Path, tmp_path: Path) -> None:
        again, other = write(tmp_path / "again"), write(tmp_path / "other", seed=1)
        first = (tiny_folder / "model.safetensors").read_bytes()
        assert (again / "model.safetensors").read_bytes() == first
        assert (other / "model.safetensors").read_bytes() != first


class TestLoad:
    def test_by_folder(self, tiny: VisionLanguageModel, tiny_folder: Path) -> None:
        assert tiny.name == str(tiny_folder)
        assert tiny.family is FAMILIES["llava"]
        assert not tiny.adapted
        assert not tiny.model.training
        assert tiny.tokenizer.padding_side == "left"
        assert tiny.model.dtype == torch.float32
        assert torch.equal(logits(tiny), logits(load(str(tiny_folder), device="cpu")))

    def test_by_name(self, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
        monkeypatch.setattr("pcvr.models.zoo.CHECKPOINTS", tiny_folder.parent)
        request.addfinalizer(lambda: EMBEDDED.unregister(tiny_folder.name))
        EMBEDDED.register(tiny_folder.name, _renamed(tiny_folder.name))
        assert load(tiny_folder.name, device="cpu").name == tiny_folder.name

    @pytest.mark.parametrize("name", shipped())
    def test_the_shipped_checkpoints(self, name: str) -> None:
        entry = embedded(name)
        vlm = load(name, device="cpu")
        assert vlm.model.config.vision_config.image_size == IMAGE_PX
        assert vlm.model.config.vision_config.patch_size == entry.patch
        assert vlm.tokenizer.get_vocab() == entry.build_processor().tokenizer.get_vocab()
        assert (entry.folder / "model.safetensors").stat().st_size <= 6_000_000

    def test_dtype(self, tiny_folder: Path) -> None:
        assert load(tiny_folder, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16
        assert load(tiny_folder, device="cpu", dtype=torch.float16).model.dtype == torch.float16

    def test_copies_are_independent(self, tiny: VisionLanguageModel) -> None:
        before = logits(tiny)
        other = tiny.copy()
        assert torch.equal(logits(other), before)
        with torch.no_grad():
            for weights in other.model.parameters():
                weights.zero_()
        assert torch.equal(logits(tiny), before)

    def test_encode_pads_on_the_left(self, tiny: VisionLanguageModel) -> None:
        image = Numbers()[0].image
        inputs = tiny.encode([image, image], ["a", "describe the image."])
        assert inputs["attention_mask"][0].tolist() == sorted(inputs["attention_mask"][0].tolist())
        assert inputs["attention_mask"][:, -1].tolist() == [1, 1]
        assert inputs["pixel_values"].shape == (2, 3, 48, 48)

    def test_a_prompt_must_not_bring_its_own_image_token(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match=r"the prompt .* holds the image token '<image>'"):
            tiny.prompt("<image> what is this?")

    def test_parts_of_the_family(self, tiny: VisionLanguageModel) -> None:
        for vlm in (tiny, with_adapter(tiny.copy(), TrainConfig())):
            for part, kind in (("tower", "CLIPVision"), ("connector", "Projector"), ("language_model", "Llama")):
                assert kind in type(vlm.family.part(vlm.model, part)).__name__


def _renamed(name: str) -> Any:
    from dataclasses import replace

    return replace(EMBEDDED["tiny-llava"], name=name)


class TestNoModel:
    @pytest.mark.parametrize("name", ["tiny-lava", "Tiny_Llava"])
    def test_the_nearest_name_is_suggested(self, name: str) -> None:
        with pytest.raises(PcvrError, match="did you mean 'tiny-llava'"):
            load(name)

    @pytest.mark.parametrize("name", ["", "gpt", "./missing/folder", "/no/such/folder", "a/b/c"])
    def test_names_and_folders_that_are_none(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(PcvrError):
            load(name)

    def test_a_hub_id_without_a_network_is_one_sentence(self) -> None:
        with pytest.raises(PcvrError, match="model 'someone/some-model' could not be opened") as caught:
            load("someone/some-model")
        assert "\n" not in str(caught.value)

    def test_a_folder_without_a_config(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match=r"is not a checkpoint .*config\.json"):
            load(tmp_path)

    @pytest.mark.parametrize("device", ["gpu", "cuda:-1", ""])
    def test_no_such_device(self, tiny_folder: Path, device: str) -> None:
        with pytest.raises(PcvrError, match="device"):
            load(tiny_folder, device=device)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
    def test_no_such_device_on_this_machine(self, tiny_folder: Path) -> None:
        with pytest.raises(PcvrError, match="no device 'cuda' on this machine"):
            load(tiny_folder, device="cuda")

    def test_no_such_dtype(self, tiny_folder: Path) -> None:
        with pytest.raises(PcvrError, match="dtype"):
            load(tiny_folder, dtype="float99")

    @pytest.mark.parametrize(
        "damage",
        [
            lambda f: (f / "config.json").write_text("{"),
            lambda f: (f / "config.json").write_text("{}"),
            lambda f: (f / "config.json").write_text('{"model_type": "llama"}'),
            lambda f: (f / "config.json").write_text('{"model_type": "clip"}'),
            lambda f: (f / "model.safetensors").write_bytes(b""),
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:9999]),
            lambda f: (f / "model.safetensors").unlink(),
            lambda f: (f / "processor_config.json").unlink(),
            lambda f: (f / "tokenizer.json").unlink(),
            lambda f: (f / "config.json").write_text((f / "config.json").read_text().replace(": 344", ": 328")),
        ],
        ids="bad-json no-type language-only no-chat empty-weights cut-weights no-weights no-processor no-tokenizer "
        "other-shape".split(),
    )
    def test_a_damaged_folder_is_one_sentence(
        self, tiny_folder: Path, tmp_path: Path, damage: Callable[[Path], Any]
    ) -> None:
        folder = tmp_path / "model"
        shutil.copytree(tiny_folder, folder)
        damage(folder)
        with pytest.raises(PcvrError, match="model") as caught:
            load(folder)
        assert "\n" not in str(caught.value)

    def test_pickled_weights_are_refused(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        shutil.copytree(tiny_folder, folder)
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(PcvrError, match="safetensors"):
            load(folder)

    def test_an_architecture_without_an_entry(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        shutil.copytree(tiny_folder, folder)
        config = (folder / "config.json").read_text().replace('"model_type": "llava"', '"model_type": "git"')
        (folder / "config.json").write_text(config)
        with pytest.raises(PcvrError, match=r"'git' is not supported \(.*\): use one of .*llava"):
            load(folder, device="cpu")

    def test_embedded(self) -> None:
        with pytest.raises(PcvrError, match="did you mean 'tiny-llava'"):
            embedded("tiny-lava")


class TestAdapters:
    def test_it_comes_back(
        self, adapter: tuple[VisionLanguageModel, Path], tiny: VisionLanguageModel, tiny_folder: Path
    ) -> None:
        adapted, folder = adapter
        again = load(tiny_folder, adapter=folder, device="cpu")
        assert again.adapted
        assert not again.model.training
        assert (logits(again) - logits(tiny)).abs().max() > 0.1
        assert torch.allclose(logits(again), logits(adapted), atol=5e-3)

    def test_plain_peft_opens_it(self, adapter: tuple[VisionLanguageModel, Path], tiny_folder: Path) -> None:
        from peft import PeftModel
        from transformers import AutoModelForImageTextToText

        from pcvr.models.quiet import quiet_loading

        adapted, folder = adapter
        with quiet_loading():  # of a warning that transformers has for peft
            model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(tiny_folder), folder).eval()
        again = VisionLanguageModel("plain", model, adapted.processor, adapted.family)
        assert torch.allclose(logits(again), logits(adapted), atol=5e-3)

    def test_what_is_in_the_folder(self, adapter: tuple[VisionLanguageModel, Path], tiny_folder: Path) -> None:
        folder = adapter[1]
        names = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
        assert sorted(p.name for p in folder.iterdir()) == names
        weights = load_file(folder / "adapter_model.safetensors")
        assert {v.dtype for v in weights.values()} == {torch.float16}
        assert all("lora_" in name for name in weights)
        assert any("multi_modal_projector" in name for name in weights)
        assert not any("vision_tower" in name for name in weights)
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny_folder)

    def test_a_model_without_one_has_none_to_save(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="no adapter to save"):
            tiny.save_adapter(tmp_path / "a")
        assert list(tmp_path.iterdir()) == []

    def test_an_adapter_of_another_model(
        self, adapter: tuple[VisionLanguageModel, Path], tmp_path: Path, tiny_folder: Path
    ) -> None:
        wider = write(tmp_path / "wider", width=64)
        with pytest.raises(PcvrError, match=r"does not fit model .*: use the model it was trained on") as caught:
            load(wider, adapter=adapter[1], device="cpu")
        assert "\n" not in str(caught.value)

    def test_an_adapter_of_a_shallower_model(
        self, adapter: tuple[VisionLanguageModel, Path], tmp_path: Path, tiny_folder: Path
    ) -> None:
        folder = tmp_path / "shallow"
        shutil.copytree(adapter[1], folder)
        weights = load_file(folder / "adapter_model.safetensors")
        save_file({k: v for k, v in weights.items() if "layers.3" not in k}, folder / "adapter_model.safetensors")
        with pytest.raises(PcvrError, match="does not fit"):
            load(tiny_folder, adapter=folder, device="cpu")

    @pytest.mark.parametrize("damage", ["no folder", "no config", "no weights", "bad config", "cut weights"])
    def test_a_folder_that_is_no_adapter(
        self, adapter: tuple[VisionLanguageModel, Path], tiny_folder: Path, tmp_path: Path, damage: str
    ) -> None:
        folder = tmp_path / "adapter"
        if damage != "no folder":
            shutil.copytree(adapter[1], folder)
        config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
        if damage == "no config":
            config.unlink()
        elif damage == "no weights":
            weights.unlink()
        elif damage == "bad config":
            config.write_text("{")
        elif damage == "cut weights":
            weights.write_bytes(weights.read_bytes()[:500])
        with pytest.raises(PcvrError, match="adapter") as caught:
            load(tiny_folder, adapter=folder, device="cpu")
        assert "\n" not in str(caught.value)

    def test_shipped_ones_open_by_name(
        self, adapter: tuple[VisionLanguageModel, Path], tiny: VisionLanguageModel, tmp_path: Path, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("pcvr.models.adapter.ADAPTERS", tmp_path)
        shutil.copytree(adapter[1], tmp_path / "mine" / "clean")
        other = tiny.copy()
        other.name = "mine"
        assert adapter_names("mine") == ["clean"]
        with pytest.raises(PcvrError, match=r"comes with mine \(clean\)"):
            put_adapter(other, "dirty")
        assert torch.allclose(logits(put_adapter(other, "clean")), logits(adapter[0]), atol=5e-3)
