"""Names of tags and metrics, values of tags, places of artifacts."""

from enum import StrEnum
from typing import Final, Literal

SCHEMA: Final = "1"
"""Version of everything in this module, written as the tag `backslide.schema`."""


class Tag:
    """Run tags. The SDK writes the first group, the detector the second."""

    LINEAGE: Final = "backslide.lineage"
    SCHEMA: Final = "backslide.schema"
    BASELINE: Final = "backslide.baseline"
    PARENT: Final = "backslide.parent"
    SEED: Final = "backslide.seed"
    SMALL_DATA: Final = "backslide.small_data"
    """What the small-data test said: its kind, and the cause after a colon."""
    CLIENT: Final = "backslide.client"
    """A unique id made by the client beforehand, so that the run is never created twice."""
    ATTRIBUTION: Final = "backslide.attribution"
    """JSON `{"of": run id, "new": ["data", ...]}`: a run that helps to settle the cause of that
    run's difference, these kinds taken from its recipe and the rest from its baseline's."""
    REPEAT: Final = "backslide.repeat"
    """Names a batch of trainings of one recipe under several seeds, made to measure luck."""
    DECISION: Final = "backslide.decision"
    """`accepted` or `rejected`, by a person."""

    VERDICT: Final = "backslide.verdict"
    HEALTH: Final = "backslide.health"
    FINDINGS: Final = "backslide.findings"
    SUMMARY: Final = "backslide.summary"
    COMPARED_TO: Final = "backslide.compared_to"
    CAUSE: Final = "backslide.cause"
    STOP: Final = "backslide.stop"
    REVISION: Final = "backslide.rev"
    """Digest of what the detector last wrote; equal digests mean nothing is left to write."""

    NOTE: Final = "mlflow.note.content"


class Metric:
    """Metric keys with a meaning fixed here."""

    LAST_SEEN: Final = "backslide/last_seen"
    """Heartbeat: epoch seconds, at least every `HEARTBEAT_SECONDS` while the job lives."""
    OVERHEAD: Final = "backslide/overhead"
    """Share of training time spent on watching, as a fraction."""
    DROPPED: Final = "backslide/dropped"
    """Records given up because of a limit, counted since the start."""
    NONFINITE: Final = "backslide/nonfinite"
    """Scalars logged as NaN or infinite so far (MLflow itself stores infinity as 1.8e308)."""

    GRADIENT_NORM: Final = "gradient/norm"
    DEAD_FRACTION: Final = "activation/dead_fraction"
    UPDATE_RATIO: Final = "update/ratio"
    LEARNING_RATE: Final = "lr"
    """Of each parameter group as `lr/<group>`: its name, or its number over all optimizers."""

    ERROR_DELTA: Final = "backslide/error_delta"
    ERROR_DELTA_LOW: Final = "backslide/error_delta_low"
    ERROR_DELTA_HIGH: Final = "backslide/error_delta_high"
    EVIDENCE: Final = "backslide/evidence"
    """-log10 of the p-value against "no difference": 1.3 is p = 0.05, 3 is p = 0.001."""


HEARTBEAT_SECONDS: Final = 15
DEAD_AFTER_SECONDS: Final = 180
"""A RUNNING run whose heartbeat is older than this belongs to a job that died."""


class Verdict(StrEnum):
    """Values of the tag `backslide.verdict`."""

    IMPROVED = "improved"
    REGRESSED = "regressed"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    FIRST = "first"
    NONE = "none"


class Health(StrEnum):
    """Values of the tag `backslide.health`."""

    HEALTHY = "healthy"
    WARNING = "warning"
    FAILING = "failing"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Values in the tag `backslide.cause`, most likely first."""

    DATA = "data"
    CONFIG = "config"
    CODE = "code"
    ENVIRONMENT = "environment"
    NOISE = "noise"
    UNKNOWN = "unknown"


Measure = Literal["error", "loss", "mse"]
"""Values of `measure` in verdict.json: what a lineage is judged by, a share of wrong answers
or, where it predicts measured values, a mean loss or the mean squared error."""


class Role(StrEnum):
    """What a tensor is to the network: values of the column `role` of the layers table."""

    ACTIVATION = "activation"
    GRADIENT = "gradient"
    WEIGHT = "weight"
    UPDATE = "update"


class Artifact:
    """Paths below a run's artifact root."""

    ROOT: Final = "backslide"
    LAYERS: Final = "backslide/layers"
    BATCHES: Final = "backslide/batches"
    SCALARS: Final = "backslide/scalars"
    PREDICTIONS: Final = "backslide/predictions"
    DATA: Final = "backslide/data"
    PROBE: Final = "backslide/probe"
    """`probe.json` and a table each of `PROBE_SCHEMAS`: of the last probe in a run."""
    GRAPH: Final = "backslide/graph.json"
    """`{"nodes": [{"id", "name", "kind", "type", "depth", "parameters", "output", "calls"}],
    "edges": [[id, id]], "alike": [...], "idle": [...]}`. `type`: module, operation, input,
    output, or ghost for a module that never ran; `name`: qualified name of the module, or of
    the one an operation ran in; ids are unique, `name`, or `name#2` of a second call."""
    SKETCH: Final = ".sketch.parquet"
    """After the name of a data set, beside its summary."""
    PROVENANCE: Final = "backslide/provenance.json"
    SMALL_DATA: Final = "backslide/small-data.json"
    REPORT: Final = "backslide/report.html"
    VERDICT: Final = "backslide/verdict.json"


def part(number: int, writer: str = "") -> str:
    """Name of the `number`-th file of a table that grows: `part-00000.parquet`, ...

    A job that writes into a run which others write into as well names its files after itself:
    `part-00000-6f1e....parquet`.
    """
    return f"part-{number:05d}{'-' if writer else ''}{writer}.parquet"


SHARED_VIEW_TAG: Final = "mlflow.sharedViewState.backslide"
SHARED_VIEW_NAME: Final = "backslide verdicts"

NOTE_BEGIN: Final = "<!-- backslide:begin -->"
NOTE_END: Final = "<!-- backslide:end -->"
TEXT_LIMIT: Final = 7_500
"""MLflow cuts tags and notes at 8,000 characters without a word; stay below."""
