"""The store on a real MLflow server: what is found, read exactly, and written."""

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, RunStatus
from mlflow.entities import Metric as Row
from tests.detector.inside.builders import NAMES, panel, probe, write
from tests.detector.shell.builders import a_detector, a_ledger
from tests.detector.shell.plain_runs import log_run

from backslide.contract import SCALARS_SCHEMA, SHARED_VIEW_TAG, Artifact, Metric, Tag, part
from backslide_detector.errors import RunGoneError, TrackerAwayError, TrackerRefusedError
from backslide_detector.scan import scan
from backslide_detector.store import Writes
from backslide_detector.store.server import MlflowStore

HOSTILE = [
    "it's",
    'say "x"',
    'it\'s "both"',
    "50%_\\",
    "<script>alert(1)</script>",
    "ü" * 5_000,
]


@pytest.fixture
def client(mlflow_server: str) -> MlflowClient:
    return MlflowClient(mlflow_server)


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    return client.create_experiment(f"shell-{uuid.uuid4().hex}")


@pytest.fixture
def store(client: MlflowClient, mlflow_server: str, experiment: str) -> MlflowStore:
    return MlflowStore(mlflow_server, (client.get_experiment(experiment).name,))


def found(store: MlflowStore) -> list[str]:
    return [head.run_id for head in store.changed(time.time())]


def test_ended_live_and_dead_runs_are_found_oldest_first(client, experiment, store):
    now = time.time()
    ended = log_run(client, experiment, 0.05)
    plain = log_run(client, experiment, None, status=None)
    live, dead = (log_run(client, experiment, None, status=None) for _ in range(2))
    old = int((now - 10_000) * 1_000)
    silent = client.create_run(experiment, start_time=old).info.run_id
    client.log_metric(silent, "loss", 1.0, timestamp=old)
    joined = client.create_run(experiment, tags={Tag.CLIENT: "x"}).info.run_id
    client.log_metric(joined, "loss", 1.0)
    client.log_metric(live, Metric.LAST_SEEN, now)
    client.log_metric(dead, Metric.LAST_SEEN, now - 10_000)
    assert found(store) == [ended, plain, live, dead]
    assert silent not in found(store), "killed ones say RUNNING for ever"
    assert joined not in found(store), "the SDK's own runs go by their heartbeat"
    client.set_tag(dead, Tag.VERDICT, "none")
    assert found(store) == [ended, plain, live]


def test_what_arrives_long_after_the_verdict_is_news(client, experiment, store):
    run_id = log_run(client, experiment, 0.05, status=None)
    long_ago = int((time.time() - 90_000) * 1_000)
    client.set_tag(run_id, Tag.VERDICT, "first")
    client._tracking_client.store.update_run_info(
        run_id, RunStatus.from_string("FINISHED"), long_ago, None
    )
    assert found(store) == []
    before = store.heads([run_id])[0].revision
    client.log_metric(run_id, Metric.LAST_SEEN, time.time())
    assert found(store) == [run_id]
    assert store.heads([run_id])[0].revision != before


def test_the_machines_own_metrics_are_no_news(client, experiment, store):
    run_id = log_run(client, experiment, 0.05)
    before = store.heads([run_id])[0].revision
    client.log_metric(run_id, "system/cpu_utilization_percentage", 50.0)
    assert store.heads([run_id])[0].revision == before


def test_parts_of_a_running_job_are_fetched_once(client, experiment, store, tmp_path):
    run_id = log_run(client, experiment, None, steps=1, status=None)

    def table(value: float) -> pa.Table:
        columns = [[0], [0], ["loss"], [value]]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, SCALARS_SCHEMA, strict=True)]
        return pa.table(arrays, SCALARS_SCHEMA)

    def loss() -> float:
        return store.read(store.heads([run_id])[0]).series["loss"].last

    pq.write_table(table(7.0), tmp_path / part(0))
    client.log_artifact(run_id, str(tmp_path / part(0)), Artifact.SCALARS)
    assert loss() == 7.0
    (kept,) = store._parts.folder(run_id, running=True).glob("*/part-*")
    pq.write_table(table(8.0), kept)
    assert loss() == 8.0, "what is here is not fetched again"
    client._tracking_client.set_terminated(run_id)
    assert loss() == 7.0, "the last look is at what lies there"
    assert not kept.exists()


