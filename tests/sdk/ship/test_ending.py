"""How a process ends says how its run ended; a job that comes back goes on where it was."""

import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from mlflow import MlflowClient
from tests.sdk.ship import tools

import backslide
from backslide.ship.siblings import Sibling, take_up
from backslide.spool import points
from backslide.spool.frames import Kind
from backslide.spool.job import HANDOVER, SHIPPER_LOCK, WRITER_LOCK, Job, Lock
from backslide.spool.segments import read, segment_path, segments

NOWHERE = "http://127.0.0.1:9"


def status(root) -> str | None:
    """What a job said of its end."""
    (folder,) = tools.spools(root)
    ends = [
        json.loads(record.payload)["status"]
        for number in segments(folder)
        for record in read(segment_path(folder, number), 0, closed=True).records
        if record.kind == Kind.END
    ]
    return ends[0] if ends else None


@pytest.mark.parametrize(
    ("last_line", "expected"),
    [
        ("", "FINISHED"),
        ("sys.exit()", "FINISHED"),
        ("sys.exit(3)", "FAILED"),
        ("sys.exit('no data')", "FAILED"),
        ("sys.exit(143)", "KILLED"),
        ("1 / 0", "FAILED"),
        ("raise KeyboardInterrupt", "KILLED"),
        ("os.kill(os.getpid(), 2)", "KILLED"),
        ("os.kill(os.getpid(), 15)", None),  # nobody is left to say anything: its shipper does
    ],
)
def test_the_end_of_a_script_without_a_with_block(tmp_path, last_line, expected):
    code = f"""
import os, signal, sys
import backslide
signal.signal(2, signal.default_int_handler)  # a background job ignores it
def train():
    run = backslide.start("ends")
    run.step(loss=1.0)
    {last_line}
train()
"""
    tools.script(NOWHERE, tmp_path, code, BACKSLIDE_OFFLINE="1")
    assert status(tmp_path) == expected


def test_an_exception_from_before_the_run_is_not_its_end(tmp_path):
    """As in a notebook, which keeps the last one for the debugger."""
    code = """
import sys
import backslide
sys.last_value = ValueError("an earlier cell")
run = backslide.start("ends")
run.step(loss=1.0)
"""
    tools.script(NOWHERE, tmp_path, code, BACKSLIDE_OFFLINE="1")
    assert status(tmp_path) == "FINISHED"


WORKERS = """
import torch
import backslide

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        run.step(loss=-1.0)
        run.log(worker=1.0)
        return torch.ones(2)

if __name__ == "__main__":
    model = torch.nn.Linear(2, 1)
    with backslide.start("workers", model=model) as run:
        loader = torch.utils.data.DataLoader(
            Data(), batch_size=4, num_workers=2, multiprocessing_context="fork"
        )
        for _ in range(2):
            for batch in loader:
                run.step(loss=model(batch).mean())
"""


