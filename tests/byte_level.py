"""Byte-level tokenizers and chat templates as the released models of each family have them.

The embedded models' tokenizer knows words, so that a lost space does not show; here " two" and "two" are different.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from tests.families import BUILDERS, Pair

SENTENCES = (
    "what is there to see in the picture?",
    "a red ball, two cats and a dog.",
    "Question: how many? Answer: two",
    "USER: describe the image. ASSISTANT: yes",
    "User:what is it?\nAssistant: a photo of the banana",
)
SMOLVLM = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}"
    "{% if m['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% else %}<image>{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
LLAVA = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for c in m['content'] | selectattr('type', 'equalto', 'image') %}<image>\n{% endfor %}"
    "{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}{{ c['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
LLAVA_NEXT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] "
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    " [/INST]{% else %}{{ ' ' + m['content'][0]['text'] + '</s>' }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><image><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STYLES: dict[str, tuple[str | None, str, str | None]] = {
    "llava": (LLAVA, "</s>", "<s>"),
    "llava_next": (LLAVA_NEXT, "</s>", "<s>"),
    "blip-2": (None, "</s>", "</s>"),
    "instructblip": (None, "</s>", "<s>"),
    "idefics3": (SMOLVLM.replace("<|im_start|>", "<|begin_of_text|>"), "<|end_of_text|>", "<|begin_of_text|>"),
    "smolvlm": (SMOLVLM, "<end_of_utterance>", "<|im_start|>"),
    "qwen2_vl": (CHATML, "<|im_end|>", None),
    "qwen2_5_vl": (CHATML, "<|im_end|>", None),
}
"""Chat template, end token and beginning token of each family."""


def tokenizer(marks: tuple[str, ...], end: str, begin: str | None) -> Any:
    """A byte-level BPE tokenizer learned from :data:`SENTENCES`; it writes `begin` before a text, as OPT's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = dict.fromkeys(("<pad>", end, *([begin] if begin else []), "<end_of_utterance>", "<|im_start|>", *marks))
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
        ),
    )
    if begin:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, backend.token_to_id(begin))]
        )
    names = {f"{mark.strip('<>').replace('-', '_')}_token": mark for mark in marks}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token=end,
        bos_token=begin,
        extra_special_tokens={**names, "end_of_turn_token": "<end_of_utterance>"},
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


@contextmanager
def byte_level(name: str) -> Iterator[None]:
    """Inside the block the builders of `tests.families` make model and processor of family `name` on bytes."""
    _, end, begin = STYLES[name.split()[0]]

    def build(marks: tuple[str, ...] = ("<image>",)) -> Any:
        return tokenizer(marks, end, begin)

    with ExitStack() as stack:
        for module in ("tests.families", *(f"pcvr.pretraining.tiny_{each}" for each in ("llava", "blip2", "idefics3"))):
            stack.enter_context(patch(f"{module}.build_tokenizer", build))
        yield


def build(name: str, **options: Any) -> Pair:
    """Model and processor of a family, with a byte-level tokenizer and a template as the released models have it."""
    with byte_level(name):
        model, processor = BUILDERS[name](**options)
    processor.chat_template = STYLES[name.split()[0]][0]
    return model, processor
