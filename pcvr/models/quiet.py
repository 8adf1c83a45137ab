"""Opening and saving models without the chatter of the libraries underneath."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pcvr.errors import first_line as first_line


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence transformers' bars, and a warning between it and peft, while a model is opened, adapted or saved."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            # peft reads a property by the name it had before transformers renamed it; no user can mend that.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
