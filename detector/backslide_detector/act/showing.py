"""A report as a file on this machine, and in its browser."""

import tempfile
import webbrowser
from pathlib import Path

from backslide_detector.errors import UserError


def show(report: str, output: Path | None, *, opening: bool) -> Path:
    """Writes a report, and opens it.

    Args:
        report: the whole page.
        output: where to; None for a new file in the folder for temporary ones, which stays.
        opening: whether the browser is to show it.

    Raises:
        UserError: it could not be written, or there is no browser.
    """
    if output is None:
        folder = Path(tempfile.mkdtemp(prefix="backslide-"))
        output = folder / "report.html"
    try:
        output.write_text(report, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} could not be written: {error.strerror}") from error
    if opening and not webbrowser.open(output.resolve().as_uri()):
        raise UserError(f"no browser could be opened; the report is {output}")
    return output
