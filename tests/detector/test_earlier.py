"""A run as it was: nothing of what came later, and all of what was there."""

import numpy as np
import pytest
from tests.detector.checks.batch_cases import batches
from tests.detector.checks.builders import OUTPUTS, RELU, failing, history, run, series

from backslide_detector.earlier import until
from backslide_detector.engine import Case, judge

TABLES = ("activations", "gradients", "weights", "updates", "batches")


def test_what_came_later_is_gone_and_the_rest_as_it_was():
    whole = run(batches=batches(), series={"val_loss": series(np.ones(4), every=100)})
    then = until(whole, 150)
    assert not then.finished
    assert not then.predictions
    assert then.series["val_loss"].steps.tolist() == [0, 100]
    assert then.series["loss"].steps[-1] == 150
    for name in TABLES:
        kept, table = getattr(then, name), getattr(whole, name)
        assert kept.steps.tolist() == [step for step in table.steps if step <= 150], name
    assert np.array_equal(then.weights.rms, whole.weights.rms[: len(then.weights.steps)])
    assert then.weights.layers == whole.weights.layers
    assert len(then.batches.predictions) == len(then.batches)
    assert len(then.batches.numbers["loss"]) == len(then.batches)


def test_before_the_first_snapshot_there_is_none():
    then = until(run(batches=batches()), -1)
    assert not then.series
    assert [getattr(then, name) for name in TABLES] == [None] * len(TABLES)


@pytest.mark.parametrize(("since", "told"), [(0, True), (330, False)])
def test_what_was_there_a_while_ago_is_told_at_the_first_look(since, told):
    late = history(OUTPUTS).steps[:, None] >= since
    dead = np.where(late & np.isfinite(RELU), 0.95, RELU)
    ill = failing(
        status="RUNNING", activations=history(OUTPUTS, dead_fraction=dead), predictions={}
    )
    judged = judge(Case(ill, live=True))
    assert "dead-units" in judged.seen
    assert ("dead-units" in dict(judged.judgement.findings)) == told
