"""The training side of backslide: measure, spool, ship.

The whole public interface is here: `backslide.start` and the `Run` that it returns.
"""

from backslide.launch import start
from backslide.run import JudgedRun, Run

__all__ = ["JudgedRun", "Run", "start"]
