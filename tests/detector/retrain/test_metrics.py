"""Every metric of a retrain in one table, from the runs to `verdict.json`."""

import json

import numpy as np
import pytest

from backslide_detector.engine import Case, judge
from backslide_detector.report.document import document


def test_each_metric_has_its_direction_and_numbers(make):
    n = 400
    half = np.array(["cat", "dog"] * (n // 2), dtype=object)
    night = np.where(np.arange(n) < 100, "night", "day").astype(object)
    old_right = np.ones(n, dtype=bool)
    new_right = old_right.copy()
    new_right[:60:2] = False  # thirty cats, all at night
    more = {"targets": half, "slices": {"time": night}}

    def table(right, loss):
        noise = np.linspace(-0.1, 0.1, n)
        return make.predictions(right, loss=loss + noise, score=np.full(n, 0.9), **more)

    old = make.run("old", preds=table(old_right, 0.2))
    new = make.run("new", started=10.0, preds=table(new_right, 0.5))
    told = document(judge(Case(new, old)).judgement)
    metrics = {row["name"]: row for row in json.loads(json.dumps(told))["metrics"]}
    assert metrics["loss"]["effect"] == pytest.approx(0.3)
    assert metrics["loss"]["better"] == "lower"
    # 0.9 stated; 1.0 right before and 0.925 after.
    assert metrics["calibration_error"]["old"] == pytest.approx(0.1)
    assert metrics["calibration_error"]["new"] == pytest.approx(0.025)
    cats, dogs = metrics["recall/cat"], metrics["recall/dog"]
    assert (cats["better"], cats["old"], cats["new"]) == ("higher", 1.0, pytest.approx(0.85))
    assert cats["pvalue"] < 1e-6 < dogs["pvalue"]
    assert dogs["effect"] == 0.0
    assert metrics["error/time=night"]["effect"] == pytest.approx(0.3)
    assert metrics["error/time=day"]["effect"] == 0.0
