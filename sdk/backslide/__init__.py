"""The training side of backslide: measure, spool, ship.

The whole public interface is here: `backslide.start` and the `Run` that it returns.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from backslide.judged import JudgedRun
    from backslide.launch import start
    from backslide.run import Run
    from backslide.smalldata import small_data_test

__all__ = ["JudgedRun", "Run", "small_data_test", "start"]

_PLACES: Final = {
    "JudgedRun": "backslide.judged",
    "Run": "backslide.run",
    "small_data_test": "backslide.smalldata",
    "start": "backslide.launch",
}


def __getattr__(name: str) -> object:
    # Loaded when asked for: the command line needs none of it, the judging side has no torch.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__  # for completion at a prompt
