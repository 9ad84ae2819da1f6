"""The table of `make inside`."""

import json
from collections.abc import Iterable
from pathlib import Path


def page(files: Iterable[Path]) -> str:
    return ""
