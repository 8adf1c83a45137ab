"""Hostile adapter folders: configs, weights, and adapters of other models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pcvr import TrainConfig, VisionLanguageModel, load
from pcvr.models.adapter import ADAPTERS, put_adapter
from pcvr.models.zoo import shipped
from pcvr.training.finetune import with_adapter
from tests.hostile.catalogue import Act, Case, Works, every
from tests.tiny import write

BINARY = bytes(range(256)) * 4
DEEP = "[" * 200_000
TINY: list[VisionLanguageModel] = []
GOOD: list[Path] = []
"""Folder of the model `TINY`, and of an adapter of it: cases are written before a test runs."""


@pytest.fixture(scope="module")
def folders(tiny_folder: Path, tiny: VisionLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    adapted = with_adapter(tiny.copy(), TrainConfig(lora_r=2, lora_alpha=4))
    TINY[:] = [tiny]
    GOOD[:] = [tiny_folder, adapted.save_adapter(tmp_path_factory.mktemp("adapters") / "good")]
    return GOOD


def copy(work: Path) -> Path:
    return Path(shutil.copytree(GOOD[1], work / "adapter"))


def config(**changes: Any) -> Act:
    """Put the adapter on after a change of its config."""

    def act(work: Path) -> VisionLanguageModel:
        folder = copy(work)
        told = json.loads((folder / "adapter_config.json").read_text()) | changes
        (folder / "adapter_config.json").write_text(json.dumps(told))
        return put_adapter(TINY[0].copy(), folder)

    return act


def file(name: str, content: str | bytes) -> Act:
    def act(work: Path) -> VisionLanguageModel:
        folder = copy(work)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return put_adapter(TINY[0].copy(), folder)

    return act


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Act:
    def act(work: Path) -> VisionLanguageModel:
        folder = copy(work)
        state = load_file(folder / "adapter_model.safetensors")
        change(state)
        save_file(state, folder / "adapter_model.safetensors")
        return put_adapter(TINY[0].copy(), folder)

    return act


def runs_code(work: Path) -> VisionLanguageModel:
    """What peft up to 0.19 imported: a module that the config names, found in the folder one works in."""
    (work / "stranger.py").write_text("raise SystemExit('code of an adapter was run')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(work))
        return config(megatron_core="stranger", megatron_config={"a": 1})(work)


def first(state: dict[str, torch.Tensor], value: float) -> None:
    state[sorted(state)[-1]].view(-1)[0] = value


def lost(state: dict[str, torch.Tensor]) -> None:
    for name in sorted(state)[::3]:
        del state[name]


BAD_FIELDS: dict[str, tuple[Any, ...]] = {
    "r": (None, "8", [8], 0, -1, 2.5, True, 10**9, {}),
    "lora_alpha": (None, "16", [], float("nan"), float("inf"), 0, False),
    "lora_dropout": ("0", None, -1, 1, float("nan")),
    "target_modules": (None, [], "", 3, {}, [1], "(q_proj", "[a-", "*x", "(?P<a>", [None]),
    "exclude_modules": (3, "(", [2]),
    "rank_pattern": ([], 3, {"(": 8}, {"q_proj": "8"}, {"q_proj": None}),
    "alpha_pattern": ("x", {"q_proj": []}),
    "layers_to_transform": ("1", [None], {}),
    "use_rslora": ("yes", None, 1),
    "peft_type": (None, "IA3", "lora", [], "PROMPT_TUNING"),
    "base_model_name_or_path": (3, ["a"], {}),
}
NOT_PLAIN: dict[str, Any] = {
    "megatron_config": {"a": 1},
    "megatron_core": "os",
    "auto_mapping": {"base_model_class": "system", "parent_library": "os"},
    "layer_replication": [[0, 4], [2, 5]],
    "loftq_config": {"loftq_bits": 4},
    "modules_to_save": ["lm_head"],
    "trainable_token_indices": [1],
    "target_parameters": ["x"],
    "use_dora": True,
    "use_qalora": True,
    "lora_bias": True,
    "fan_in_fan_out": True,
    "bias": "all",
    "init_lora_weights": "pissa",
    "eva_config": {"rho": 2},
    "alora_invocation_tokens": [1],
    "runtime_hook": "module:function",
}


@every(
    *(
        Case(f"{name} {value!r}", config(**{name: value}), "adapter", name.removesuffix("_modules"))
        for name, values in BAD_FIELDS.items()
        for value in values
    ),
    *(Case(name, config(**{name: value}), "only plain LoRA", name) for name, value in NOT_PLAIN.items()),
    Case("a module to import", runs_code, "only plain LoRA", "megatron"),
    Case("empty", file("adapter_config.json", "{}"), "peft_type"),
    Case("nothing", file("adapter_config.json", ""), "adapter config"),
    Case("a list", file("adapter_config.json", "[]"), "adapter config"),
    Case("binary", file("adapter_config.json", BINARY), "adapter config"),
    Case("200,000 brackets", file("adapter_config.json", DEEP), "adapter config", "deep"),
    Case("only a type", file("adapter_config.json", '{"peft_type": "LORA"}'), "'r'"),
    Case("modules of nobody", config(target_modules="nothing_has_this_name"), "does not fit"),
    Case("more modules than weights", config(target_modules=".*language_model.*mlp.*"), "does not fit"),
    Case("the tower's modules", config(target_modules=".*vision_tower.*k_proj"), "does not fit"),
    Works("what peft notes of the base", config(auto_mapping={"parent_library": "transformers.models.llava"})),
    Works("older releases' fields only", config(velora_config=None, kasa_config=None), lambda vlm: vlm.adapted),
    Works("no patterns", config(rank_pattern=None, alpha_pattern=None), lambda vlm: vlm.adapted),
)
def test_configs(case: Case | Works, tmp_path: Path, folders: list[Path]) -> None:
    case.hold(tmp_path)


@every(
    Case("a NaN", weights(lambda s: first(s, float("nan"))), "does not fit", "NaN or infinite"),
    Case("an infinity", weights(lambda s: first(s, float("inf"))), "does not fit", "NaN or infinite"),
    Case("a third missing", weights(lost), "does not fit", "missing", "more"),
    Case("no weights", weights(dict.clear), "does not fit", "missing"),
    Case("weights of nobody", weights(lambda s: s.update({"base_model.model.x.lora_A.weight": torch.ones(2, 2)})), "x"),
    Case("another rank", config(r=3), "does not fit", "size mismatch"),
    Case("binary weights", file("adapter_model.safetensors", BINARY), "does not fit"),
    Case("no weights file", file("adapter_model.safetensors", b""), "does not fit"),
)
def test_weights(case: Case | Works, tmp_path: Path, folders: list[Path]) -> None:
    case.hold(tmp_path)


def on(name: str, adapter: Path) -> Act:
    return lambda work: load(name, adapter=adapter, device="cpu")


OTHERS = {name: ADAPTERS / name / "caption-clean" for name in shipped()}


@every(
    *(
        Case(f"of {theirs} on {name}", on(name, folder), "does not fit", f"trained on '{theirs}'")
        for name in shipped()
        for theirs, folder in OTHERS.items()
        if theirs != name
    ),
    Works("of its own", on("tiny-llava", OTHERS["tiny-llava"]), lambda vlm: vlm.adapted),
    Works("a copy of its model", lambda work: on(copied("tiny-llava", work), OTHERS["tiny-llava"])(work)),
    Case("a copy of another", lambda work: on(copied("tiny-blip2", work), OTHERS["tiny-llava"])(work), "does not fit"),
    Case("of llava on a folder of blip2", lambda work: on(str(GOOD[0]), OTHERS["tiny-blip2"])(work), "not fit"),
    Case("of another width", lambda work: load(write(work / "wide", width=64), GOOD[1], "cpu"), "size mismatch"),
    Works("base not named", config(base_model_name_or_path=None), lambda vlm: vlm.adapted),
    Works("base under another path", config(base_model_name_or_path="/mnt/models/x"), lambda vlm: vlm.adapted),
)
def test_bases(case: Case | Works, tmp_path: Path, folders: list[Path]) -> None:
    case.hold(tmp_path)


def copied(name: str, work: Path) -> str:
    from pcvr.models.zoo import embedded

    return str(shutil.copytree(embedded(name).folder, work / "a copy"))


def test_hub_ids_are_compared(tiny: VisionLanguageModel, folders: list[Path], tmp_path: Path) -> None:
    def named(base: str, model: str) -> VisionLanguageModel:
        folder = copy(tmp_path / f"{base} {model}".replace("/", "-"))
        told = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": base}
        (folder / "adapter_config.json").write_text(json.dumps(told))
        other = tiny.copy()
        other.name = model
        return put_adapter(other, folder)

    assert named("org/model-7b", "mirror/Model-7B").adapted
    assert named("./models/x", "org/model-7b").adapted
    with pytest.raises(ValueError, match=r"trained on 'org/model-7b'"):
        named("org/model-7b", "org/model-7b-coco")
    with pytest.raises(ValueError, match=r"trained on 'org/model-7b'"):
        named("org/model-7b", "tiny-llava")


def test_a_refused_adapter_leaves_the_model_as_it_was(
    tiny: VisionLanguageModel, folders: list[Path], tmp_path: Path
) -> None:
    vlm = tiny.copy()
    folder = copy(tmp_path)
    state = load_file(folder / "adapter_model.safetensors")
    first(state, float("nan"))
    save_file(state, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="NaN"):
        put_adapter(vlm, folder)
    assert vlm.model.state_dict().keys() == tiny.model.state_dict().keys() and not vlm.adapted
    assert put_adapter(vlm, folders[1]).adapted
