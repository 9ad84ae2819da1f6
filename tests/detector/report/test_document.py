"""verdict.json: the fields of the contract, strictly valid."""

import json
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.detector.report.story import BARE, FOUND, JUDGEMENT

from backslide_detector.estimand import Estimand
from backslide_detector.finding import Result
from backslide_detector.report.document import document


def test_holds_what_the_contract_names():
    written = document(JUDGEMENT)
    assert written["schema"] == "1"
    assert written["run"] == "digits-2"
    assert written["compared_to"] == "digits-1"
    assert written["verdict"] == "regressed"
    assert written["health"] == "failing"
    assert written["cause"] == ["data", "noise"]
    assert written["mde"] == 0.017
    assert written["estimands"]["model"] == {
        "effect": 0.029,
        "interval": [0.014, 0.044],
        "pvalue": 2e-4,
        "n": 500,
        "method": "McNemar mid-p",
        "reason": None,
        "fixed": 4,
        "broken": 18,
    }
    assert written["estimands"]["recipe"]["effect"] is None
    assert written["changed"][0] == {
        "kind": "data",
        "what": "train: digest",
        "old": "5f1c9a0e",
        "new": "91ab03cc",
    }
    assert written["findings"] == [
        {
            "name": "dead-units",
            "severity": "failing",
            "layer": "blocks.1.conv",
            "since_step": 120,
            "numbers": {"dead_share": 0.91, "loss": None, "ratio": 1e-7},
            "sentence": FOUND.sentence,
            "advice": FOUND.advice,
        }
    ]


def test_a_run_with_nothing_has_the_same_fields():
    assert document(BARE).keys() == document(JUDGEMENT).keys()


@given(st.floats(), st.floats(), st.text(), st.integers())
def test_is_strictly_valid_json(one, other, text, count):
    estimand = Estimand(one, (one, other), other, count, text, text, count, count)
    found = replace(FOUND, numbers={text: one}, sentence=text, since_step=count)
    retrain = replace(JUDGEMENT.retrain, model=estimand, mde=one, margin=other)
    judgement = replace(JUDGEMENT, retrain=retrain, results=(Result("x", found),))
    written = json.dumps(document(judgement), allow_nan=False)
    assert json.loads(written)["findings"][0]["sentence"] == text


def test_numpy_numbers_are_written_too():
    estimand = Estimand(np.float64(0.1), (np.float32(0.5), np.float64("nan")), n=np.int64(3))
    found = replace(FOUND, numbers={"x": np.float32(2)}, since_step=np.int64(7))
    retrain = replace(JUDGEMENT.retrain, model=estimand)
    judgement = replace(JUDGEMENT, retrain=retrain, results=(Result("x", found),))
    written = json.loads(json.dumps(document(judgement), allow_nan=False))
    assert written["estimands"]["model"]["interval"] == [0.5, None]
    assert written["findings"][0]["since_step"] == 7