def test_workers_of_a_data_loader_leave_the_run_alone(tmp_path):
    done = tools.script(NOWHERE, tmp_path, WORKERS, BACKSLIDE_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    (folder,) = tools.spools(tmp_path)
    logged = [
        points.decode(record.payload)
        for number in segments(folder)
        for record in read(segment_path(folder, number), 0, closed=True).records
        if record.kind == Kind.SCALARS
    ]
    assert [point["step"] for point in logged if "loss" in point["values"]] == [1, 2, 3, 4]
    assert not [point for point in logged if "worker" in point["values"]]
    assert status(tmp_path) == "FINISHED"


CELL = """
import backslide, torch
model = torch.nn.Linear(2, 1)
for cell in range(3):
    run = backslide.start("cell", model=model)
    for _ in range(2):
        model(torch.ones(1, 2))
        run.step(loss=1.0)
run.finish()
print(sum(len(m._forward_hooks) for m in model.modules()))
"""


def test_a_notebook_cell_that_is_run_again_ends_the_run_before(tmp_path):
    done = tools.script(NOWHERE, tmp_path, CELL, BACKSLIDE_OFFLINE="1")
    assert done.stdout.strip() == "0", done.stderr
    ends = Counter()
    for folder in tools.spools(tmp_path):
        data = b"".join(segment_path(folder, n).read_bytes() for n in segments(folder))
        ends.update(word for word in (b"KILLED", b"FINISHED") if word in data)
    assert ends == {b"KILLED": 2, b"FINISHED": 1}


RESUMED = """
import os, sys, time
import backslide
run = backslide.start("resume")
for value in range(int(sys.argv[1]), int(sys.argv[2])):
    run.step(loss=float(value))
print(os.environ.get("MLFLOW_RUN_ID") or run.id, flush=True)
{end}
"""


def test_a_job_that_was_killed_goes_on_in_its_run(mlflow_server, tmp_path):
    """Its first spool was never shipped: the second job counts on from there all the same."""

    def train(first, last, end, **more):
        code = f"import sys; sys.argv = ['', '{first}', '{last}']" + RESUMED.format(end=end)
        return tools.script(mlflow_server, tmp_path, code, **more).stdout.strip()

    kill = "import signal; os.kill(os.getpid(), signal.SIGKILL)"
    client = MlflowClient(mlflow_server)
    run_id = client.create_run("0").info.run_id
    for first, last, end in ((0, 250, kill), (250, 300, kill), (300, 310, "run.finish()")):
        train(first, last, end, MLFLOW_RUN_ID=run_id, BACKSLIDE_OFFLINE="1")
    done = tools.sync(mlflow_server, tmp_path)
    assert done.exit_code == 0, done.stderr
    once = Counter(range(1, 311))
    (tmp_path / "scratch").mkdir()
    assert tools.scalar_rows(mlflow_server, run_id, "loss", tmp_path / "scratch") == once
    history = client.get_metric_history(run_id, "loss")
    assert {row.step: row.value for row in history if row.step > 300} == {
        step: float(step - 1) for step in range(301, 311)
    }
    assert max(Counter(row.step for row in history).values()) == 1
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"  # an older job, shipped later, does not kill it


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_jobs_on_one_run_never_share_a_step_in_whatever_order_they_are_shipped(order):
    jobs = [Job(str(i), "l", started=i, run_id="r") for i in range(3)]
    steps, bases, stored = (5, 3, 4), {}, 0
    for i in order:
        beside = [Sibling(j, bases.get(j), steps[j]) for j in range(3)]
        bases[i] = take_up(jobs[i], beside, stored)
        stored = max(stored, bases[i] + steps[i])
    used = [bases[i] + step for i in range(3) for step in range(1, steps[i] + 1)]
    assert len(set(used)) == len(used)
    if order[0] == 2 or order == (0, 1, 2):
        assert bases == {0: 0, 1: 5, 2: 8}


@pytest.mark.slow
def test_sync_takes_a_spool_over_from_an_orphan_at_once(mlflow_server, tmp_path):
    spool = tmp_path / "spool"
    job = tools.Trainer(NOWHERE, spool, "--steps", "100000", "--pause", "0.01")
    tools.wait_until(job.acknowledged)
    (folder,) = tools.spools(spool)
    tools.wait_until(lambda: tools.state(folder).get("away"))
    client = tools.client_of(spool)
    job.process.kill()
    job.process.wait()
    (orphan,) = tools.shipper_of(folder)
    os.kill(orphan, signal.SIGSTOP)  # as if a call of its hung
    done = tools.sync_process(mlflow_server, spool, "--tracking-uri", mlflow_server)
    assert done.returncode == 0, done.stderr
    assert tools.shipper_of(folder) == []
    assert tools.runs(mlflow_server, client)[0].info.status == "KILLED"


@pytest.mark.parametrize(("role", "writer"), [("sync", False), ("shipper", True)])
def test_sync_leaves_a_spool_to_who_is_at_work_there(tmp_path, role, writer):
    (tmp_path / "job").mkdir()
    Job("c", "l", 1).write(tmp_path / "job")
    lock = Lock(tmp_path / "job" / SHIPPER_LOCK)
    assert lock.acquire(role)
    trainer = Lock(tmp_path / "job" / WRITER_LOCK)
    assert not writer or trainer.acquire("trainer")
    began = time.monotonic()
    done = tools.sync_process(NOWHERE, tmp_path)
    assert time.monotonic() - began < 10
    assert done.returncode == 0
    said = "still training" if writer else f"another `backslide sync` (process {os.getpid()}"
    assert said in done.stdout
    assert "0 of 1 spools shipped, 1 left to the process that ships it now." in done.stdout
    assert not (tmp_path / "job" / HANDOVER).exists()
    lock.release()
    trainer.release()


def test_two_syncs_at_once_and_one_more_ship_everything_once(mlflow_server, tmp_path):
    """With a bar where a person looks, and none in a log."""
    code = """
import backslide
for _ in range(2):
    with backslide.start("twice", experiment="twice") as run:
        for step in range(300):
            run.step(loss=float(step))
"""
    tools.script(mlflow_server, tmp_path, code, BACKSLIDE_OFFLINE="1")
    command = [sys.executable, "-m", "backslide.cli", "sync", str(tmp_path)]
    environment = tools.environment(mlflow_server, tmp_path)
    ours, theirs = pty.openpty()
    first = subprocess.Popen(command, env=environment, stderr=theirs, stdout=theirs)
    os.close(theirs)
    second = tools.sync_process(mlflow_server, tmp_path)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while piece := os.read(ours, 4_096):
            shown += piece
    os.close(ours)
    assert first.wait() == 0, shown
    assert second.returncode == 0, second.stderr
    assert b"%" in shown
    assert "%" not in second.stderr
    assert "Nothing to ship" in tools.sync(mlflow_server, tmp_path).stdout
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("twice").experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == 2
    for place, run in enumerate(runs):
        scratch = tmp_path / f"scratch-{place}"
        scratch.mkdir()
        rows = tools.scalar_rows(mlflow_server, run.info.run_id, "loss", scratch)
        assert rows == Counter(range(1, 301))


def test_finish_does_not_wait_for_a_slow_git(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    waiting = threading.Event()
    monkeypatch.setattr("backslide.record.provenance.git", lambda _: waiting.wait(60))
    run = backslide.start("slow", spool_dir=tmp_path)
    run.step(loss=1.0)
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 6
    assert status(tmp_path) == "FINISHED"
    waiting.set()
