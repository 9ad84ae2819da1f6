"""A request to create a run that is carried out once more: one run is left."""

import json
import time

import pytest
from mlflow import MlflowClient
from tests.faulty_proxy import Fault
from tests.sdk.ship import tools
from tests.sdk.ship.test_faults import calls, check, deliver, gateway, spooled

from backslide.contract import Tag
from backslide.ship import twins
from backslide.ship.tracking import delete_twins
from backslide.ship.twins import Note, note_path, settle

__all__ = ["calls"]  # a fixture for every test here


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(twins, "SETTLED_SECONDS", 2.5)  # the proxy's requests are 1.5 s late


def late_twin(uri: str, job) -> str:
    """What a gateway makes of an old request."""
    client = MlflowClient(uri)
    return client.create_run("0", start_time=job.started, tags=dict(job.tags)).info.run_id


def test_a_plain_creation_leaves_no_note(mlflow_server, tmp_path):
    job = spooled(tmp_path / "spool")
    deliver(tmp_path / "spool", mlflow_server, job)
    assert not note_path(tmp_path, job.client).exists()
    check(mlflow_server, job, 5, tmp_path)


def test_a_request_that_is_carried_out_after_the_end_leaves_one_run(mlflow_server, tmp_path):
    job = spooled(tmp_path / "spool", tracking_uri=mlflow_server)
    with gateway(mlflow_server, ("runs/create", Fault.LATE)) as proxy:
        deliver(tmp_path / "spool", proxy.uri, job)
        settle(tmp_path, delete_twins)
    check(mlflow_server, job, 5, tmp_path)
    assert note_path(tmp_path, job.client).exists()  # a gateway may be later still


def test_sync_finds_it_even_when_there_is_nothing_left_to_ship(mlflow_server, tmp_path):
    job = spooled(tmp_path / "spool", tracking_uri=mlflow_server)
    with gateway(mlflow_server, ("runs/create", Fault.LOST)) as proxy:
        deliver(tmp_path / "spool", proxy.uri, job)
    (run,) = tools.runs(mlflow_server, job.client)
    twin = late_twin(mlflow_server, job)
    assert len(tools.runs(mlflow_server, job.client)) == 2
    (tmp_path / "spool" / "job.json").unlink()
    told = tools.sync(mlflow_server, tmp_path)
    assert told.exit_code == 0, told.stderr
    assert [each.info.run_id for each in tools.runs(mlflow_server, job.client)] == [
        run.info.run_id
    ]
    assert MlflowClient(mlflow_server).get_run(twin).info.lifecycle_stage == "deleted"


def test_a_run_that_another_job_took_up_has_its_twin_deleted_too(mlflow_server, tmp_path):
    job = spooled(tmp_path / "first", end="KILLED", tracking_uri=mlflow_server)
    with gateway(mlflow_server, ("runs/create", Fault.LOST)) as proxy:
        deliver(tmp_path / "first", proxy.uri, job)
    (run,) = tools.runs(mlflow_server, job.client)
    twin = late_twin(mlflow_server, job)
    MlflowClient(mlflow_server).set_tag(run.info.run_id, Tag.CLIENT, "another job")
    settle(tmp_path, delete_twins)
    client = MlflowClient(mlflow_server)
    assert client.get_run(twin).info.lifecycle_stage == "deleted"
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "active"


@pytest.mark.parametrize("write", ["metric", "param"])
def test_nothing_that_was_written_to_is_deleted(mlflow_server, tmp_path, write):
    job = spooled(tmp_path / "spool")
    deliver(tmp_path / "spool", mlflow_server, job)
    (run,) = tools.runs(mlflow_server, job.client)
    twin = late_twin(mlflow_server, job)
    client = MlflowClient(mlflow_server)
    if write == "metric":
        client.log_metric(twin, "loss", 1.0)
    else:
        client.log_param(twin, "lr", 0.1)
    delete_twins(Note(mlflow_server, job.client, job.started, 0.0, run.info.run_id))
    assert len(tools.runs(mlflow_server, job.client)) == 2
    stranger = Note(mlflow_server, job.client, job.started + 1, 0.0, run.info.run_id)
    late_twin(mlflow_server, job)
    delete_twins(stranger)
    assert len(tools.runs(mlflow_server, job.client)) == 3


def test_old_notes_go_and_damaged_ones_do_no_harm(tmp_path):
    Note("http://127.0.0.1:9", "old", 1, time.time() - 2 * twins.OVER_SECONDS, "run").write(
        tmp_path
    )
    Note("http://127.0.0.1:9", "asking", 1, time.time()).write(tmp_path)
    note_path(tmp_path, "damaged").write_text(json.dumps({"uri": 1})[:-3])
    Note("http://127.0.0.1:9", "done", 1, time.time() - 10, "run").write(tmp_path)
    seen = []
    settle(tmp_path, seen.append, client="done")
    assert [note.client for note in seen] == ["done", "old"]
    seen.clear()
    settle(tmp_path, seen.append, client="another")
    assert not seen  # each job looks at its own; what was old has had its last look
    settle(tmp_path, seen.append)
    assert [note.client for note in seen] == ["done"]
    assert not note_path(tmp_path, "old").exists()
    assert note_path(tmp_path, "asking").exists()
