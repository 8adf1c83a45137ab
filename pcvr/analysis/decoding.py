"""How tokens become words: the distribution from which each word of an answer is taken, and greedy decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pcvr.data.sample import Image, Sample
from pcvr.errors import PcvrError
from pcvr.evaluation.generate import generate
from pcvr.models.encode import IGNORE, Batch, collate, encode_samples
from pcvr.models.forward import answer_logits
from pcvr.models.vocab import is_image, vocabulary

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class Steps:
    """One answer, step by step: what the model held likely before each of its A tokens.

    Attributes:
        prompt: what was asked.
        text: the answer.
        tokens: its A tokens, the end of the answer last.
        ids: their numbers in the vocabulary.
        probabilities: float32 ``[A, V]``; row t is conditioned on the picture, the prompt and the first t tokens.
        words: the V words of the vocabulary.
    """

    prompt: str
    text: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    probabilities: np.ndarray
    words: tuple[str, ...]

    @property
    def chosen(self) -> np.ndarray:
        """The probability of each of the answer's own tokens: ``[A]``."""
        return self.probabilities[np.arange(len(self.ids)), list(self.ids)]

    def top(self, step: int, count: int = 6) -> list[tuple[str, float]]:
        """The likeliest words at one step with their probabilities, likeliest first.

        Raises:
            PcvrError: the answer has no such step.
        """
        if not 0 <= step < len(self.ids):
            last = len(self.ids) - 1
            raise PcvrError(f"step {step} is outside an answer of {last + 1} tokens: give 0 to {last}.")
        order = np.argsort(-self.probabilities[step], kind="stable")[:count]
        return [(self.words[i], float(self.probabilities[step, i])) for i in order]


def decode_steps(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str | None = None) -> Steps:
    """What `vlm` holds likely before each word of an answer.

    Args:
        vlm: the model.
        image: uint8 ``[H, W, 3]``.
        prompt: what is asked.
        answer: the text that is read along; None takes the model's own greedy answer.

    Raises:
        PcvrError: prompt or answer hold the token that stands for a picture.
    """
    text = own_answer(vlm, image, prompt) if answer is None else answer
    with torch.inference_mode():
        packed = answer_logits(vlm, collate([read_along(vlm, image, prompt, text)], vlm.tokenizer.pad_token_id))
    return steps_of(vlm, prompt, text, packed.targets.tolist(), packed.logits)


def steps_of(vlm: VisionLanguageModel, prompt: str, text: str, ids: Sequence[int], logits: torch.Tensor) -> Steps:
    """The steps of an answer whose A token numbers and logits ``[A, V]`` are known."""
    words = vocabulary(vlm, logits.shape[1])
    shares = logits.float().softmax(-1).cpu().numpy()
    return Steps(prompt, text, tuple(words[i] for i in ids), tuple(ids), shares, words)


def own_answer(vlm: VisionLanguageModel, image: Image, prompt: str) -> str:
    """The model's greedy answer to one question."""
    return generate(vlm, [image], [prompt])[0]


def read_along(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str) -> Batch:
    """One question with an answer behind it as tensors without a batch axis, as `encode_samples` makes them."""
    return encode_samples(vlm, [Sample("asked", image, prompt, answer)])[0]


@dataclass(frozen=True)
class ModelInput:
    """What goes into the language model for one question: the prompt in its template, picture included.

    Attributes:
        tokens: the T tokens as words.
        ids: their numbers in the vocabulary.
        is_image: bool ``[T]``, which of them stand for the picture.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    is_image: np.ndarray


def model_input(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str | None = None) -> ModelInput:
    """The tokens of one question, and of an answer behind it where one is given."""
    row = read_along(vlm, image, prompt, answer or "")
    ids = row["input_ids"] if answer is not None else row["input_ids"][row["labels"] == IGNORE]
    numbers = tuple(ids.tolist())
    return ModelInput(tuple(vlm.tokenizer.convert_ids_to_tokens(list(numbers))), numbers, is_image(vlm, ids))


def greedy(next_logits: Callable[[list[int]], Any], end: int, limit: int) -> list[int]:
    """Greedy decoding: take the likeliest token, read it, and go on.

    Args:
        next_logits: the answer's tokens so far -> logits ``[V]`` of the next one.
        end: the token that ends an answer.
        limit: tokens at most.

    Returns:
        The answer's tokens without `end`.
    """
    answer: list[int] = []
    while len(answer) < limit:
        likeliest = int(next_logits(list(answer)).argmax())
        if likeliest == end:
            break
        answer.append(likeliest)
    return answer


def next_logits(vlm: VisionLanguageModel, image: Image, prompt: str) -> Callable[[Sequence[int]], torch.Tensor]:
    """A function that says what `vlm` would say next about one picture: the answer's tokens so far -> logits ``[V]``.

    It reads everything again at each call, which is simple and slow; `pcvr.generate` keeps what it has read. The token
    that stands for a picture is never likely: whoever read it would look for a second picture.
    """
    asked = vlm.encode([image], [prompt])
    forbidden = vlm.base.config.image_token_id

    @torch.inference_mode()
    def logits(so_far: Sequence[int]) -> torch.Tensor:
        behind = torch.tensor([list(so_far)], dtype=torch.long, device=vlm.device)
        more = {"input_ids": behind, "attention_mask": torch.ones_like(behind), "mm_token_type_ids": 0 * behind}
        inputs = {k: torch.cat([v, more[k]], dim=1) if k in more else v for k, v in asked.items()}
        found: torch.Tensor = vlm.model(**inputs, use_cache=False).logits[0, -1].float()
        return found.index_fill(0, torch.tensor(forbidden, device=found.device), -torch.inf)

    return logits
