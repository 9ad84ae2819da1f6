"""Input from a bad day or a bad person: a clear reason, nothing lost, nothing executed.

Everything is logged offline and shipped by one `backslide sync`, then judged in one pass, so
that whatever one run holds could spoil it for the others.
"""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient
from tests.browser import browser_page, open_report
from tests.detector.shell.plain_runs import log_run
from tests.e2e.commands import inside
from torch import nn

from backslide import Run, start
from backslide.contract import SCALARS_SCHEMA, Artifact, Metric, Tag, predictions_schema
from backslide.record.scalars import clean
from backslide_detector.scan import Outcome, scan
from backslide_detector.service import detector
from backslide_detector.settings import Settings
from backslide_detector.store.server import MlflowStore

SCRIPT = "<script>document.title='pwned';alert(1)</script><img src=x onerror=alert(1)>"
NAMES = {
    "script": SCRIPT,
    "path": "../../etc/passwd",
    "long": "n" * 5_000,
    "emoji": "🦊🏴‍☠️é",
    "control": "a\x00b\x1b[31mc\nd\u202ee",
    "surrogate": "half a pair \ud83e",
    "quote": "it's \"50%_\\",
}
ROWS = 100_000_000


@dataclass
class Story:
    """What was logged, by a short name, and what became of it."""

    uri: str
    client: MlflowClient
    runs: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    log: str = ""

    def tags(self, name: str) -> dict[str, str]:
        return self.client.get_run(self.runs[name]).data.tags

    def problems(self, name: str) -> str:
        return "\n".join(self.outcomes[self.runs[name]].judgement.problems)


@pytest.fixture(scope="module")
def story(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Story:
    home = tmp_path_factory.mktemp("bad-input")
    told = Story(mlflow_server, MlflowClient(mlflow_server))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKSLIDE_OFFLINE", "1")
        patch.setenv("BACKSLIDE_SPOOL_DIR", str(home))
        for short, name in NAMES.items():
            hostile_run(short, name, mlflow_server)
        hostile_run("retrain", SCRIPT, mlflow_server, wrong=60)
        nonfinite_run(mlflow_server)
    inside(mlflow_server, "sync", str(home))
    everywhere = [found.experiment_id for found in told.client.search_experiments()]
    shipped = told.client.search_runs(everywhere, "tags.story LIKE '%'")
    told.runs = {run.data.tags["story"]: run.info.run_id for run in shipped}
    plain_runs(told, home)
    with listening() as lines:
        judge(told, home)
    told.log = "\n".join(lines)
    return told


@contextmanager
def listening() -> Iterator[list[str]]:
    """What the detector logs meanwhile."""
    logger, lines = logging.getLogger("backslide_detector"), Messages()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(lines)
    try:
        yield lines.kept
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)


class Messages(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record.getMessage())


def hostile_run(short: str, name: str, uri: str, wrong: int = 10) -> None:
    """A real training in which everything that has a name bears this one."""
    inputs, labels = torch.randn(200, 4), torch.zeros(200, dtype=torch.int64)
    model = nn.Sequential()
    model.add_module(name.replace(".", "_"), nn.Linear(4, 3))  # torch wants no dot in it
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with start(
        name,
        model=model,
        optimizer=optimizer,
        params={name: name},
        experiment=name,
        run_name=name,
        tags={"story": short, name: name},
        tracking_uri=uri,
        overhead=None,
    ) as run:
        run.log_data(name, inputs, [name] * 200, version=name)
        train(run, model, optimizer, inputs, labels)
        run.log({name: 0.5})
        outcomes = {
            "targets": [name] * 200,
            "predictions": ["another"] * wrong + [name] * (200 - wrong),
            "slices": {name: [name, "b"] * 100},
        }
        run.log_predictions("test", [f"{number} {name}" for number in range(200)], **outcomes)
        run.log_predictions(name, range(200), **outcomes)
        assert not run.faults.counts


def nonfinite_run(uri: str) -> None:
    """Losses, metrics and weights that are no numbers."""
    inputs, labels = torch.randn(200, 4), torch.zeros(200, dtype=torch.int64)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with start(
        "numbers", model=model, optimizer=optimizer, tags={"story": "numbers"},
        experiment="bad-input", run_name="numbers", tracking_uri=uri, overhead=None,
    ) as run:  # fmt: skip
        run.log_data("train", torch.full((200, 4), math.nan), labels)
        train(run, model, optimizer, inputs, labels)
        with torch.no_grad():
            model.weight.fill_(math.inf)
        train(run, model, optimizer, inputs, labels)
        run.log({"val_loss": -math.inf, "odd": math.nan})
        run.log(infinite=torch.tensor(math.inf), large=1e308, huge=10**400)
        ids = range(200)
        losses, scores = [math.nan] * 200, [math.inf] * 200
        run.log_predictions("test", ids, labels, labels, losses=losses, scores=scores)
        run.log_predictions("val", ids, [math.nan] * 200, [math.inf] * 200)
        run.evaluate("train", [(inputs, labels)])
        assert run.faults.counts.keys() <= {"dropped: a value that is no number"}


def train(run: Run, model, optimizer, inputs, labels) -> None:
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.step(loss=loss)


