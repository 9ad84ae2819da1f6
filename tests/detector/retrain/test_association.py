"""What went with the error in earlier retrains: a hint that never becomes a cause."""

import json

import numpy as np
import pytest

from backslide.contract import Cause
from backslide_detector.engine import Case, judge
from backslide_detector.evidence import DataSummary, ErrorRate
from backslide_detector.past import from_memory, of_late, to_memory
from backslide_detector.report.document import document
from backslide_detector.retrain.association import LATELY, look_back
from backslide_detector.retrain.history import PastRun


def retrain(number, error, **config):
    stated = {f"parameter {name}": str(value) for name, value in config.items()}
    return PastRun(
        f"r{number}",
        f"run {number}",
        float(number),
        lineage="digits",
        error=ErrorRate("test", error, 10_000, "x"),
        made_from={Cause.CONFIG: stated} if stated else {},
    )


def lineage(count, effect, seed=0):
    """Errors that follow `lr`, with noise; `width` varies and does nothing."""
    random = np.random.default_rng(seed)
    rates, widths = random.choice([0.1, 0.2], count), random.choice([32, 64, 96], count)
    return [
        retrain(
            i, 0.035 + effect * (rates[i] > 0.1) + random.normal(0, 0.0012),
            lr=rates[i], width=widths[i],
        )
        for i in range(count)
    ]  # fmt: skip


NEW, OLD = retrain(999, 0.04, lr=0.2, width=32), retrain(998, 0.035, lr=0.1, width=32)


def test_a_parameter_that_the_error_followed_is_named_with_its_size():
    found = look_back(NEW, OLD, lineage(40, 0.004))
    best, other = found.associated
    assert best.what == ("parameter lr",)
    assert (best.old, best.new, best.here) == ("0.1", "0.2", True)
    assert best.interval[0] < 0.004 < best.interval[1]
    assert best.pvalue < 0.001 < 0.05 < other.pvalue
    named, caution = found.sentences
    assert named.startswith("Over 40 earlier retrains, parameter lr went with 0.")
    assert "more errors at 0.2 than at 0.1" in named
    assert "adjusted for 2" in named
    assert "association, which is no proof" in caution


def test_nothing_is_said_where_nothing_went_with_the_error():
    found = look_back(NEW, OLD, lineage(40, 0.0))
    assert len(found.associated) == 2
    assert found.sentences == ()


def test_few_retrains_are_too_few():
    found = look_back(NEW, OLD, lineage(9, 0.01))
    assert found.associated == found.sentences == ()
    assert found.reason.startswith("too few retrains: 9 earlier ones")
    assert look_back(NEW, OLD, []).reason == "nothing that the runs stated changed before"


def test_what_changed_together_is_named_together():
    runs = [
        retrain(i, 0.03 + 0.005 * (i % 3 == 0), lr=0.1 * (i % 3 == 0), decay=i % 3 == 0)
        for i in range(30)
    ]
    row = look_back(NEW, OLD, runs).associated[0]
    assert set(row.what) == {"parameter lr", "parameter decay"}
    assert row.effect == pytest.approx(0.005 if row.new != "False" else -0.005)


def test_two_wanderers_are_no_company():
    """Least squares of one random walk on another finds something in most pairs of them."""
    random, said = np.random.default_rng(3), 0
    for _ in range(60):
        errors = 0.2 + np.cumsum(random.normal(0, 0.001, 60))
        sizes = 1_000 + np.cumsum(random.integers(-9, 10, 60))
        runs = [retrain(i, errors[i], size=sizes[i]) for i in range(60)]
        said += bool(look_back(NEW, OLD, runs).sentences)
    assert said <= 9  # 3 expected at 5 %; more than 9 has a chance of 0.1 %


