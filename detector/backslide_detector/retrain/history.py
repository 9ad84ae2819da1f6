"""What is remembered of earlier runs: enough to choose a baseline and to know the noise."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from backslide.contract import Cause, Health, Tag, Verdict
from backslide_detector.evidence import ErrorRate, RunEvidence
from backslide_detector.names import table_of


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run of the lineage in a few words, as the ledger or the tags keep it.

    Attributes:
        started: epoch seconds.
        finished: false while more evidence may come.
        recipe: digest of data, parameters, code and environment, without the seed; equal
            digests are repeats of one recipe. None when the run did not say.
        decision: what a person decided about it, if anybody did.
        flips: share of common examples on which it disagreed with its baseline, when both were
            made by one recipe.
        test_set: digest of the examples it was tested on.
        lead: "better" when the alert channel showed that with it the lineage got better than
            the reference; "first" when it shared no examples with the reference.
        made_from: what it said of its recipe, by kind and name, for comparison only.
        alarmed: the alert channel showed with it that the lineage got worse.
        weights: trainable weights of its network; None when they were not recorded.
    """

    run_id: str
    name: str
    started: float
    finished: bool = True
    lineage: str | None = None
    error: ErrorRate | None = None
    verdict: Verdict | None = None
    health: Health | None = None
    recipe: str | None = None
    seed: str | None = None
    decision: Literal["accepted", "rejected"] | None = None
    flips: float | None = None
    test_set: str | None = None
    lead: Literal["better", "first"] | None = None
    made_from: Mapping[Cause, Mapping[str, str]] = field(default_factory=dict)
    alarmed: bool = False
    weights: int | None = None

    @classmethod
    def of(
        cls,
        run: RunEvidence,
        verdict: Verdict | None = None,
        health: Health | None = None,
        decision: Literal["accepted", "rejected"] | None = None,
    ) -> Self:
        """The light record of a run that was read in full."""
        return cls(
            run_id=run.run_id,
            name=run.name,
            started=run.started,
            finished=run.finished,
            lineage=run.lineage,
            error=run.error,
            verdict=verdict,
            health=health,
            recipe=recipe_digest(run),
            seed=run.provenance.seed,
            decision=decision,
            made_from=ingredients(run),
            weights=None if run.weights is None else int(run.weights.count.sum()) or None,
        )

    @classmethod
    def with_test_set(
        cls, run: RunEvidence, verdict: Verdict | None = None, health: Health | None = None
    ) -> Self:
        """The record with the digest of the examples, which takes going through all of them."""
        return replace(cls.of(run, verdict, health), test_set=examples_digest(run))

    @property
    def accepted(self) -> bool:
        """True when later retrains may be measured against it."""
        if self.decision is not None:
            return self.decision == "accepted"
        return self.verdict is not Verdict.REGRESSED and self.health is not Health.FAILING


def examples_digest(run: RunEvidence) -> str | None:
    """Digest of the examples that a run's error is of; None when only the error is known."""
    table = None if run.error is None else table_of(run.predictions, run.error.split)
    return None if table is None else table.test_set


def measured_alike(one: PastRun, other: PastRun) -> bool:
    """Were two errors measured by the same measure on the same test set, as far as is known?"""
    if one.error is None or other.error is None:
        return False
    if one.test_set and other.test_set and one.test_set != other.test_set:
        return False
    return one.error.possible and other.error.possible and one.error.place == other.error.place


def on_one_course(new: PastRun, run: PastRun) -> bool:
    """Was another run's error measured as this one's, and is it known for good?"""
    return measured_alike(new, run) and (run.finished or run.run_id == new.run_id)


SEED_NAMES = frozenset({"seed", "random_seed", "random_state", "manual_seed"})
"""Parameters that only choose the random numbers: no part of the recipe."""
PARAMETER = "parameter "
"""Before the name of a parameter."""
GIT_COMMIT = "git commit"


def unseeded(params: Mapping[str, str]) -> dict[str, str]:
    """Parameters without those that only choose the random numbers."""
    return {key: value for key, value in params.items() if key.lower() not in SEED_NAMES}


def ingredients(run: RunEvidence) -> dict[Cause, Mapping[str, str]]:
    """What a run said that it was made from, by kind and name; kinds it said nothing of: none.

    Of packages there is one digest: a hundred versions a run are more than a history can tell
    apart.
    """
    source = run.provenance
    data = {
        f"{name} {what}": str(value)
        for name, summary in run.data.items()
        for what, value in (
            ("content", summary.digest),
            ("version", summary.version),
            ("rows", summary.rows),
        )
        if value is not None
    }
    code = {
        what: value
        for what, value in (
            (GIT_COMMIT, source.git_commit),
            ("uncommitted changes", source.git_diff_digest),
        )
        if value is not None
    }
    around = dict(source.environment)
    if source.packages:
        text = json.dumps(sorted(source.packages.items()))
        around["packages"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    said: dict[Cause, Mapping[str, str]] = {
        Cause.DATA: data,
        Cause.CONFIG: {f"{PARAMETER}{k}": v for k, v in unseeded(run.params).items()},
        Cause.CODE: code,
        Cause.ENVIRONMENT: around,
    }
    return {kind: entries for kind, entries in said.items() if entries}


def of_plain_run(
    params: Mapping[str, str], tags: Mapping[str, str]
) -> dict[Cause, Mapping[str, str]]:
    """As much of it as a listing of runs tells."""
    said: dict[Cause, Mapping[str, str]] = {}
    if params:
        said[Cause.CONFIG] = {f"{PARAMETER}{k}": v for k, v in unseeded(params).items()}
    if commit := tags.get("mlflow.source.git.commit"):
        said[Cause.CODE] = {GIT_COMMIT: commit}
    return said


def recipe_digest(run: RunEvidence) -> str | None:
    """Digest of everything a run is made from except its seed; None when it said nothing.

    Runs that `backslide noise` made are repeats of each other whether or not they said it.
    """
    source = run.provenance
    made_from = {
        "params": unseeded(run.params),
        "data": {name: summary.digest for name, summary in run.data.items()},
        "code": [source.git_commit, source.git_diff_digest],
        "packages": dict(source.packages),
        "environment": dict(source.environment),
    }
    if not run.data and source.git_commit is None:
        return run.tags.get(Tag.REPEAT)
    text = json.dumps(made_from, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