def test_points_newer_than_the_parts_are_read_too(client, experiment, store, tmp_path):
    run_id = log_run(client, experiment, None, steps=20, status=None)
    now = client.get_run(run_id).info.start_time
    columns = [[*range(10)], [now] * 10, ["loss"] * 10, [7.0] * 10]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SCALARS_SCHEMA, strict=True)]
    pq.write_table(pa.table(arrays, SCALARS_SCHEMA), tmp_path / part(0))
    client.log_artifact(run_id, str(tmp_path / part(0)), Artifact.SCALARS)
    loss = store.read(store.heads([run_id])[0]).series["loss"]
    assert loss.steps.tolist() == list(range(20))
    assert loss.values[9] == 7.0
    assert loss.values[10] == pytest.approx(2.3 * 0.9**10)


def test_more_rows_than_the_server_tells_at_once_are_read_exactly(client, experiment, store):
    run_id = log_run(client, experiment, None, steps=6_001)
    start = client.get_run(run_id).info.start_time
    rows = [Row("odd", v, start, s) for s, v in enumerate([1.0, float("nan"), float("inf")])]
    client.log_batch(run_id, metrics=rows)
    (head,) = store.heads([run_id])
    run = store.read(head)
    loss = run.series["loss"]
    assert loss.steps.tolist() == list(range(6_001))
    assert loss.values[5_000] == pytest.approx(2.3 * 0.9**5_000)
    assert loss.times[1] == pytest.approx(start / 1_000 + 0.001)
    odd = run.series["odd"].values
    assert odd[0] == 1.0
    assert np.isnan(odd[1])
    assert odd[2] > 1e308
    assert run.problems == ()


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_lineages_of_any_name_are_found_and_no_other(client, experiment, store, name):
    mine = log_run(client, experiment, 0.05, lineage=name)
    log_run(client, experiment, 0.05, lineage="i_s" + name[3:])
    assert [head.run_id for head in store.lineage(name)] == [mine]


def test_a_run_belongs_to_the_model_that_it_was_registered_as(client, experiment, store):
    model = f"model-{uuid.uuid4().hex[:8]}"
    client.create_registered_model(model)
    runs = [log_run(client, experiment, 0.05, lineage=None) for _ in range(2)]
    for run_id in runs:
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        client.create_model_version(model, source, run_id=run_id)
    assert {head.lineage for head in store.heads(runs)} == {model}
    assert {head.run_id for head in store.lineage(model)} == set(runs)


def test_data_inputs_and_tags_of_plain_mlflow_are_evidence(client, experiment, store):
    run_id = log_run(client, experiment, 0.05)
    data = Dataset("digits", "abc123", "local", "{}", profile=json.dumps({"num_rows": 1797}))
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "test")])])
    client.set_tag(run_id, "mlflow.source.git.commit", "c0ffee")
    run = store.read(store.heads([run_id])[0])
    assert (run.data["test"].digest, run.data["test"].rows) == ("abc123", 1797)
    assert run.provenance.git_commit == "c0ffee"
    assert run.error is not None
    assert (run.error.rate, run.error.examples) == (0.05, 2_000)


def test_artifacts_that_are_no_use_are_problems(client, experiment, store):
    run_id = log_run(client, experiment, 0.05)
    for path, text in {
        f"{Artifact.LAYERS}/part-00000.parquet": "PAR1 and nothing",
        f"{Artifact.SCALARS}/part-00000.parquet": "",
        f"{Artifact.PREDICTIONS}/test.parquet": "x",
        f"{Artifact.DATA}/train.json": '{"rows": -3, "class_counts": {"a": "b"}}',
        Artifact.PROVENANCE: "[" * 100_000,
        Artifact.GRAPH: '{"nodes": [1, {"name": 2}]}',
        f"{Artifact.ROOT}/surprise.pkl": "cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    }.items():
        client.log_text(run_id, text, path)
    run = store.read(store.heads([run_id])[0])
    assert len(run.problems) == 4, run.problems
    assert run.error is not None
    assert run.data["train"].rows is None


def test_a_run_id_that_is_none_is_no_run(client, experiment, store):
    run_id = log_run(client, experiment, 0.05)
    assert [head.run_id for head in store.heads(["it's", "", "x' OR 'a", run_id])] == [run_id]


def test_a_view_published_by_many_at_once_is_there(client, experiment, store):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.publish_view(experiment, "{}"), range(8)))
    assert SHARED_VIEW_TAG in client.get_experiment(experiment).tags


