"""Hostile model folders: weights, configs, processors, names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pcvr import VisionLanguageModel, generate, load
from pcvr.models.load import describe
from tests.hostile.catalogue import Act, Case, Works, every
from tests.tiny import Numbers, write

BINARY = bytes(range(256)) * 4
DEEP = "[" * 200_000
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is spoilt, shared through `_FOLDER`: cases are written before a test runs."""
    _FOLDER.append(write(tmp_path_factory.mktemp("models") / "good"))
    return _FOLDER[-1]


_FOLDER: list[Path] = []


def copy(work: Path) -> Path:
    return Path(shutil.copytree(_FOLDER[-1], work / "model"))


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Act:
    """Open the model after a change of its weights."""

    def act(work: Path) -> VisionLanguageModel:
        folder = copy(work)
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        return load(folder, device="cpu")

    return act


def file(name: str, content: str | bytes, opening: Callable[..., Any] = load) -> Act:
    """Open the model with another content of one file."""

    def act(work: Path) -> Any:
        folder = copy(work)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return opening(str(folder), device="cpu")

    return act


def entry(name: str, change: Change, opening: Callable[..., Any] = load) -> Act:
    """Open the model with a change of one of its JSON files."""

    def act(work: Path) -> Any:
        folder = copy(work)
        told = json.loads((folder / name).read_text())
        change(told)
        (folder / name).write_text(json.dumps(told))
        return opening(str(folder), device="cpu")

    return act


def spoilt(change: Callable[[Path], Any]) -> Act:
    def act(work: Path) -> VisionLanguageModel:
        folder = copy(work)
        change(folder)
        return load(folder, device="cpu")

    return act


def halved(state: dict[str, torch.Tensor]) -> None:
    for name in sorted(state)[::2]:
        del state[name]


