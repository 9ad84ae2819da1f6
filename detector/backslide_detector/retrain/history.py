"""What is remembered of earlier runs: enough to choose a baseline and to know the noise."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, Self

from backslide.contract import Health, Tag, Verdict
from backslide_detector.evidence import ErrorRate, RunEvidence


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
        )

    @property
    def accepted(self) -> bool:
        """True when later retrains may be measured against it."""
        if self.decision is not None:
            return self.decision == "accepted"
        return self.verdict is not Verdict.REGRESSED and self.health is not Health.FAILING


SEED_NAMES = frozenset({"seed", "random_seed", "random_state", "manual_seed"})
"""Parameters that only choose the random numbers: no part of the recipe."""


def recipe_digest(run: RunEvidence) -> str | None:
    """Digest of everything a run is made from except its seed; None when it said nothing.

    Runs that `backslide noise` made are repeats of each other whether or not they said it.
    """
    source = run.provenance
    made_from = {
        "params": {k: v for k, v in run.params.items() if k.lower() not in SEED_NAMES},
        "data": {name: summary.digest for name, summary in run.data.items()},
        "code": [source.git_commit, source.git_diff_digest],
        "packages": dict(source.packages),
        "environment": dict(source.environment),
    }
    if not run.data and source.git_commit is None:
        return run.tags.get(Tag.REPEAT)
    text = json.dumps(made_from, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
