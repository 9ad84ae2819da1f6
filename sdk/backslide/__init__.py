"""The training side of backslide: measure, spool, ship.

The whole public interface is here: `backslide.start` and the `Run` that it returns.
"""

from typing import TYPE_CHECKING

from backslide.judged import JudgedRun
from backslide.launch import start
from backslide.run import Run

if TYPE_CHECKING:
    from backslide.smalldata import small_data_test

__all__ = ["JudgedRun", "Run", "small_data_test", "start"]


def __getattr__(name: str) -> object:
    # Loaded when asked for: it imports torch, which the judging side runs without.
    if name == "small_data_test":
        from backslide.smalldata import small_data_test  # noqa: PLC0415

        return small_data_test
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
