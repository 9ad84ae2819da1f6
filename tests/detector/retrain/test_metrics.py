"""Every metric of a retrain in one table, from the runs to `verdict.json`."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score, roc_auc_score
from tests.detector.report.html_reader import Page

from backslide_detector.engine import Case, judge
from backslide_detector.evidence import Series
from backslide_detector.report.document import document
from backslide_detector.report.links import Links
from backslide_detector.report.page import page
from backslide_detector.report.terminal import comparison
from backslide_detector.retrain.logged import direction
from backslide_detector.retrain.verdict import judge_retrain


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


def of_two_classes(make, name, score_of_yes, **more):
    """A model that says yes from one half on, with what it logs as the score."""
    truth = np.where(np.arange(400) % 2 == 0, "yes", "no").astype(object)
    said = np.where(score_of_yes >= 0.5, "yes", "no").astype(object)
    table = make.predictions(said == truth, targets=truth, score=more.pop("score"))
    return make.run(name, preds=replace(table, predictions=said), **more)


@pytest.mark.parametrize("logged", ["confidence", "of yes", "of no", "noise"])
def test_two_classes_get_an_area_under_the_curve_if_the_scores_tell(make, logged):
    random = np.random.default_rng(2)
    truth = np.arange(400) % 2 == 0
    runs, areas = [], []
    for name, started, signal in (("old", 0.0, 1.5), ("new", 10.0, 0.4)):
        yes = 1 / (1 + np.exp(-random.normal(np.where(truth, signal, -signal), 1.5)))
        score = {
            "confidence": np.maximum(yes, 1 - yes),
            "of yes": yes,
            "of no": 1 - yes,
            "noise": random.random(400),
        }[logged]
        runs.append(of_two_classes(make, name, yes, score=score, started=started))
        areas.append(roc_auc_score(truth, yes))
    verdict = judge_retrain(runs[1], runs[0])
    found = [row for row in verdict.metrics if row.name == "auc"]
    if logged == "noise":
        assert found == []
        return
    (row,) = found
    assert (row.old, row.new) == pytest.approx(areas)
    assert (row.better, row.n) == ("higher", 400)
    assert row.interval[1] < 0
    assert row.pvalue < 0.01


def test_what_was_only_logged_is_compared_without_an_interval(make):
    def series(value):
        return Series(np.arange(1), np.array([value]), np.zeros(1))

    def logged(factor, error):
        values = {
            "val_f1": 0.9, "test/bleu": 30.0, "eval_wer": 0.2, "test/oddity": 1.0,
            "train_accuracy": 0.99, "accuracy": 0.99, "lr": 0.1, "test_examples": 400.0,
            "gradient/norm": 3.0, "backslide/error_delta": 0.0, "val_runtime": 9.0,
            "system/gpu_recall": 1.0,
        }  # fmt: skip
        found = {key: series(value * factor) for key, value in values.items()}
        stated = {"test_accuracy": series(1 - error), "test_error": series(error)}
        return found | stated | {"test_nan_loss": series(float("nan"))}

    old = make.run("old", error=0.05, examples=400, series=logged(1.0, 0.05))
    new = make.run("new", error=0.07, examples=400, series=logged(0.9, 0.07), started=9.0)
    rows = {row.name: row for row in judge_retrain(new, old).metrics if row.role == "logged"}
    assert {name: row.better for name, row in rows.items()} == {
        "val_f1": "higher",
        "test/bleu": "higher",
        "eval_wer": "lower",
        "test/oddity": None,
    }
    bleu = rows["test/bleu"]
    assert (bleu.old, bleu.new, bleu.effect) == (30.0, 27.0, pytest.approx(-3.0))
    assert (bleu.interval, bleu.pvalue) == (None, None)
    assert bleu.method == "no interval: only the number was logged"


@pytest.mark.parametrize(
    ("key", "better"),
    [("val_loss", "lower"), ("test/rmse", "lower"), ("val_auc", "higher"), ("val/r2", "higher"),
     ("eval_f1_macro", "higher"), ("test_thing", None), ("val_loss_recall", None)],
)  # fmt: skip
def test_the_direction_follows_the_name(key, better):
    assert direction(key) == better


def test_page_and_terminal_show_every_metric_with_its_direction(make):
    new, old = make.pair(2_000, 70, fixed=10, broken=60)
    night = np.where(np.arange(2_000) < 300, "night", "day").astype(object)
    new, old = (
        replace(run, predictions={"test": replace(table, slices={"time": night})})
        for run in (new, old)
        for table in run.predictions.values()
    )
    judgement = judge(Case(new, old)).judgement
    shown = Page(page(judgement, new, old, Links())).said()
    console = Console(width=140, record=True, file=io.StringIO())
    for part in comparison(judgement):
        console.print(part)
    told = " ".join(console.export_text().split())
    for part in (
        "error lower",
        "worse",
        "3.50 % 6.00 % +2.50 points",
        "recall/a higher",
        "error/time=night lower",
        "mid-p McNemar test, Tango interval",
    ):
        assert part in told
    assert "error lower worse 3.50 % 6.00 % +2.50 points" in shown.replace("\u00a0", " ")
    assert "recall/a higher" in shown
    assert "Shown to be worse: error" in shown


def test_on_other_examples_each_metric_is_compared_by_itself(make):
    random = np.random.default_rng(4)
    runs, expected = [], []
    for name, started, wrong, first in (("old", 0.0, 0.05, 0), ("new", 10.0, 0.20, 9_000)):
        n = 2_000
        truth = np.where(random.random(n) < 0.3, "yes", "no").astype(object)
        right = random.random(n) >= np.where(truth == "yes", wrong, 0.05)
        said = np.where(right, truth, np.where(truth == "yes", "no", "yes")).astype(object)
        score = np.where(right, random.uniform(0.7, 1.0, n), random.uniform(0.5, 0.8, n))
        table = make.predictions(
            right, targets=truth, score=score, ids=[f"id{first + i}" for i in range(n)]
        )
        runs.append(make.run(name, started=started, preds=replace(table, predictions=said)))
        yes = np.where(said == "yes", score, 1 - score)
        expected.append(
            {
                "auc": roc_auc_score(truth == "yes", yes),
                "f1_macro": f1_score(truth.astype(str), said.astype(str), average="macro"),
                "recall/yes": right[truth == "yes"].mean(),
                "recall/no": right[truth == "no"].mean(),
            }
        )
    rows = {row.name: row for row in judge_retrain(runs[1], runs[0]).metrics}
    assert {"error", "confidence", "calibration_error", *expected[0]} <= set(rows)
    for name, before in expected[0].items():
        assert rows[name].old == pytest.approx(before)
        assert rows[name].new == pytest.approx(expected[1][name])
        assert rows[name].interval[0] <= rows[name].effect <= rows[name].interval[1]
    assert rows["recall/yes"].pvalue < 1e-6 < rows["recall/no"].pvalue
    assert rows["recall/yes"].better == "higher"
    assert "Newcombe-Wilson" in rows["recall/yes"].method
