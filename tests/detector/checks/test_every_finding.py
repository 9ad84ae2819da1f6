"""Whatever a check finds, a reader learns where, since when, how much, why, and what to try."""

import json
import re
from dataclasses import replace

import pytest
from tests.detector.checks import batch_cases
from tests.detector.checks.test_checks import FOUND, cases, outcome

from backslide_detector.checks.registry import load_checks
from backslide_detector.engine import Case, judge
from backslide_detector.evidence import LayerHistory
from backslide_detector.report.document import document
from backslide_detector.report.links import Links
from backslide_detector.report.page import page
from backslide_detector.report.words import note

IN_A_LAYER = {
    "dead-units",
    "exploding-gradient",
    "saturated-activation",
    "symmetric-weights",
    "vanishing-gradient",
}
"""Checks that look at layers one by one: each of their findings names one."""
AT_THE_END = {"class-collapse", "constant-output"}
"""They read predictions, which are made once: when it began, only the batches tell."""


def modules(evidence):
    """Qualified names of all modules that a run has a record of."""
    histories = [evidence.activations, evidence.gradients, evidence.weights]
    return {
        history.module(index)
        for history in histories
        if isinstance(history, LayerHistory)
        for index in range(len(history.layers))
    }


@pytest.mark.parametrize(("name", "evidence"), cases(FOUND))
def test_a_finding_says_where_since_when_how_much_why_and_what_to_try(name, evidence):
    found = outcome(name, evidence)
    if name in IN_A_LAYER:
        assert found.layer in modules(evidence)
    assert found.numbers
    assert re.search(r"\d", found.sentence)
    if name not in AT_THE_END:
        assert found.since_step is not None
        assert found.since_step >= 0
    (check,) = [check for check in load_checks() if check.name == name]
    assert found.usual_cause == check.usual_cause
    for said in (found.sentence, found.usual_cause, found.advice):
        assert said[0].isupper() or said[0].isdigit()
        assert said.endswith(".")
        assert len(said) > 20


def test_one_answer_to_everything_is_dated_by_the_batches():
    (evidence, *_) = FOUND["constant-output"]
    varied = batch_cases.batches()
    same = tuple(p if i < 12 else p * 0 + 3 for i, p in enumerate(varied.predictions))
    dated = outcome(
        "constant-output", replace(evidence, batches=replace(varied, predictions=same))
    )
    assert dated.since_step == varied.steps[12]
    assert outcome("constant-output", evidence).since_step is None


def test_the_note_the_report_and_the_file_say_all_of_it():
    evidence = FOUND["dead-units"][0]
    judgement = judge(Case(evidence)).judgement
    (found,) = [found for check, found in judgement.findings if check == "dead-units"]
    nowhere = Links(None, None, None, None)
    written = json.dumps(document(judgement), ensure_ascii=False)
    shown = page(judgement, evidence, None, nowhere)
    for text in (note(judgement, evidence, None, nowhere), shown, written):
        assert found.usual_cause in text
        assert found.advice in text
        assert "step 0" in text