def test_a_deleted_run_is_gone_whatever_one_wants_of_it(client, experiment, store):
    run_id = log_run(client, experiment, 0.05)
    (head,) = store.heads([run_id])
    client.delete_run(run_id)
    assert store.heads([run_id]) == []
    with pytest.raises(RunGoneError):
        store.read(head)
    with pytest.raises(RunGoneError):
        store.write(run_id, Writes(marks={Tag.VERDICT: "none"}))
    with pytest.raises(RunGoneError):
        store.read(replace(head, run_id="f" * 32))


def test_refusal_and_absence_are_told_apart(client, experiment, store):
    run_id = log_run(client, experiment, 0.05)
    with pytest.raises(TrackerRefusedError):
        store.write(run_id, Writes(metrics={"no [such] key": 1.0}))
    with pytest.raises(TrackerAwayError, match=r"does not answer: .*Connection refused"):
        MlflowStore("http://127.0.0.1:9").changed(0.0)


def test_scan_writes_all_and_a_second_scan_nothing(
    client, experiment, store, mlflow_server, tmp_path
):
    first = log_run(client, experiment, 0.05)
    second = log_run(client, experiment, 0.12)
    empty = client.create_run(experiment).info.run_id
    client._tracking_client.set_terminated(empty)
    ledger = a_ledger(tmp_path)
    parts = a_detector(store, ledger, uri=mlflow_server)
    assert [o.judgement.run_id for o in scan(parts)] != []
    runs = {run_id: client.get_run(run_id) for run_id in (first, second, empty)}
    assert [r.data.tags[Tag.VERDICT] for r in runs.values()] == ["first", "regressed", "none"]
    assert runs[second].data.tags[Tag.COMPARED_TO] == first
    assert runs[second].data.metrics[Metric.ERROR_DELTA] == pytest.approx(0.07)
    written = {item.path for item in client.list_artifacts(second, Artifact.ROOT)}
    assert written == {Artifact.REPORT, Artifact.VERDICT}
    assert client.list_artifacts(empty, Artifact.ROOT) == []
    view = json.loads(client.get_experiment(experiment).tags[SHARED_VIEW_TAG])
    assert view["name"] == "backslide verdicts"

    assert list(scan(parts)) == []
    ledger.close()
    assert client.get_run(second).data.to_dictionary() == runs[second].data.to_dictionary()
    assert len(client.get_metric_history(second, Metric.ERROR_DELTA)) == 1


def test_what_is_inside_is_read_whole_and_alone(client, experiment, store, tmp_path):
    run_id = log_run(client, experiment, 0.05)
    client.set_tag(run_id, Tag.PARENT, "another")
    for path in write(probe(panel=panel()), tmp_path / "probe").values():
        client.log_artifact(run_id, str(path), Artifact.PROBE)
    node = {"id": "fc", "name": "fc", "kind": "Linear", "type": "module", "depth": 0}
    client.log_text(run_id, json.dumps({"nodes": [node], "edges": []}), Artifact.GRAPH)
    client.log_text(
        run_id,
        json.dumps({"initial_weights": "before", "final_weights": "after"}),
        Artifact.PROVENANCE,
    )
    (head,) = store.heads([run_id])
    whole, alone = store.read(head), store.inside(head)
    assert whole.problems == ()
    assert [layer.name for layer in alone.probe.layers] == list(NAMES)
    assert alone.graph.kinds == {"fc": "Linear"}
    assert (alone.parent, alone.initial_weights, alone.final_weights) == (
        "another", "before", "after",
    )  # fmt: skip
    assert whole.inside.probe.digest == alone.probe.digest
    assert whole.probe.panel
    assert not alone.probe.panel
    assert store.inside(head) is alone, "kept for the next retrain of the lineage"
