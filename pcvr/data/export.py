"""Data written as a folder that LLaVA, LLaMA-Factory, ms-swift and ``datasets`` open, or as a ``datasets`` table."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from tqdm.auto import tqdm

from pcvr.data.derived import DerivedDataset
from pcvr.data.forms import (
    CARD,
    DATA,
    IMAGES,
    MESSAGES,
    METADATA,
    as_json,
    card,
    dataset_name,
    file_name,
    llava_record,
    messages,
    messages_record,
    metadata_record,
    unread_llava,
    unread_messages,
)
from pcvr.data.llama_factory import INFO, description
from pcvr.data.llava_records import Unread, pictures_in
from pcvr.data.report import EMPTY, EntryError
from pcvr.data.sample import Dataset, Sample
from pcvr.data.subset import Subset
from pcvr.data.texts import encoded
from pcvr.data.wording import clean_answer, clean_exchange, clean_prompt
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice
from pcvr.utils.files import new_folder, write_json

SOURCE_MANIFEST = "manifest_of_source.json"
"""Written beside data that were made from poisoned ones: their manifest."""
_BAR_AFTER = 2.0
_ROWS = 8  # of a table that are kept in memory: with a thousand, memory would grow with the data

Put = Callable[[str, Callable[[], bytes]], None]
"""``put(name, make)`` writes the file `name` of the folder with the bytes that ``make()`` returns."""


def save_data(
    dataset: Dataset,
    folder: str | Path,
    form: str = "llava",
    *,
    truth: bool = True,
    unread_of: Dataset | None = None,
    progress: bool = True,
) -> Path:
    """Write data to a new folder, which is made under another name and renamed when it is complete.

    Args:
        dataset: the samples.
        folder: must not exist yet.
        form: ``"llava"`` (JSON and PNG files for LLaVA, LLaMA-Factory, ms-swift and ``datasets.load_dataset``, see
            `pcvr.data.forms`) or ``"datasets"`` (for ``datasets.load_from_disk``).
        truth: whether references (and for ``"llava"`` facts) are written too.
        unread_of: the data whose records without an image or with several are added too; by default those of
            `dataset`, unless it is a subset. Only LLaVA-style files have such records, and only ``"llava"`` holds them.
        progress: whether to show a bar once writing takes longer than two seconds.

    Returns:
        The folder's path. Data made from poisoned ones have their manifest in `SOURCE_MANIFEST`.

    Raises:
        PcvrError: the folder exists or cannot be written, a sample cannot be written, or the form is unknown.
    """
    check_choice("form of data", form, FORMS)
    with new_folder(folder) as scratch:
        FORMS[form](dataset, scratch, _writer(scratch), truth, progress, dataset if unread_of is None else unread_of)
        manifest = getattr(_root(dataset, "manifest", subsets=True), "manifest", None)
        if manifest is not None:
            write_json(scratch / SOURCE_MANIFEST, manifest.plain())
    return Path(folder)


def write_llava(dataset: Dataset, folder: Path, put: Put, truth: bool, progress: bool, unread_of: Dataset) -> None:
    """Write the files of `pcvr.data.forms`; each sample is read once, and none is kept.

    Args:
        dataset: the samples.
        folder: an existing folder.
        put: writes an image.
        truth: whether references and facts are written too.
        progress: whether to show a bar.
        unread_of: data whose records without an image or with several are added.

    Raises:
        PcvrError: a sample cannot be written.
    """
    (folder / IMAGES).mkdir(exist_ok=True)
    name = dataset_name(dataset.name)
    with ExitStack() as stack:
        data, rows, metadata = (
            stack.enter_context((folder / file).open("w", encoding="utf-8", newline="\n"))
            for file in (DATA, MESSAGES, METADATA)
        )
        before = "[\n"
        for index, sample in enumerate(samples_to_write(dataset, truth, progress)):
            image = file_name(index, sample.id)
            put(f"{IMAGES}/{image}", lambda sample=sample: png(sample))  # type: ignore[misc]
            data.write(before + as_json(llava_record(sample, image, truth), 1))
            rows.write(as_json(messages_record(sample, image)) + "\n")
            metadata.write(as_json(metadata_record(sample, image)) + "\n")
            before = ",\n"
        for unread in unread_in(unread_of):
            for image, file in unread.files.items():
                _refuse_other(folder / IMAGES / image, file)
                put(f"{IMAGES}/{image}", file.read_bytes)
            names = pictures_in(unread.entry, unread.talk)  # an image may be named twice
            data.write(before + as_json(unread_llava(unread.entry, unread.talk, names), 1))
            rows.write(as_json(unread_messages(unread.talk, names)) + "\n")
            before = ",\n"
        data.write("\n]\n")
    (folder / INFO).write_text(as_json(description(name, MESSAGES), 1) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(name, _about(dataset)), encoding="utf-8")


def write_table(dataset: Dataset, folder: Path, put: Put, truth: bool, progress: bool, unread_of: Dataset) -> None:
    """Write a ``datasets`` table with the columns id, image, prompt and answer; of conversations id, image, messages.

    Arguments as of `write_llava`; `put` and `unread_of` are not used.
    """
    from datasets import Dataset as Rows
    from datasets import Features, Value, disable_progress_bars, enable_progress_bars
    from datasets import Image as ImageColumn
    from datasets import List as ListColumn
    from datasets.arrow_writer import ArrowWriter
    from datasets.utils import are_progress_bars_disabled

    text = Value("string")
    talks = is_conversational(dataset)
    columns: dict[str, Any] = {"id": text, "image": ImageColumn()}
    columns |= {"messages": ListColumn({"role": text, "content": text})} if talks else {"prompt": text, "answer": text}
    if truth and not talks:
        columns["references"] = ListColumn(text)
    scratch = folder / "rows.new"  # a separate folder, since a table cannot be saved where it is read from
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    rows = str(scratch / "rows.arrow")
    with ArrowWriter(path=rows, features=Features(columns), writer_batch_size=_ROWS) as writer:
        for sample in samples_to_write(dataset, truth, progress):
            values: dict[str, Any] = {
                "id": sample.id,
                "image": {"bytes": png(sample), "path": None},
                "prompt": sample.prompt,
                "answer": sample.answer,
                "references": list(sample.references),
                "messages": messages(sample),
            }
            writer.write({name: values[name] for name in columns})
        writer.finalize()
    quiet = are_progress_bars_disabled()
    disable_progress_bars()  # the slow part has shown its bar above
    try:
        Rows.from_file(rows).save_to_disk(str(folder))
    finally:
        if not quiet:
            enable_progress_bars()
    shutil.rmtree(scratch)


FORMS: dict[str, Callable[[Dataset, Path, Put, bool, bool, Dataset], None]] = {
    "llava": write_llava,
    "datasets": write_table,
}
"""Ways to write data."""


def is_conversational(dataset: Dataset) -> bool:
    """Return whether any sample has a system turn or later exchanges; data that do not say so are read."""
    said = getattr(_root(dataset, "conversational", subsets=True), "conversational", None)
    return any(dataset[i].conversational for i in range(len(dataset))) if said is None else bool(said)


def unread_in(dataset: Dataset) -> Iterator[Unread]:
    """Yield the records that `dataset` was read from and that are not samples of it; of a part of data none."""
    root = _root(dataset, "unread_records")
    yield from root.unread_records() if hasattr(root, "unread_records") else ()


def samples_to_write(dataset: Dataset, truth: bool, progress: bool) -> Iterator[Sample]:
    """Yield the samples as `storable` returns them, under a progress bar."""
    for index in tqdm(range(len(dataset)), desc="write", disable=not progress, delay=_BAR_AFTER, leave=False):
        yield storable(dataset[index], truth)


def storable(sample: Sample, truth: bool) -> Sample:
    """Return `sample` with its texts as a reader gives them back, and without references if all of them are empty.

    Args:
        sample: the sample to write.
        truth: whether references and facts are written too.

    Raises:
        PcvrError: the prompt or an answer is empty, a text holds an image token or half of a surrogate pair, or the
            facts are not JSON values.
    """
    try:
        encoded(sample.id)
        prompt, answer = clean_prompt(sample.prompt), clean_answer(sample.answer)
        for asked, cleaned in [(sample.prompt, prompt), *((text, clean_prompt(text)) for text, _ in sample.later)]:
            if cleaned != asked.strip():  # a reader would strip it, and the manifest's hash would not match
                clean_answer(asked, "prompt")
        if not prompt or not answer:
            raise EntryError(EMPTY, f"the {'answer' if prompt else 'prompt'} is empty")
        later = tuple(clean_exchange(i, *pair, asks=True) for i, pair in enumerate(sample.later, 2))
        system = clean_answer(sample.system, "system turn")
        references = tuple(clean_answer(text, "reference") for text in sample.references) if truth else ()
        if truth:
            encoded(as_json(dict(sample.facts)))
    except (TypeError, ValueError, RecursionError) as error:  # an EntryError is a ValueError as well
        raise PcvrError(f"the sample {shown(sample.id)} cannot be written: {error}.") from error
    told = references if any(references) else ()
    return replace(sample, prompt=prompt, answer=answer, references=told, system=system, later=later)


def png(sample: Sample) -> bytes:
    """Return a sample's image as a PNG file."""
    coded = io.BytesIO()
    PilImage.fromarray(sample.image).save(coded, "PNG")
    return coded.getvalue()


def _root(dataset: Any, name: str, subsets: bool = False) -> Any:
    """Return the first data set with the attribute `name`: `dataset`, or what it was made from."""
    while not hasattr(dataset, name):
        if isinstance(dataset, Subset) and subsets:
            dataset = dataset.dataset
        elif isinstance(dataset, DerivedDataset):
            dataset = dataset.source
        else:
            break
    return dataset


def _about(dataset: Dataset) -> str:
    manifest = getattr(_root(dataset, "manifest", subsets=True), "manifest", None)
    if manifest is None:
        return f"Images with texts: {dataset.name}."
    return f"**Made from poisoned data** ({manifest.purpose}): the manifest in this folder says how."


def _writer(folder: Path) -> Put:
    def put(name: str, make: Callable[[], bytes]) -> None:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(make())

    return put


def _refuse_other(place: Path, file: Path) -> None:
    """Raise if an image of another record has the name of one that is copied.

    Raises:
        PcvrError: naming it.
    """
    if place.is_file() and place.read_bytes() != file.read_bytes():
        raise PcvrError(f"two images would be written to {place.name}: rename the file {file} and its record.")