def plain_runs(told: Story, home: Path) -> None:
    """Runs with artifacts that somebody else put there; a good one at either end."""
    client = told.client
    experiment = client.get_experiment_by_name("bad-input").experiment_id
    for name in ("good", "cut", "many", "json", "doomed", "late", "last"):
        told.runs[name] = log_run(client, experiment, 0.05, lineage=name, name=name)

    table = home / "test.parquet"
    ids = [str(number) for number in range(10_000)]
    outcomes = {"id": ids, "target": ids, "prediction": ids, "correct": [True] * len(ids)}
    pq.write_table(pa.table(outcomes), table)
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
    client.log_artifact(told.runs["cut"], str(table), Artifact.PREDICTIONS)

    for schema, path in (
        (predictions_schema(pa.string()), f"{Artifact.PREDICTIONS}/test.parquet"),
        (SCALARS_SCHEMA, f"{Artifact.SCALARS}/part-00000.parquet"),
    ):
        file = home / Path(path).name
        write_many_rows(file, schema)
        assert file.stat().st_size < 2_000_000
        client.log_artifact(told.runs["many"], str(file), str(Path(path).parent))

    for path, text in {
        Artifact.PROVENANCE: '{"git": ' + "[" * 100_000,
        Artifact.GRAPH: '{"nodes": "' + "x" * 8_000_001 + '"}',
        f"{Artifact.DATA}/train.json": json.dumps(
            {"rows": -1, "class_counts": {SCRIPT: 10**30, "b": "c"}, "features": {SCRIPT: []}}
        ),
        f"{Artifact.DATA}/test.json": "\x00\xff not JSON",
    }.items():
        client.log_text(told.runs["json"], text, path)


def write_many_rows(path: Path, schema: pa.Schema) -> None:
    """A hundred million empty rows in a small file."""
    group = ROWS // 10
    empty = pa.table([pa.nulls(group, field.type) for field in schema], schema=schema)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for _ in range(ROWS // group):
            writer.write_table(empty, row_group_size=group)


class Deleting(MlflowStore):
    """Somebody deletes two runs while they are being judged."""

    def read(self, head):
        if head.name == "doomed":
            self._client.delete_run(head.run_id)
        return super().read(head)

    def write(self, run_id, writes):
        if self._client.get_run(run_id).info.run_name == "late":
            self._client.delete_run(run_id)
        super().write(run_id, writes)


def judge(told: Story, home: Path) -> None:
    """One pass over these runs alone: others share the server."""
    numbers = {told.client.get_run(run).info.experiment_id for run in told.runs.values()}
    names = [told.client.get_experiment(number).name for number in numbers]
    settings = Settings(tracking_uri=told.uri, state=str(home / "ledger.db"), workers=1)
    with detector(settings) as parts:
        for outcome in scan(replace(parts, store=Deleting(told.uri, names))):
            told.outcomes[outcome.head.run_id] = outcome


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_any_name_arrives_whole_and_is_judged(story, name):
    run = story.client.get_run(story.runs[name])
    tags, metrics = run.data.tags, run.data.metrics
    assert tags[Tag.VERDICT] == "first", tags
    assert tags[Tag.HEALTH] in {"healthy", "warning", "failing"}
    assert metrics["test/error"] == pytest.approx(0.05)
    assert metrics[clean(NAMES[name])] == 0.5
    assert Metric.DROPPED not in metrics
    assert len(run.data.params) == 1
    assert story.problems(name) == ""


def test_names_that_mlflow_takes_stay_as_they_are(story):
    for name in ("script", "path", "emoji", "quote"):
        run = story.client.get_run(story.runs[name])
        assert run.data.tags[Tag.LINEAGE] == run.info.run_name == NAMES[name]
        experiment = story.client.get_experiment(run.info.experiment_id)
        assert experiment.name == NAMES[name]


def test_a_retrain_is_compared_by_its_hostile_ids(story):
    tags = story.tags("retrain")
    assert tags[Tag.VERDICT] == "regressed"
    assert tags[Tag.COMPARED_TO] == story.runs["script"]


def test_numbers_that_are_none_are_a_finding(story):
    run = story.client.get_run(story.runs["numbers"])
    assert "nan-or-inf" in run.data.tags[Tag.FINDINGS]
    assert run.data.tags[Tag.VERDICT] == "first"
    assert run.data.metrics["test/error"] == 0.0
    assert run.data.metrics[Metric.NONFINITE] >= 42
    assert run.data.metrics["large"] == 1e308
    history = story.client.get_metric_history(run.info.run_id, "loss")
    assert len(history) == 80


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cut", ["test.parquet: not a readable Parquet file"]),
        ("many", ["100,000,000 rows; at most 10,000,000", "100,000,000 rows; at most 5"]),
        ("json", ["provenance.json: not JSON", "graph.json: 8,0", "test.json: not JSON"]),
    ],
)
def test_artifacts_that_are_no_use_are_named_and_the_rest_counts(story, name, said):
    assert story.tags(name)[Tag.VERDICT] == "first"
    for words in said:
        assert words in story.problems(name)


def test_runs_deleted_in_the_middle_are_said_and_forgotten(story):
    for name in ("doomed", "late"):
        run = story.client.get_run(story.runs[name])
        assert run.info.lifecycle_stage == "deleted"
        assert Tag.VERDICT not in run.data.tags
        assert f"run {story.runs[name]} was deleted" in story.log


def test_the_good_runs_beside_them_are_judged(story):
    for name in ("good", "last"):
        assert story.tags(name)[Tag.VERDICT] == "first"
        assert story.problems(name) == ""


@pytest.mark.browser
def test_no_page_runs_what_a_name_says(story):
    run = story.client.get_run(story.runs["retrain"])
    place = f"{story.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    dialogs = []
    with browser_page() as page:
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(f"{place}?workflowType=machine_learning")
        page.get_by_text("regressed").first.wait_for(timeout=60_000)
        report = open_report(page, f"{place}/artifacts/{Artifact.REPORT}")
        report.get_by_text("document.title='pwned'").first.wait_for()
        assert report.locator("img[src=x]").count() == 0
        assert report.locator("script").count() == 1  # the report's own
        assert page.title() != "pwned"
    assert dialogs == []
