"""The table of `make inside`."""

from collections.abc import Iterable
from pathlib import Path


def page(files: Iterable[Path]) -> str:
    return ""
