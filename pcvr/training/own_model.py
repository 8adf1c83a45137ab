"""Somebody else's model, processor and options, as this package's own."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import nn

from pcvr.defenses import Defense, get_defense
from pcvr.defenses.pcvr.config import PCVRConfig
from pcvr.defenses.pcvr.defense import PCVR
from pcvr.errors import PcvrError, shown
from pcvr.models.families import family_of
from pcvr.models.vlm import VisionLanguageModel


def as_vlm(model: Any, processor: Any = None) -> VisionLanguageModel:
    """Return a transformers or peft model with its processor as a `VisionLanguageModel`; one from `pcvr.load` as it is.

    Raises:
        PcvrError: it is wrapped or sharded, its family is unknown, or the processor takes no images.
    """
    if isinstance(model, VisionLanguageModel):
        return model
    check_unwrapped(model)
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise PcvrError(
            f"processor is {shown(processor)}: give the model's own, AutoProcessor.from_pretrained(...), which "
            "prepares images too; a tokenizer alone does not."
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise PcvrError(
            "the adapter was added with model.add_adapter(): wrap the model with peft.get_peft_model(model, config)."
        )
    _check_adapter(model)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    name = str(getattr(base.config, "_name_or_path", "") or base.config.model_type)
    return VisionLanguageModel(name, model, processor, family_of(base))


def _check_adapter(model: Any) -> None:
    """Raise where an adapter makes rows longer, so that logits and labels no longer stand side by side."""
    for config in getattr(model, "peft_config", {}).values():
        # Prefix tuning learns keys and values, and leaves the rows as they are.
        if getattr(config, "is_prompt_learning", False) and config.peft_type != "PREFIX_TUNING":
            raise PcvrError(
                f"the adapter is {config.peft_type.value}, which puts learned tokens in front of every sample: PCVR "
                "reads the logits at the places of the labels, so use LoRA or another adapter of weights."
            )


def as_reference(vlm: VisionLanguageModel, reference: Any = None) -> VisionLanguageModel | None:
    """Return the base model of a training; None for the model with its adapter off, where that is the base model.

    Args:
        vlm: the model in training.
        reference: a model with the base model's weights, or None.

    Raises:
        PcvrError: the reference is the model itself, or there is none and weights beside the adapter are trained.
    """
    if reference is not None:
        base = as_vlm(reference, vlm.processor)
        if base.model is vlm.model:
            raise PcvrError("reference is the model in training itself: give a frozen copy from before the training.")
        return base
    if vlm.adapted and (name := _drifting(vlm.model)) is not None:
        raise PcvrError(
            f"{name} is trained beside the adapter, so the model without its adapter does not stay the base model: "
            "give reference=, a frozen copy from before the training, or name it in LoraConfig(modules_to_save=...)."
        )
    return None


def _drifting(model: nn.Module) -> str | None:
    """Return a trained weight that stays when adapters are turned off, such as an unfrozen projector or a bias."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    turned_off = {id(each) for name, each in model.named_parameters() if "prompt_encoder." in name}
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            turned_off |= {id(each) for each in module.modules_to_save.parameters()}
        elif isinstance(module, BaseTunerLayer):
            base = getattr(module, "base_layer", None)
            below = set() if base is None else {id(each) for each in base.parameters()}
            turned_off |= {id(each) for each in module.parameters()} - below
    trained = ((name, each) for name, each in model.named_parameters() if each.requires_grad)
    return next((name for name, each in trained if id(each) not in turned_off), None)


def kind_of(rule: Defense) -> str:
    """Return which defence a saved state is of: its name, and the gate of PCVR."""
    return f"{rule.name} with gate {rule.gate!r}" if isinstance(rule, PCVRConfig) else rule.name


def check_unwrapped(model: Any) -> None:
    """Raise unless `model` is a model that can be run past any wrapper.

    Raises:
        PcvrError: it is something else, or wrapped for several processes, or sharded.
    """
    if not isinstance(model, nn.Module):
        raise PcvrError(f"model is {shown(model)}: give a transformers or peft model.")
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if kinds & {"FullyShardedDataParallel", "FSDPModule", "DeepSpeedEngine"}:
        raise PcvrError(
            f"the model is a {type(model).__name__}, sharded over processes that would wait for each other: PCVR runs "
            "it as often as its samples need, so give the whole model to each process."
        )
    if kinds & {"DistributedDataParallel", "DataParallel"}:
        raise PcvrError(
            f"the model is a {type(model).__name__}: give model.module, and average the gradients over the processes "
            "before each optimiser step with reg.average_gradients()."
        )


def as_rule(given: PCVRConfig | Defense | str | None) -> Defense:
    """Return the defence that options or a name stand for; None stands for PCVR with its defaults.

    Raises:
        PcvrError: an unknown name, something else, or a defence that is more than a loss on batches.
    """
    if given is None:
        return PCVR()
    if type(given) is PCVRConfig:
        return PCVR(**{each.name: getattr(given, each.name) for each in fields(given)})
    if not isinstance(given, Defense | str):
        raise PcvrError(f"pcvr is {shown(given)}: give a pcvr.PCVRConfig, such as PCVRConfig(apart_weight=2.0).")
    rule = get_defense(given)
    if rule.needs_clean or type(rule).train is not Defense.train or rule.answers_at_test_time():
        raise PcvrError(
            f"defence {rule.name!r} needs trusted samples, trains in stages or acts at test time, which is more than a "
            "loss on batches: use pcvr.finetune()."
        )
    return rule
