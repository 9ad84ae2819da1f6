"""What a pass of the detector writes about the inside, by way of the store in memory."""

import json

from tests.detector.inside.builders import healthy, nothing, probe
from tests.detector.inside.test_checks import reset
from tests.detector.shell.builders import a_detector, a_ledger, a_run, a_store

from backslide.contract import Artifact, Tag
from backslide_detector.evidence import Provenance
from backslide_detector.scan import scan

BASE = a_run(1, probe=probe(), provenance=Provenance(final_weights="w"))


def judged(tmp_path, *runs):
    store = a_store(*runs)
    list(scan(a_detector(store, a_ledger(tmp_path))))
    last = runs[-1].run_id
    return store.tags(last), json.loads(store.artifacts[last][Artifact.VERDICT])


def test_a_reset_layer_is_told_without_making_the_run_ill(tmp_path):
    retrain = a_run(2, probe=reset("conv3"), tags=BASE.tags | {Tag.PARENT: BASE.run_id})
    tags, document = judged(tmp_path, BASE, retrain)
    assert tags[Tag.FINDINGS] == "layer-changed"
    assert tags[Tag.HEALTH] == "healthy"
    (finding,) = document["findings"]
    assert (finding["name"], finding["layer"], finding["severity"]) == (
        "layer-changed", "conv3", "note",
    )  # fmt: skip


def test_a_regression_backs_it(tmp_path):
    retrain = a_run(
        2, error=0.2, probe=reset("conv3"), provenance=Provenance(initial_weights="w")
    )
    tags, document = judged(tmp_path, BASE, retrain)
    assert tags[Tag.VERDICT] == "regressed"
    assert tags[Tag.HEALTH] == "warning"
    assert document["findings"][0]["severity"] == "warning"


def test_healthy_runs_of_the_lineage_are_the_measure(tmp_path):
    runs = [a_run(i, probe=healthy(i)) for i in range(1, 11)]
    collapsed = healthy(11, conv3=nothing())
    tags, document = judged(tmp_path, *runs, a_run(11, probe=collapsed))
    assert tags[Tag.FINDINGS] == "layer-changed"
    assert document["findings"][0]["layer"] == "conv3"
    assert "10 healthy runs" in document["findings"][0]["sentence"]


def test_a_healthy_retrain_has_no_findings(tmp_path):
    runs = [a_run(i, probe=healthy(i)) for i in range(1, 12)]
    tags, document = judged(tmp_path, *runs)
    assert Tag.FINDINGS not in tags
    assert document["findings"] == []
