"""Training and held-out errors read together: what would help is what was left out."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.builders import (
    FALLING,
    STEPS,
    STUCK,
    failing,
    labels,
    noise,
    predictions,
    run,
    series,
)

from backslide_detector.checks.reading import Limit, read_errors
from backslide_detector.engine import Case, judge
from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.history import PastRun

FLAT = series(np.maximum(2.3 - np.arange(STEPS) / 40, 1.1) + noise())
SLOW = series(2.3 - np.arange(STEPS) / 400 + noise(scale=0.01))


def wrong(share):
    """Held-out predictions of which this share is wrong."""
    answers = np.array(labels(), dtype=object)
    answers[: int(share * len(answers))] = "nine"
    return predictions(labels(), answers)


def errors(train, held, loss=FALLING):
    """A run with these errors on both sides of the split."""
    return run(
        loss,
        series={"train/error": series([train] * 10), "val/error": series([held] * 10)},
        predictions=wrong(held),
    )


@pytest.mark.parametrize(
    ("evidence", "expected", "word"),
    [
        (errors(0.001, 0.01), Limit.NOTHING, "Little is left"),
        (errors(0.01, 0.15), Limit.DATA, "More data, augmentation"),
        (errors(0.05, 0.06), Limit.CLOSE, "no gap for more data"),
        (errors(0.45, 0.47, FLAT), Limit.FIT, "twice the units"),
        (errors(0.30, 0.75, FLAT), Limit.BOTH, "Mend the fit first"),
        (errors(0.45, 0.47, SLOW), Limit.TIME, "Train longer"),
    ],
)
def test_the_limit_is_the_one_that_was_made(evidence, expected, word):
    found = read_errors(evidence)
    assert found.limit is expected
    assert word in f"{found.seen} {found.meaning}"
    for number in (evidence.series["train/error"].last, evidence.series["val/error"].last):
        assert f"{number:.1%}" in found.seen


def test_losses_are_compared_where_no_training_error_was_logged():
    apart = run(series={"val_loss": series([0.6] * 30)}, predictions=wrong(0.2))
    assert read_errors(apart).limit is Limit.DATA
    alike = run(series={"val_loss": series([0.12] * 30)}, predictions=wrong(0.04))
    assert read_errors(alike).limit is Limit.CLOSE


def test_smoothed_labels_are_no_lack_of_capacity():
    """They keep the training loss up while new data are known well."""
    smooth = run(FLAT, series={"val_loss": series([1.1] * 30)}, predictions=wrong(0.05))
    assert read_errors(smooth).limit is Limit.CLOSE


def test_one_side_alone_limits_nothing():
    assert read_errors(run(predictions={})).limit is None
    assert read_errors(failing(STUCK, series={"val/error": series([0.9] * 9)})).limit is None


def test_the_judgement_says_what_is_open_and_what_would_tell():
    gap = errors(0.01, 0.15)
    said = judge(Case(gap)).judgement.outlook
    assert "held-out error 15.0%" in said[0]
    assert said[1].startswith("How much more data would bring cannot be told")


def test_retrains_that_learned_from_more_data_overrule_what_one_run_shows():
    alike = run(series={"val_loss": series([0.12] * 30)}, predictions=wrong(0.04))
    rows = {"train": replace(alike.data["train"], rows=1_000)}
    stated = ErrorRate("test", 0.04, 10_000, "predictions/test")
    new = replace(alike, data=rows, error=stated)
    assert read_errors(new).limit is Limit.CLOSE
    few = {"train": replace(alike.data["train"], rows=250)}
    old = PastRun.of(replace(new, run_id="old", data=few, error=replace(stated, rate=0.09)))
    seen, told = judge(Case(new, history=(old,))).judgement.outlook
    assert "no gap for more data" not in seen
    assert told.startswith("More data would help")
    assert "longer training" in told


def test_a_failing_or_running_run_gets_no_outlook():
    assert judge(Case(failing())).judgement.outlook == ()
    assert (
        judge(Case(replace(errors(0.01, 0.15), status="RUNNING"), live=True)).judgement.outlook
        == ()
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss": FALLING}, True),
        ({"loss": STUCK}, False),
        ({"loss": FALLING, "series": {"val_loss": series([0.5] * 20)}}, False),
    ],
    ids=["learned", "stuck", "with a validation loss"],
)
def test_where_only_training_was_seen_the_outlook_says_what_to_log(changes, told):
    found = read_errors(run(predictions={}, **changes))
    assert found.limit is None
    assert ("run.evaluate" in found.meaning) is told
