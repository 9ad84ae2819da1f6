"""Runs made to order."""

from dataclasses import replace

import numpy as np
import pytest

from backslide_detector.evidence import (
    DataSummary,
    ErrorRate,
    Predictions,
    Provenance,
    RunEvidence,
)


def predictions(correct, *, ids=None, targets=None, **extra):
    correct = np.asarray(correct, dtype=bool)
    n = len(correct)
    ids = [f"id{i}" for i in range(n)] if ids is None else ids
    targets = ["a"] * n if targets is None else targets
    targets = np.asarray(targets, dtype=object)
    return Predictions(
        ids=np.asarray(ids, dtype=object),
        targets=targets,
        predictions=np.where(correct, targets, "wrong").astype(object),
        correct=correct,
        **extra,
    )


def flips(n, old_wrong, fixed, broken):
    """Outcomes of an old and a new model with the given flips, as two arrays of `correct`."""
    old = np.ones(n, dtype=bool)
    old[:old_wrong] = False
    new = old.copy()
    new[:fixed] = True
    new[old_wrong : old_wrong + broken] = False
    return old, new


def run(name, *, error=None, examples=None, lineage="digits", started=0.0, preds=None, **extra):
    evidence = RunEvidence(
        run_id=extra.pop("run_id", name),
        name=name,
        experiment_id="0",
        status="FINISHED",
        started=started,
        ended=started + 1,
        lineage=lineage,
        provenance=extra.pop(
            "provenance", Provenance(seed="1", git_commit="c1", packages={"torch": "2.1"})
        ),
        params=extra.pop("params", {"lr": "0.1"}),
        data=extra.pop("data", {"train": DataSummary("train", "d1", rows=100)}),
        **extra,
    )
    if preds is not None:
        evidence = replace(
            evidence,
            predictions={"test": preds},
            error=ErrorRate("test", preds.error, len(preds), "predictions"),
        )
    elif error is not None:
        evidence = replace(evidence, error=ErrorRate("test", error, examples, "test_error"))
    return evidence


@pytest.fixture
def make():
    """Builders: `make.run`, `make.predictions`, `make.pair`."""

    class Make:
        run = staticmethod(run)
        predictions = staticmethod(predictions)
        flips = staticmethod(flips)

        @staticmethod
        def pair(n, old_wrong, fixed, broken, new=None, old=None):
            """(new, old): two runs tested on the same examples."""
            before, after = flips(n, old_wrong, fixed, broken)
            return (
                run("new", started=10.0, preds=predictions(after), **(new or {})),
                run("old", started=0.0, preds=predictions(before), **(old or {})),
            )

    return Make
