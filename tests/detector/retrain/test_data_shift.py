"""How the data of two runs differ, from what the SDK kept of them."""

from dataclasses import replace

import numpy as np
import pytest

from backslide.contract import SKETCH_LAYOUT, SKETCH_ROWS, Cause
from backslide.record.data import summarise
from backslide_detector.evidence import DataSummary, Sketch
from backslide_detector.retrain.data_shift import data_shifts
from backslide_detector.retrain.verdict import judge_retrain

RANDOM = np.random.default_rng(0)
OLD = RANDOM.normal(size=(3_000, 20))


def logged(data):
    """What the detector knows of a data set that the SDK has summarised."""
    said = summarise("train", data)
    table = said.sketch
    values = np.stack([table[name].to_numpy() for name in table.column_names[1:]], axis=1)
    keys = table["key"].to_numpy()
    layout = table.schema.metadata[SKETCH_LAYOUT].decode()
    found = Sketch(layout, keys, values.astype(np.float64), len(keys) < SKETCH_ROWS)
    return {"train": DataSummary("train", said.digest, rows=len(data), sketch=found)}


@pytest.mark.parametrize(
    "new",
    [OLD + 0.3, OLD * 1.5, np.r_[OLD[:1_500], OLD[:1_500] + 1.0]],
    ids=["another mean", "another spread", "half of it moved"],
)
def test_a_shift_of_the_inputs_is_told_as_a_lead(new):
    changed, said = data_shifts(logged(new), logged(OLD))
    assert [change.what for change in changed] == ["train inputs"]
    shift = changed[0].shift
    assert changed[0].kind is Cause.DATA
    assert shift.statistic > 0.55
    assert shift.pvalue == pytest.approx(0.002)
    assert f"AUC {shift.statistic:.2f} (0.5 is chance), p = 0.002" in said[0]
    assert "lead, not yet the cause" in said[0]


@pytest.mark.parametrize(
    "new",
    [
        np.random.default_rng(4).normal(size=(3_000, 20)),
        np.r_[OLD, np.random.default_rng(5).normal(size=(500, 20))],
        np.r_[OLD, OLD],
        OLD[::2],
        OLD[::-1],
    ],
    ids=["fresh", "more of the same", "repeated", "every other", "another order"],
)
def test_data_drawn_alike_are_not_called_different(new):
    changed, said = data_shifts(logged(new), logged(OLD))
    assert changed == ()
    assert all("look alike" in sentence for sentence in said)


def test_sketches_are_not_compared_beyond_what_both_hold():
    """A part of a data set has other examples with large keys, which are in the whole too."""
    whole = logged(OLD)
    part = logged(OLD[:1_200])
    assert not part["train"].sketch.whole
    assert set(part["train"].sketch.keys) - set(whole["train"].sketch.keys)
    assert data_shifts(part, whole)[0] == ()


def test_without_two_sketches_of_one_layout_nothing_is_said():
    shifted, silent = logged(OLD + 1), {"train": DataSummary("train", "d")}
    other = logged(OLD.reshape(-1, 4, 5) + 1)
    few = logged(OLD[:10] + 1)
    for ours in (silent, other, few, {}):
        assert data_shifts(ours, logged(OLD)) == ((), ())
        assert data_shifts(logged(OLD), ours) == ((), ())
    equal = {"train": replace(shifted["train"], digest=logged(OLD)["train"].digest)}
    assert data_shifts(equal, logged(OLD)) == ((), ())


def test_label_shift_of_the_training_data_is_told():
    old = {"train": DataSummary("train", "d1", class_counts={"a": 500, "b": 500})}
    new = {"train": DataSummary("train", "d2", class_counts={"a": 700, "b": 300})}
    changed, said = data_shifts(new, old)
    assert (changed[0].what, changed[0].new) == ("train class shares", "20.00 % moved")
    assert "20.00 % of the examples" in said[0]
    assert data_shifts(old, old) == data_shifts({}, old) == ((), ())
    silent = {"train": replace(old["train"], class_counts={})}
    assert data_shifts(silent, old) == ((), ())


def test_a_shift_is_part_of_the_verdict_and_names_no_cause_by_itself(make):
    new, old = make.pair(
        1_000, 35, fixed=17, broken=12, new={"data": logged(OLD + 1)}, old={"data": logged(OLD)}
    )
    verdict = judge_retrain(new, old)
    assert verdict.changed[0].what == "train inputs"
    assert "look different" in verdict.leads[0]
    assert verdict.cause == (Cause.UNKNOWN,)
