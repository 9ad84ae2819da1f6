"""A training loop without a framework, as a process that tests kill, starve and fork.

Prints the number of each step once `run.step` has returned, and the run id at the end.
"""

import argparse
import os
import resource
import sys
import time

import backslide


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--fork", action="store_true", help="a child tries to log as well")
    parser.add_argument("--file-limit", type=int, help="the disk is full after so many bytes")
    parser.add_argument("--crash", action="store_true", help="raise at the end of the loop")
    arguments = parser.parse_args()
    with backslide.start("ship", experiment="ship", params={"steps": arguments.steps}) as run:
        if arguments.file_limit:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.file_limit, hard))
        for step in range(1, arguments.steps + 1):
            run.step(loss=1.0 / step)
            print(step, flush=True)
            time.sleep(arguments.pause)
            if arguments.fork and step == arguments.steps // 2:
                _fork(run)
        if arguments.crash:
            raise RuntimeError("the training failed")
    print(f"run {run.id}", flush=True)


def _fork(run: backslide.Run) -> None:
    child = os.fork()
    if child == 0:
        for _ in range(50):
            run.step(loss=-1.0)
        run.log(child=1.0)
        run.finish()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0


if __name__ == "__main__":
    sys.exit(main())
