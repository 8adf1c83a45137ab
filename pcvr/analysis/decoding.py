"""How tokens become words: the distribution behind each word of an answer, and greedy decoding."""

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
from pcvr.models.of_tokens import OF_TOKENS, prolonged
from pcvr.models.vocab import is_image, vocabulary

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class Steps:
    """One answer step by step, with the model's distribution before each of its A tokens.

    Attributes:
        prompt: the prompt.
        text: the answer.
        tokens: its A tokens, the end of the answer last.
        ids: their ids in the vocabulary.
        probabilities: float32 ``[A, V]``; row t is conditioned on the image, the prompt and the first t tokens.
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
        """Return the likeliest words at one step with their probabilities, likeliest first.

        Raises:
            PcvrError: there is no such step.
        """
        if not 0 <= step < len(self.ids):
            last = len(self.ids) - 1
            raise PcvrError(f"step {step} is outside an answer of {last + 1} tokens: give 0 to {last}.")
        order = np.argsort(-self.probabilities[step], kind="stable")[:count]
        return [(self.words[i], float(self.probabilities[step, i])) for i in order]


def decode_steps(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str | None = None) -> Steps:
    """Return the distributions of `vlm` before each word of an answer.

    Args:
        vlm: the model.
        image: uint8 ``[H, W, 3]``.
        prompt: the prompt.
        answer: the text to read; None takes the model's own greedy answer.

    Raises:
        PcvrError: prompt or answer contain the image token.
    """
    text = own_answer(vlm, image, prompt) if answer is None else answer
    with torch.inference_mode():
        packed = answer_logits(vlm, collate([read_along(vlm, image, prompt, text)], vlm.tokenizer.pad_token_id))
    return steps_of(vlm, prompt, text, packed.targets.tolist(), packed.logits)


def steps_of(vlm: VisionLanguageModel, prompt: str, text: str, ids: Sequence[int], logits: torch.Tensor) -> Steps:
    """Build the steps of an answer from its A token ids and logits ``[A, V]``."""
    words = vocabulary(vlm, logits.shape[1])
    probabilities = logits.float().softmax(-1).cpu().numpy()
    return Steps(prompt, text, tuple(words[i] for i in ids), tuple(ids), probabilities, words)


def own_answer(vlm: VisionLanguageModel, image: Image, prompt: str) -> str:
    """Return the model's own greedy answer to one question, without its guard."""
    return generate(vlm, [image], [prompt], guard=False)[0]


def read_along(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str) -> Batch:
    """Encode one question with an answer, without a batch axis, as `encode_samples` does."""
    return encode_samples(vlm, [Sample("asked", image, prompt, answer)])[0]


@dataclass(frozen=True)
class ModelInput:
    """The input of the language model for one question: the prompt in its template, with the image.

    Attributes:
        tokens: the T tokens as words.
        ids: their ids in the vocabulary.
        is_image: bool ``[T]``, whether a token stands for a part of the image.
    """

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    is_image: np.ndarray


def model_input(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str | None = None) -> ModelInput:
    """Return the tokens of one question, and of an answer if one is given."""
    row = read_along(vlm, image, prompt, answer or "")
    ids = row["input_ids"] if answer is not None else row["input_ids"][row["labels"] == IGNORE]
    return ModelInput(tuple(vlm.tokenizer.convert_ids_to_tokens(ids.tolist())), tuple(ids.tolist()), is_image(vlm, ids))


def greedy(next_logits: Callable[[list[int]], Any], end: int, limit: int) -> list[int]:
    """Decode greedily: append the likeliest token until the answer ends.

    Args:
        next_logits: the answer's tokens so far -> logits ``[V]`` of the next one.
        end: the token that ends an answer.
        limit: largest number of tokens.

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
    """Return a function of `vlm` on one image: the answer's tokens so far -> logits ``[V]`` of the next one.

    Each call reads everything again, which is simple and slow; `pcvr.generate` caches what it has read. The image token
    gets probability 0, since it would ask for a second image.
    """
    asked = vlm.encode([image], [prompt])
    forbidden = vlm.image_token_id

    @torch.inference_mode()
    def logits(so_far: Sequence[int]) -> torch.Tensor:
        behind = torch.tensor([list(so_far)], dtype=torch.long, device=vlm.device)
        more = {"input_ids": behind, "attention_mask": torch.ones_like(behind)}
        inputs = {k: torch.cat([v, more[k]], dim=1) if k in more else v for k, v in asked.items()}
        kind, count = vlm.family.answer_type, len(so_far)
        inputs |= {k: prolonged(k, v, count, kind, 1) for k, v in asked.items() if k in OF_TOKENS and k not in more}
        found: torch.Tensor = vlm.model(**inputs, use_cache=False).logits[0, -1].float()
        return found.index_fill(0, torch.tensor(forbidden, device=found.device), -torch.inf)

    return logits
