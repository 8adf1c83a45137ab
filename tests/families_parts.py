"""Parts of tiny models: sizes, a byte-level tokenizer with the marks of a family, and the commonest chat template."""

from __future__ import annotations

from typing import Any

from tests.byte_level import SENTENCES

SIDE_PX, WIDTH = 28, 16

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(begin: str | None, end: str, **marks: str) -> Any:
    """A byte-level tokenizer; `marks` are special tokens, each under its name ending in ``_token``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = dict.fromkeys(("<pad>", end, *([begin] if begin else []), *marks.values()))
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    if begin:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A $B:1", special_tokens=[(begin, backend.token_to_id(begin))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token=end,
        bos_token=begin,
        extra_special_tokens={f"{name}_token": mark for name, mark in marks.items()},
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def text(words: Any, **more: Any) -> dict[str, Any]:
    """Sizes of a small language model over the tokenizer `words`."""
    return {
        "vocab_size": len(words),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id,
        "bos_token_id": words.bos_token_id,
        **more,
    }


def vision(**more: Any) -> dict[str, Any]:
    """Sizes of a small tower."""
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE_PX,
        "patch_size": 14,
        **more,
    }


def square(side: int = SIDE_PX) -> dict[str, int]:
    return {"height": side, "width": side}


def video_part(name: str) -> Any:
    """The part of a processor for videos, which needs torchvision."""
    import transformers

    return getattr(transformers, name)()
