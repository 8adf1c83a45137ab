"""What an audit returns: its result, and the ways to write it down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pcvr.auditing.clean import write_clean
from pcvr.auditing.page import report_page
from pcvr.auditing.result import AuditResult
from pcvr.utils.checks import check_whole
from pcvr.utils.files import write_text


@dataclass(frozen=True)
class Audit(AuditResult):
    """What an audit found; attributes as of `AuditResult`."""

    def clean(self, target: str | Path) -> Path:
        """Write the data without the flagged samples, in their own format, and a log beside them.

        Args:
            target: a new file, with the ending .jsonl for JSON lines only; for a table a new folder, which gets all
                its splits. The data themselves stay as they are.

        Raises:
            PcvrError: as `pcvr.auditing.clean.check_clean`, which can be called before the audit.
        """
        return write_clean(self, target)

    def report(self, file: str | Path | None = None, made_by: str = "", worst: int = 12) -> str:
        """Return the report as one HTML page without widgets or links; write it to `file`, if given.

        Args:
            file: the HTML file; an existing one is replaced.
            made_by: the command, for the page.
            worst: how many of the worst samples it shows.

        Raises:
            PcvrError: `worst` is below 0, or the file cannot be written.
        """
        check_whole("worst", worst, 0, what="samples")
        page = report_page(self, made_by, worst)
        if file is not None:
            write_text(file, page)
        return page
