"""Keys, values and rows on their way out."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from mlflow.utils.validation import _validate_metric_name

from backslide.record.quick import Quick
from backslide.record.recorder import Recorder
from backslide.record.scalars import (
    KEY_LIMIT,
    MAX_KEYS,
    Keys,
    Point,
    Reader,
    clean,
    keep,
)
from backslide.spool import points
from backslide.spool.segments import Spool, read, segment_path


@given(st.text())
@example("a//b")
@example("/../.")
@example("x" * 5_000)
@example("ä/é")
@settings(max_examples=50, deadline=None)
def test_mlflow_accepts_every_cleaned_key(key):
    """MLflow's own validator is the reference."""
    cleaned = clean(key)
    _validate_metric_name(cleaned)
    assert 0 < len(cleaned) <= KEY_LIMIT


@pytest.mark.parametrize("key", ["loss", "val/loss", "test/error", "a b-c.d:e", "ä"])
def test_a_good_key_is_left_alone(key):
    assert clean(key) == key


@given(st.lists(st.text(alphabet="ab@/.", max_size=5), unique=True))
@settings(max_examples=50, deadline=None)
def test_two_keys_never_become_one(names):
    keys = Keys()
    cleaned = [keys[name] for name in names]
    assert len(set(cleaned)) == len(names)
    assert [keys[name] for name in names] == cleaned


@given(st.dictionaries(st.text(), st.floats(), max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_point_comes_back_as_it_was(values):
    written = points.Form(values).encode(3, 1_700_000_000_000, tuple(values.values()))
    read = points.decode(written)
    assert read["step"] == 3
    assert read["time"] == 1_700_000_000_000
    assert list(read["values"]) == list(values)
    np.testing.assert_array_equal([*read["values"].values()], [*values.values()])


@pytest.mark.parametrize("damaged", [b"", b"\x01", points.Form("a").encode(1, 2, [3.0])[:-1]])
def test_a_damaged_point_is_a_value_error(damaged):
    with pytest.raises(ValueError, match=r"cut off|Expecting|Unterminated"):
        points.decode(damaged)


def test_the_number_of_keys_is_bounded():
    keys = Keys()
    for index in range(MAX_KEYS):
        keys[str(index)]
    assert keys["one more"] is None
    assert keys["0"] == "0"


def test_thinning_keeps_the_start_dense_and_stays_near_a_thousand_rows():
    kept = [index for index in range(1_000_000) if keep(index)]
    assert kept[:200] == list(range(200))
    assert len(kept) == 862
    gaps = np.diff(kept)
    assert gaps.max() <= 1_000_000 / 25  # the last stretch is drawn by some 25 points or more
    assert (np.diff(gaps) >= 0).all()


def test_host_values_are_read_at_once():
    values = {
        "python": 1,
        "float": 0.5,
        "numpy": np.float32(0.25),
        "array": np.array([2.0]),
        "tensor": torch.tensor(3.0, requires_grad=True) * 1,
        "bfloat16": torch.tensor(1.5, dtype=torch.bfloat16),
        "flag": True,
    }
    (point,), unreadable = Reader().read(7, values)
    assert point.step == 7
    assert point.values == {
        "python": 1.0,
        "float": 0.5,
        "numpy": 0.25,
        "array": 2.0,
        "tensor": 3.0,
        "bfloat16": 1.5,
        "flag": 1.0,
    }
    assert unreadable == []


def quick(folder, *keys):
    """The short way, for points of these keys."""
    found = Quick(Spool(folder))
    found.learn(keys, points.Form(keys))
    return found


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), torch.tensor(float("nan")), torch.ones(2), "x", None]
)
def test_what_needs_a_second_look_is_not_written_at_once(tmp_path, value):
    assert not quick(tmp_path, "fine", "other").write(1, {"fine": 1.0, "other": value})


def test_what_most_loops_log_is_written_at_once_as_anything_else_would_be(tmp_path):
    values = {"float": 0.5, "numpy": np.float64(2.0), "tensor": torch.tensor(3.0)}
    assert quick(tmp_path, *values).write(7, values)
    (record,) = read(segment_path(tmp_path, 1), 0, closed=True).records
    point = points.decode(record.payload)
    assert (point["step"], point["values"]) == (7, {"float": 0.5, "numpy": 2.0, "tensor": 3.0})
    assert points.Form(values).encode(7, point["time"], (0.5, 2.0, 3.0)) == record.payload


def test_what_is_no_number_is_named():
    found, unreadable = Reader().read(0, {"text": "x", "many": torch.ones(2), "none": None})
    assert found == []
    assert unreadable == ["text", "many", "none"]


class Device(torch.Tensor):
    """A tensor that says it lies on an accelerator and fails when it is read one by one."""

    @property
    def device(self):
        return torch.device("cuda")

    @property
    def is_cpu(self):
        return False

    def __float__(self):
        raise AssertionError("a sync on the hot path")

    item = __float__


def test_accelerator_values_wait_for_their_batch():
    """The clone keeps the value of the step although the loop overwrites its tensor."""
    reader = Reader()
    loss = torch.tensor(0.0).as_subclass(Device)
    read: list[Point] = []
    for step in range(1, 121):
        loss.fill_(float(step))
        read += reader.read(step, {"loss": loss})[0]
    assert len(read) == 100  # two batches of fifty
    read += reader.drain()
    assert [(p.step, p.values["loss"]) for p in read] == [(s, float(s)) for s in range(1, 121)]
    assert reader.drain() == []


def test_nothing_overtakes_what_is_under_way(tmp_path):
    recorder = Recorder(Spool(tmp_path))
    recorder.scalars(1, {"other": 0.5})
    recorder.scalars(2, {"loss": torch.tensor(0.5).as_subclass(Device)})
    assert not recorder.quick.write(3, {"other": 1.0})
    recorder.drain()
    assert recorder.quick.write(3, {"other": 1.0})