def test_of_many_values_only_the_change_counts_and_of_numbers_the_size():
    random = np.random.default_rng(4)
    runs, commit, rows = [], "c0", 1_000
    for i in range(40):
        commit = f"c{i}" if random.random() < 0.5 else commit
        rows += int(random.integers(0, 500))
        said = {Cause.CODE: {"git commit": commit}, Cause.DATA: {"train rows": str(rows)}}
        error = ErrorRate("test", 0.05 - rows / 1e6 + random.normal(0, 1e-4), 10_000, "x")
        runs.append(PastRun(str(i), str(i), float(i), error=error, made_from=said))
    new = PastRun("n", "n", 99.0, error=runs[0].error, made_from={})
    by_name = {row.what: row for row in look_back(new, runs[-1], runs).associated}
    data, code = by_name["train rows",], by_name["git commit",]
    grown = float(data.new) - float(data.old)
    assert data.effect == pytest.approx(-grown / 1e6, rel=0.2)
    assert (code.old, code.new) == (None, None)
    assert code.pvalue > 0.05


def test_silence_is_no_change():
    runs = lineage(30, 0.004)
    silent = [
        PastRun(f"s{i}", f"s{i}", i + 0.5, lineage="digits", error=runs[i].error)
        for i in range(29)
        if runs[i].made_from == runs[i + 1].made_from
    ]
    found = look_back(NEW, OLD, [*runs, *silent])
    assert found.retrains == 30 + len(silent) > 30
    assert {row.what for row in found.associated} == {("parameter lr",), ("parameter width",)}


@pytest.mark.parametrize(
    "values", [["1e308", "-1e308", "0"], ["nan", "1", "2"], ["x" * 9_999, "", "b", "c", "d"]]
)
def test_odd_values_are_names(values):
    runs = [retrain(i, 0.03 + 1e-4 * (i % 7), odd=values[i % len(values)]) for i in range(40)]
    assert look_back(NEW, OLD, runs).reason is None


def test_equal_errors_go_with_nothing():
    runs = [retrain(i, 0.03, lr=i % 2) for i in range(20)]
    (row,) = look_back(NEW, OLD, runs).associated
    assert (row.effect, row.pvalue) == (pytest.approx(0.0), 1.0)


def test_it_is_a_lead_in_the_verdict_and_changes_neither_verdict_nor_cause(make):
    data = {"train": DataSummary("train", "d2", rows=100)}
    new, old = make.pair(
        10_000, 350, fixed=100, broken=200, new={"params": {"lr": "0.2"}, "data": data},
        old={"params": {"lr": "0.1"}},
    )  # fmt: skip
    history = tuple(
        retrain(run.started - 100, run.error.rate, **{
            name.removeprefix("parameter "): value
            for name, value in run.made_from[Cause.CONFIG].items()
        })
        for run in lineage(40, 0.004)
    )  # fmt: skip
    plain = judge(Case(new, old, history=())).judgement.retrain
    told = judge(Case(new, old, history=history)).judgement
    assert told.retrain.verdict is plain.verdict
    assert Cause.DATA in told.retrain.cause, "what changed besides is not cleared by it"
    said = json.loads(json.dumps(document(told)))
    assert said["association"]["factors"][0]["what"] == ["parameter lr"]
    assert said["association"]["retrains"] == 40
    assert any("association, which is no proof" in lead for lead in said["leads"])


def test_a_remembered_run_keeps_what_its_listing_does_not_tell():
    run = PastRun(
        "a", "a", 0.0,
        made_from={Cause.CONFIG: {"parameter lr": "1"}, Cause.DATA: {"train rows": "9"}},
    )  # fmt: skip
    (back,) = from_memory([json.loads(json.dumps(to_memory(run)))])
    assert back.made_from == {Cause.DATA: {"train rows": "9"}}
    many = [
        PastRun(str(i), str(i), float(i), made_from=run.made_from) for i in range(LATELY + 5)
    ]
    assert [bool(run.made_from) for run in of_late(many)].count(True) == LATELY
