"""The checks' pages as one Markdown document: `python -m backslide_detector.checks.page`."""

import textwrap
from collections.abc import Iterable

from backslide_detector.checks.registry import SECTIONS, Check, load_checks

_HEAD = """\
# Checks

What backslide looks for inside a run. A finding needs a symptom **together with a failure to
learn**; a symptom alone is a note in the report. Findings are listed with the likeliest root
cause first, in the order of this page.

Written by `python -m backslide_detector.checks.page`; edit the docstrings, not this file.
"""


def render(check: Check, level: int = 2) -> str:
    """One check's page in Markdown.

    Args:
        check: the check.
        level: depth of its heading.
    """
    lines = [f"{'#' * level} {check.name}", ""]
    for line in check.page.splitlines():
        if line[:-1] in SECTIONS:
            lines += [f"**{line[:-1]}.**"]
        else:
            lines.append(textwrap.dedent(line) if line.startswith("    ") else line)
    if check.needs:
        lines += ["", f"*Needs:* {', '.join(check.needs)}."]
    return "\n".join(lines) + "\n"


def document(checks: Iterable[Check]) -> str:
    """All pages, in the order of the checks."""
    return "\n".join([_HEAD, *(render(check) for check in checks)])


if __name__ == "__main__":
    print(document(load_checks()), end="")  # noqa: T201 - the document is the output
