"""Workers that die, hang or raise cost their own task and no other."""

import os
import signal
import time

import pytest

from backslide_detector.executors import Inline, Slots


def square(number: int) -> int:
    return number * number


def die(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def hang(_: int) -> int:
    time.sleep(600)
    return 0


def fail(_: int) -> int:
    raise ValueError("no")


@pytest.fixture(params=[Inline, lambda: Slots(2)], ids=["inline", "slots"])
def executor(request):
    with request.param() as executor:
        yield executor


def test_results_and_errors_come_back(executor):
    assert list(executor.map(square, range(6))) == [0, 1, 4, 9, 16, 25]
    with pytest.raises(ValueError, match="no"):
        executor.submit(fail, 1).result()


def test_death_and_hanging_are_isolated():
    with Slots(2, seconds=3.0) as executor:
        tasks = [executor.submit(f, 3) for f in (square, die, square, hang, square)]
        answers = [task.exception() or task.result() for task in tasks]
    assert answers[0] == answers[2] == answers[4] == 9
    assert "terminated" in str(answers[1])
    assert isinstance(answers[3], TimeoutError)
