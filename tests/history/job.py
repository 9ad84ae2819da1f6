"""A trainer that keeps a diary of what it attempted and what was acknowledged.

`python -m tests.history.job DIARY FIRST [--steps N] [--fail P]`: every step logs one number
that no other step of any job logs. The diary is written like the spool, so that kill -9 loses
none of it: `try 5` before the step, `ack 5` after.
"""

import argparse
import os
import random
import sys
import time

import backslide
from backslide.spool import segments


class BrokenDisk:
    """`os`, whose writes fail or are cut short as on a disk that is full now and then."""

    def __init__(self, chance: float) -> None:
        self._chance = chance
        self._random = random.Random(1)

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def write(self, fd: int, data: bytes) -> int:
        lot = self._random.random()
        if lot < self._chance:
            raise OSError(28, os.strerror(28))
        return os.write(fd, data[: len(data) // 2] if lot < 2 * self._chance else data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("diary")
    parser.add_argument("first", type=int)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--pause", type=float, default=0.002)
    parser.add_argument("--fail", type=float, help="chance that a write meets a full disk")
    arguments = parser.parse_args()
    diary = os.open(arguments.diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(line: str) -> None:
        os.write(diary, f"{line}\n".encode())

    run = backslide.start("history", experiment="history", params={"first": arguments.first})
    spool = run._recorder.spool
    write(f"job {run._job.client}")
    if arguments.fail:
        segments.os = BrokenDisk(arguments.fail)
    for value in range(arguments.first, arguments.first + arguments.steps):
        lost = sum(spool.dropped.values())
        write(f"try {value}")
        run.step(loss=float(value))
        # What a full disk refused is counted as dropped, and is no promise.
        if sum(spool.dropped.values()) == lost:
            write(f"ack {value}")
        time.sleep(arguments.pause)
    run.finish()
    write(f"dropped {sum(spool.dropped.values())}")


if __name__ == "__main__":
    sys.exit(main())
