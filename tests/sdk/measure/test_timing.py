"""What watching costs a GPU, with events whose clock is turned by hand."""

import contextlib

import pytest
import torch
from torch import nn

from backslide.measure import timing
from backslide.measure.timing import Timing
from backslide.measure.watch import Watch


class Clock:
    now = 0.0


class Event:
    done = True

    def __init__(self, enable_timing=False):
        assert enable_timing
        self.at = None

    def record(self):
        self.at = Clock.now

    def query(self):
        return Event.done

    def elapsed_time(self, end):
        return (end.at - self.at) * 1e3  # milliseconds, as torch has it


@pytest.fixture(autouse=True)
def events(monkeypatch):
    Clock.now, Event.done = 0.0, True
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())


def test_stretches_add_up_and_those_under_way_are_left_out():
    kept = Timing()
    for seconds in (0.25, 0.5):
        with kept.on(torch.device("cuda", 0)):
            Clock.now += seconds
        Clock.now += 10.0  # the training's own work
    assert kept.seconds() == pytest.approx(0.75)
    Event.done = False
    assert kept.seconds() == 0.0


def test_nothing_is_recorded_on_the_host():
    kept = Timing()
    with kept.on(torch.device("cpu")), kept.over([torch.ones(1)]):
        Clock.now += 1.0
    assert kept.seconds() == 0.0


def test_what_the_gpu_spends_counts_in_the_share_and_in_the_price(monkeypatch):
    """A snapshot takes the host little and a busy GPU five seconds."""

    def over(self, tensors):
        stretch = timing._Stretch(torch.device("cuda", 0))
        self._stretches.append(stretch)
        return stretch

    monkeypatch.setattr(Timing, "over", over)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(model, [optimizer], overhead=None)
    before = watch._steps._updates[optimizer].before

    def slow(*args):
        Clock.now += 5.0
        return before(*args)

    monkeypatch.setattr(watch._steps._updates[optimizer], "before", slow)
    for number in range(4):
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
        watch.step(number)
    watch.close()
    assert watch.problems == ()
    assert watch._cadence.spent == pytest.approx(4 * 5.0, rel=0.1)
    assert watch._cadence._price >= 4.0