def filled(value: float, part: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    def change(state: dict[str, torch.Tensor]) -> None:
        state[next(name for name in state if part in name)].view(-1)[3] = value

    return change


def changed(change: Callable[[dict[str, torch.Tensor], str], Any]) -> Act:
    """A change that gets the key of the language model's last norm too."""
    return weights(lambda state: change(state, next(name for name in state if name.endswith("model.norm.weight"))))


OLD = {"model.vision_tower.embeddings.position_ids": torch.arange(10)[None], "model.x.inv_freq": torch.ones(4)}


@every(
    Case("half the weights", weights(halved), "missing", "more", "not those that its config.json describes"),
    Case("one weight missing", changed(lambda s, norm: s.pop(norm)), "missing", "norm.weight"),
    Case("a weight of nobody", changed(lambda s, norm: s.update(extra=s[norm] * 1)), "unknown", "'extra'"),
    Case("another shape", changed(lambda s, norm: s.update({norm: torch.ones(7)})), "of another shape", "norm"),
    Case("a NaN", weights(filled(float("nan"), "up_proj")), "NaN or infinite", "up_proj"),
    Case("an infinity in the tower", weights(filled(float("inf"), "vision_tower")), "NaN or infinite", "vision_tower"),
    Case("no weights at all", weights(dict.clear), "missing", "more"),
    Works("buffers of older checkpoints", weights(lambda s: s.update(OLD)), lambda vlm: not vlm.adapted),
    Works("tied weights left out", weights(lambda s: s.pop("lm_head.weight", None))),
    Case("an adapter's config beside the model", file("adapter_config.json", "{}"), "adapter_config.json beside"),
    Case(
        "an adapter as a model",
        spoilt(lambda f: (f / "config.json").rename(f / "adapter_config.json")),
        "holds an adapter",
        "adapter=",
    ),
)
def test_weights(case: Case | Works, tmp_path: Path, llava: Path) -> None:
    case.hold(tmp_path)


CONFIG = "config.json"
CONFIGS: dict[str, Callable[[Callable[..., Any]], Act]] = {
    "empty": lambda to: file(CONFIG, "{}", to),
    "a list": lambda to: file(CONFIG, "[]", to),
    "null": lambda to: file(CONFIG, "null", to),
    "binary": lambda to: file(CONFIG, BINARY, to),
    "200,000 brackets": lambda to: file(CONFIG, DEEP, to),
    "200,000 objects": lambda to: file(CONFIG, '{"a":' * 200_000, to),
    "no file content": lambda to: file(CONFIG, "", to),
    "a type of language": lambda to: entry(CONFIG, lambda c: c.update(model_type="llama"), to),
    "a type of nobody": lambda to: entry(CONFIG, lambda c: c.update(model_type="nobody"), to),
    "a type that is a list": lambda to: entry(CONFIG, lambda c: c.update(model_type=["llava"]), to),
    "a type that is null": lambda to: entry(CONFIG, lambda c: c.update(model_type=None), to),
    "a vision config of text": lambda to: entry(CONFIG, lambda c: c.update(vision_config="clip"), to),
    "a vision config of a list": lambda to: entry(CONFIG, lambda c: c.update(vision_config=[1]), to),
    "a text config of a number": lambda to: entry(CONFIG, lambda c: c.update(text_config=3), to),
    "layers as text": lambda to: entry(CONFIG, lambda c: c["text_config"].update(num_hidden_layers="four"), to),
    "layers as a list": lambda to: entry(CONFIG, lambda c: c["text_config"].update(num_hidden_layers=[4]), to),
    "no layers": lambda to: entry(CONFIG, lambda c: c["text_config"].update(num_hidden_layers=None), to),
    "a billion layers": lambda to: entry(CONFIG, lambda c: c["text_config"].update(num_hidden_layers=10**9), to),
    "a deep tower": lambda to: entry(CONFIG, lambda c: c["vision_config"].update(num_hidden_layers=10**9), to),
    "no heads": lambda to: entry(CONFIG, lambda c: c["text_config"].update(num_attention_heads=0), to),
    "no patch": lambda to: entry(CONFIG, lambda c: c["vision_config"].update(patch_size=0), to),
    "a patch of text": lambda to: entry(CONFIG, lambda c: c["vision_config"].update(patch_size="16"), to),
    "a negative width": lambda to: entry(CONFIG, lambda c: c["text_config"].update(hidden_size=-8), to),
    "an endless vocabulary": lambda to: entry(CONFIG, lambda c: c["text_config"].update(vocab_size=10**30), to),
    "a dtype of nobody": lambda to: entry(CONFIG, lambda c: c.update(dtype="float99"), to),
    "a Pixtral tower": lambda to: entry(CONFIG, lambda c: c.update(vision_config={"model_type": "pixtral"}), to),
}


@every(*(Case(name, make(load), "model") for name, make in CONFIGS.items()))
def test_configs_at_load(case: Case | Works, tmp_path: Path, llava: Path) -> None:
    case.hold(tmp_path)


NO_SHAPE = ("heads", "patch", "dtype", "Pixtral")
"""What a description, which needs shapes alone, may get over."""


@every(
    *(Case(name, make(describe), "model") for name, make in CONFIGS.items() if not any(w in name for w in NO_SHAPE)),
)
def test_configs_at_describe(case: Case | Works, tmp_path: Path, llava: Path) -> None:
    case.hold(tmp_path)


PROCESSOR, TOKENIZER = "processor_config.json", "tokenizer_config.json"


def without(name: str, key: str) -> Act:
    return entry(name, lambda told: told.pop(key))


def says_something(vlm: VisionLanguageModel) -> bool:
    sample = Numbers(1)[0]
    expected = generate(load(_FOLDER[-1], device="cpu"), [sample.image], [sample.prompt], 4)
    return generate(vlm, [sample.image], [sample.prompt], 4) == expected


def template(content: str) -> Act:
    return file("chat_template.jinja", content)


@every(
    Works("no patch size", without(PROCESSOR, "patch_size"), says_something),
    Works("no feature strategy", without(PROCESSOR, "vision_feature_select_strategy"), says_something),
    Works("no class token", without(PROCESSOR, "num_additional_image_tokens"), says_something),
    Works("no pad token", without(TOKENIZER, "pad_token"), lambda vlm: vlm.tokenizer.pad_token == "<eos>"),
    Case("no pad and no end", entry(TOKENIZER, lambda t: [t.pop("pad_token"), t.pop("eos_token")]), "pad_token"),
    Case("no template", spoilt(lambda f: (f / "chat_template.jinja").unlink()), "processor", "chat template"),
    Case("a template that shows no picture", template("{{ 'hi' }}"), "processor", "chat template"),
    Case("a template that is not closed", template("{% for m in messages %}"), "chat template"),
    Case("a template that breaks out", template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "SecurityError"),
    Case("a template that divides by zero", template("{{ 1 / 0 }}"), "ZeroDivisionError"),
    Case("a template that counts for ever", template("{% for i in range(10**12) %}{% endfor %}"), "OverflowError"),
    Case("binary template", file("chat_template.jinja", BINARY), "model"),
    Case("binary processor", file(PROCESSOR, BINARY), "model"),
    Case("empty processor", file(PROCESSOR, "{}"), "model"),
    Case("deep processor", file(PROCESSOR, DEEP), "model"),
    Case("binary tokenizer", file("tokenizer.json", BINARY), "model"),
    Case("empty tokenizer", file("tokenizer.json", "{}"), "model"),
    Case("deep tokenizer config", file(TOKENIZER, DEEP), "model"),
    Case("patch size as text", entry(PROCESSOR, lambda p: p.update(patch_size="big")), "processor"),
    Case("patch size of zero", entry(PROCESSOR, lambda p: p.update(patch_size=0)), "processor"),
    Works("binary generation config", file("generation_config.json", BINARY), says_something),
    Case("binary weights", file("model.safetensors", BINARY), "model"),
)
def test_processors(case: Case | Works, tmp_path: Path, llava: Path) -> None:
    case.hold(tmp_path)


@every(
    Case("300 characters", lambda work: load("x" * 300), "unknown model"),
    Case("300 characters of a folder", lambda work: load("/" + "x" * 300), "unknown model"),
    Case("a NUL", lambda work: load("a\0b"), "unknown model"),
    Case("nothing", lambda work: load(""), "unknown model"),
    Case("a number", lambda work: load(3), "model is 3", "hub id"),  # type: ignore[arg-type]
    Case("a hub id of 300 characters", lambda work: describe("org/" + "x" * 300), "model"),
    Case("meta as a device", lambda work: load("tiny-llava", device="meta"), "device", "'meta'"),
    Case("the 99th GPU", lambda work: load("tiny-llava", device="cuda:99"), "'cuda:99'"),
    Case("no device", lambda work: load("tiny-llava", device=None), "device", "None"),  # type: ignore[arg-type]
    Case("a whole dtype", lambda work: load(_FOLDER[-1], device="cpu", dtype="int8"), "dtype"),
    Case("an adapter of 300 characters", lambda work: load("tiny-llava", adapter="x" * 300), "adapter is", "255 bytes"),
)
def test_names(case: Case | Works, tmp_path: Path, llava: Path) -> None:
    case.hold(tmp_path)
