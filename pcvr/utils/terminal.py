"""Running a command as a process: exit codes, interruption, closed pipes and characters the terminal cannot show."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pcvr.errors import PcvrError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells: 128 plus the number of SIGINT."""


def run_command(main: Callable[[], object], name: str = "") -> NoReturn:
    """Run `main` as a command and exit.

    Characters that the terminal's encoding lacks are written as escapes. A `PcvrError` is printed as one sentence with
    exit code 2, Ctrl-C as one line with exit code 130; a closed pipe (``| head``) ends the command silently.

    Args:
        main: reads the arguments and returns the exit code or None.
        name: name of the command in messages; by default its file's.
    """
    name = name or Path(sys.argv[0]).stem
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # notebooks and tests replace the streams
            stream.reconfigure(errors="backslashreplace")
    code: object
    try:
        code = main()
        sys.stdout.flush()
    except PcvrError as problem:
        code = 2
        sys.stderr.write(f"{name}: {problem}\n")
    except BrokenPipeError:
        code = 1
        # Python flushes once more at exit, which would fail again and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code
    if code == INTERRUPTED:
        sys.stderr.write(f"\n{name}: interrupted.\n")
    raise SystemExit(code)
