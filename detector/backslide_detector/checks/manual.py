"""The checks' pages, read from their files: to show one, none has to be loaded."""

import ast
from pathlib import Path

from backslide_detector.checks.order import CAUSAL_ORDER


def pages() -> dict[str, str]:
    """Name of each check -> its page, the likeliest root cause first."""
    files = {
        path.stem.replace("_", "-"): path
        for path in Path(__file__).parent.glob("*/*.py")
        if path.stem != "__init__"
    }
    return {
        name: ast.get_docstring(ast.parse(files[name].read_bytes())) or ""
        for name in CAUSAL_ORDER
    }
