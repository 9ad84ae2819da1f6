"""A real server behind a faulty gateway: all arrives, once, and what cannot is counted."""

import json
import time
from collections import Counter
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from tests.faulty_proxy import Fault, FaultyProxy
from tests.sdk.ship import tools

from backslide.contract import Metric, Tag
from backslide.ship import cursor, packing
from backslide.ship.delivery import Delivery
from backslide.ship.remote import RejectedError
from backslide.ship.tracking import Tracking
from backslide.spool.frames import Kind
from backslide.spool.job import CALLS, Job
from backslide.spool.segments import Spool, segments


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    for name, value in CALLS.items():
        monkeypatch.setenv(name, value)


@contextmanager
def gateway(uri, *script: tuple[str, Fault]):
    """A proxy that meets the next request whose line holds a word with its fault, in order."""
    left = list(script)

    def choose(line: str) -> Fault:
        if left and left[0][0] in line:
            return left.pop(0)[1]
        return Fault.NONE

    with FaultyProxy(urlsplit(uri).port, choose) as proxy:
        yield proxy
        assert not left, f"never met: {left}"


def spooled(folder, steps=5, *, end="FINISHED", **job) -> Job:
    folder.mkdir(parents=True)
    client = folder.name + str(time.time_ns())
    tags = {Tag.CLIENT: client, Tag.LINEAGE: "faults"}
    job = Job(client, "faults", time.time_ns() // 1_000_000, tags=tags, **job)
    job.write(folder)
    spool = Spool(folder)
    for step in range(1, steps + 1):
        point = {"step": step, "time": 1_000 + step, "values": {"loss": float(step)}}
        assert spool.append(Kind.SCALARS, json.dumps(point).encode())
    spool.append(Kind.END, json.dumps({"status": end, "time": job.started + 5}).encode())
    spool.close()
    return job


def deliver(folder, uri, job: Job, seconds=30.0) -> Delivery:
    delivery = Delivery(folder, job, Tracking(uri))
    deadline = time.monotonic() + seconds
    while not delivery.round():
        assert time.monotonic() < deadline, delivery.state
        delivery.hurry()
        time.sleep(0.02)
    return delivery


def check(uri, job: Job, steps: int, scratch) -> str:
    (run,) = tools.runs(uri, job.client)
    once = Counter(range(1, steps + 1))
    assert tools.metric_rows(uri, run.info.run_id, "loss") == once
    assert tools.scalar_rows(uri, run.info.run_id, "loss", scratch) == once
    assert run.info.status == "FINISHED"
    return str(run.info.run_id)


CALLS_MADE = ("runs/create", "log-batch", "PUT", "runs/update")


@pytest.mark.parametrize(
    "fault",
    [Fault.REFUSED, Fault.LOST, Fault.HALF, Fault.TWICE, Fault.PAGE, Fault.DOWN],
)
def test_a_fault_in_every_call_costs_no_record_and_makes_none_twice(
    mlflow_server, tmp_path, fault
):
    job = spooled(tmp_path / "spool")
    with gateway(mlflow_server, *((call, fault) for call in CALLS_MADE)) as proxy:
        assert deliver(tmp_path / "spool", proxy.uri, job).state.rejected == 0
    check(mlflow_server, job, 5, tmp_path)


def test_a_run_whose_creation_is_carried_out_late_is_there_once(mlflow_server, tmp_path):
    """The request arrives again when a run has long been chosen: the twin is deleted."""
    job = spooled(tmp_path / "spool")
    slow = [("log-batch", Fault.REFUSED), ("log-batch", Fault.BUSY)]  # 2 s
    with gateway(mlflow_server, ("runs/create", Fault.LATE), *slow) as proxy:
        deliver(tmp_path / "spool", proxy.uri, job)
    check(mlflow_server, job, 5, tmp_path)


def test_retry_after_is_honoured(mlflow_server, tmp_path):
    job = spooled(tmp_path / "spool")
    with gateway(mlflow_server, ("log-batch", Fault.BUSY)) as proxy:
        delivery = Delivery(tmp_path / "spool", job, Tracking(proxy.uri))
        assert not delivery.round()
        refused = time.monotonic()
        assert "429" in delivery.state.away
        before = proxy.counts.total()
        while time.monotonic() < refused + 1.8:
            delivery.hurry()
            assert not delivery.round()
            time.sleep(0.05)
        assert proxy.counts.total() == before
        while not delivery.round():
            assert time.monotonic() < refused + 10
    check(mlflow_server, job, 5, tmp_path)


def test_a_part_that_a_proxy_finds_too_large_is_halved(mlflow_server, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SMALL_ROWS", 100)
    job = spooled(tmp_path / "spool", 350)
    tracking = Tracking(mlflow_server)
    upload = tracking.upload

    def small(file, folder):
        if file.stat().st_size > 3_000:
            raise RejectedError("413")
        upload(file, folder)

    monkeypatch.setattr(tracking, "upload", small)
    delivery = Delivery(tmp_path / "spool", job, tracking)
    while not delivery.round():
        pass
    assert delivery.state.rejected == 0
    (run,) = tools.runs(mlflow_server, job.client)
    rows = tools.scalar_rows(mlflow_server, run.info.run_id, "loss", tmp_path)
    assert rows == Counter(range(1, 351))


def test_a_deleted_experiment_holds_the_data_until_it_is_restored(mlflow_server, tmp_path):
    client = MlflowClient(mlflow_server)
    experiment = client.create_experiment("deleted experiment")
    client.delete_experiment(experiment)
    job = spooled(tmp_path / "spool", experiment="deleted experiment")
    delivery = Delivery(tmp_path / "spool", job, Tracking(mlflow_server))
    assert not delivery.round()
    assert "active" in delivery.state.away
    client.restore_experiment(experiment)
    deliver(tmp_path / "spool", mlflow_server, job)
    check(mlflow_server, job, 5, tmp_path)


@pytest.mark.parametrize("how", ["deleted", "gone for good"])
def test_what_belongs_to_a_deleted_run_is_set_aside_and_counted(mlflow_server, tmp_path, how):
    folder = tmp_path / how / "spool"
    job = spooled(folder, 3)
    tracking = Tracking(mlflow_server)
    if how == "deleted":
        run_id = tracking.connect(job, None).run_id
        MlflowClient(mlflow_server).delete_run(run_id)
    else:
        run_id = "0" * 32
    delivery = Delivery(folder, job, Tracking(mlflow_server))
    delivery._shipment.publish(run_id=run_id)
    while not delivery.round():
        pass
    assert delivery.state.problem == "the run was deleted"
    assert delivery.state.rejected == 6  # as rows, and as rows of a part
    assert segments(folder) == []
    (kept,) = (folder.parent / "rejected").glob("*.jsonl")
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert lines[0] == {
        "why": "the run was deleted",
        "what": [["loss", 1.0, 1_001, 1], ["loss", 2.0, 1_002, 2], ["loss", 3.0, 1_003, 3]],
    }


def test_a_shipper_on_a_full_disk_makes_room_by_shipping(mlflow_server, tmp_path, monkeypatch):
    """Nothing can be written but what its slack leaves room for; then room appears."""
    job = spooled(tmp_path / "spool")
    delivery = Delivery(tmp_path / "spool", job, Tracking(mlflow_server))
    full = [True]
    slack = tmp_path / "spool" / "slack"
    write = cursor.write_json

    def refuse(path, value):
        if full[0] and slack.exists():
            raise OSError(28, "No space left on device")
        write(path, value)

    monkeypatch.setattr(cursor, "write_json", refuse)
    while not delivery.round():
        pass
    assert delivery.state.rejected == 0
    check(mlflow_server, job, 5, tmp_path)


def test_a_disk_that_takes_nothing_is_waited_for(mlflow_server, tmp_path, monkeypatch):
    job = spooled(tmp_path / "spool")
    delivery = Delivery(tmp_path / "spool", job, Tracking(mlflow_server))
    with monkeypatch.context() as patch:

        def refuse(path, value):
            raise OSError(30, "Read-only file system")

        patch.setattr(cursor, "write_json", refuse)
        for _ in range(3):
            delivery.hurry()
            assert not delivery.round()
        assert "Read-only" in delivery.state.away
    delivery.hurry()
    while not delivery.round():
        pass
    check(mlflow_server, job, 5, tmp_path)
    assert Metric.DROPPED not in tools.runs(mlflow_server, job.client)[0].data.metrics
