"""A sample as it is written: only what is read back as the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from pcvr.data.report import EMPTY, EntryError
from pcvr.data.sample import Sample
from pcvr.data.texts import encoded
from pcvr.data.wording import clean_answer, clean_prompt
from pcvr.errors import PcvrError, shown


def storable(sample: Sample, truth: bool) -> Sample:
    """`sample` with its texts as a reader gives them back; a list of references without a word in it is left out.

    Args:
        sample: what is to be written.
        truth: whether references and facts are written too.

    Raises:
        PcvrError: the prompt or the answer is empty, a text holds an image token or half of a surrogate pair, or the
            facts are not what JSON can say.
    """
    try:
        encoded(sample.id)
        prompt, answer = clean_prompt(sample.prompt), clean_answer(sample.answer)
        if prompt != sample.prompt.strip():  # it would be taken off, and the manifest's hash would not fit
            clean_answer(sample.prompt, "prompt")
        if not prompt or not answer:
            raise EntryError(EMPTY, f"the {'answer' if prompt else 'prompt'} is empty")
        references = tuple(clean_answer(text, "reference") for text in sample.references) if truth else ()
        if truth:
            encoded(json.dumps(dict(sample.facts), ensure_ascii=False, default=plain))
    except (TypeError, ValueError, RecursionError) as error:  # an EntryError is a ValueError as well
        raise PcvrError(f"the sample {shown(sample.id)} cannot be written: {error}.") from error
    return replace(sample, prompt=prompt, answer=answer, references=references if any(references) else ())


def plain(value: object) -> object:
    """NumPy values and read-only mappings, which JSON does not know, as plain ones."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a fact is a {type(value).__name__}, which is no JSON value")
