"""Delivery against a remote that refuses and vanishes, by shippers that die."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import hypothesis.strategies as st
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from backslide.contract import Metric
from backslide.record.scalars import keep
from backslide.ship.delivery import FIRST_PAUSE, Delivery
from backslide.ship.remote import AwayError, Found, GoneError, RejectedError
from backslide.spool.frames import Kind
from backslide.spool.job import REJECTED, WRITER_LOCK, Job, Lock, RunState, held
from backslide.spool.segments import Spool, segment_path, segments


class KilledError(Exception):
    """kill -9 of the shipper, as far as the disk and the remote can tell."""


class Double:
    """What MLflow would hold. `die` makes a call fail before or after it has taken effect."""

    def __init__(self) -> None:
        # A set, because MLflow's own key makes a replayed row the same one.
        self.rows: set[tuple[str, float, int, int]] = set()
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.status: str | None = None
        self.step = 0
        self.poison: set[str] = set()
        self.die(None, in_calls=0, at_answer=False)

    def die(self, death: type[Exception] | None, *, in_calls: int, at_answer: bool) -> None:
        self._death, self._left, self._at_answer = death, in_calls, at_answer

    @contextmanager
    def _call(self) -> Iterator[None]:
        self._left -= 1
        death = self._death if self._left == 0 else None
        if death is not None and not self._at_answer:
            raise death
        yield
        if death is not None:
            raise death

    def connect(self, job, run_id):
        with self._call():
            return Found("run", "http://page", self.step)

    def claim(self):
        with self._call():
            pass

    def log(self, rows=(), params=(), tags=()):
        assert len(rows) <= 1_000
        assert len(params) <= 100
        assert len(tags) <= 100
        if self.poison & {item[0] for item in (*rows, *params, *tags)}:
            raise RejectedError("400: a bad key")
        with self._call():
            self.rows |= set(rows)
            self.params |= dict(params)
            self.tags |= dict(tags)

    def dataset(self, fields):
        with self._call():
            pass

    def upload(self, file: Path, folder: str):
        with self._call():
            self.files[f"{folder}/{file.name}"] = file.read_bytes()

    def stop_reason(self):
        return None

    def finish(self, status, ended):
        with self._call():
            self.status = status


def scalars(spool: Spool, step: int, **values: float) -> None:
    record = {"step": step, "time": 1_000 + step, "values": values}
    assert spool.append(Kind.SCALARS, json.dumps(record).encode())


def job() -> Job:
    return Job(client="c", lineage="l", started=0)


def stored(double: Double, tmp_path: Path) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    for path, content in double.files.items():
        if "/scalars/" in path:
            (tmp_path / "part").write_bytes(content)
            table = pq.read_table(tmp_path / "part").to_pydict()
            found.update(zip(table["key"], table["step"], strict=True))
    return found


def deliver(folder: Path, double: Double, most: int = 300) -> Delivery:
    delivery = Delivery(folder, job(), double)
    for _ in range(most):
        delivery.hurry()
        if delivery.round():
            return delivery
    raise AssertionError(f"not done: {delivery.state}")


@settings(max_examples=25, deadline=None)
@given(
    plan=st.lists(st.sampled_from([3, 300, "rotate"]), min_size=1, max_size=8),
    faults=st.lists(
        st.tuples(st.sampled_from([KilledError, AwayError]), st.integers(1, 6), st.booleans()),
        max_size=8,
    ),
)
def test_a_shipper_killed_at_any_call_stores_everything_once(tmp_path_factory, plan, faults):
    """Dies, or loses the server, before or after the remote took a call.

    The next shipper knows only the disk, and picks the same rows when thinning.
    """
    tmp_path = tmp_path_factory.mktemp("spool")
    spool = Spool(tmp_path)
    steps = 0
    for what in plan:
        if isinstance(what, int):
            for _ in range(what):
                steps += 1
                scalars(spool, steps, loss=float(steps))
        else:
            spool.rotate()
    spool.append(Kind.END, json.dumps({"status": "FINISHED", "time": 1}).encode())
    spool.close()
    double = Double()

    for fault, call, at_answer in faults:
        double.die(fault, in_calls=call, at_answer=at_answer)
        with suppress(KilledError):
            deliver(tmp_path, double)
    double.die(None, in_calls=0, at_answer=False)
    deliver(tmp_path, double)
    assert stored(double, tmp_path) == Counter(("loss", n) for n in range(1, steps + 1))
    assert {row for row in double.rows if row[0] == "loss"} == {
        ("loss", float(n), 1_000 + n, n)
        for n in range(1, steps + 1)
        if keep(n - 1) or n == steps
    }
    assert double.status == "FINISHED"
    assert segments(tmp_path) == []


def test_a_refused_batch_is_halved_until_the_culprit_is_alone(tmp_path):
    spool = Spool(tmp_path)
    for step in range(1, 101):
        scalars(spool, step, loss=1.0, **({"bad": 2.0} if step == 37 else {}))
    spool.close()
    double = Double()
    double.poison = {"bad"}
    delivery = deliver(tmp_path, double)
    assert sum(row[0] == "loss" for row in double.rows) == 100
    assert delivery.state.rejected == 1
    assert [row[1] for row in double.rows if row[0] == Metric.DROPPED] == [1]
    (kept,) = (tmp_path.parent / "rejected").glob("c.jsonl")
    assert json.loads(kept.read_text()) == {
        "why": "400: a bad key",
        "what": ["bad", 2.0, 1_037, 37],
    }
    kept.unlink()


def test_the_last_value_is_sent_even_when_thinning_held_it_back(tmp_path):
    spool = Spool(tmp_path)
    for step in range(1, 252):
        scalars(spool, step, loss=float(step))
    spool.close()
    double = Double()
    deliver(tmp_path, double)
    assert ("loss", 251.0, 1_251, 251) in double.rows
    assert sum(key == "loss" for key, *_ in double.rows) == 200 + 26


def test_a_damaged_record_is_set_aside_and_counted(tmp_path):
    spool = Spool(tmp_path)
    for step in (1, 2, 3):
        scalars(spool, step, loss=float(step))
    spool.close()
    path = segment_path(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    double = Double()
    assert deliver(tmp_path, double).state.rejected == 1
    assert stored(double, tmp_path) == {("loss", 1): 1, ("loss", 3): 1}
    (tmp_path.parent / "rejected" / "c.jsonl").unlink()


def test_a_broken_artifact_store_does_not_hold_up_the_metrics(tmp_path):
    spool = Spool(tmp_path)
    scalars(spool, 1, loss=1.0)
    spool.rotate()
    scalars(spool, 2, loss=2.0)
    spool.close()
    double = Double()

    def away(file, folder):
        raise AwayError("no bucket")

    upload, double.upload = double.upload, away
    delivery = Delivery(tmp_path, job(), double)
    for _ in range(4):
        delivery.hurry()
        assert not delivery.round()
    assert {row[3] for row in double.rows} == {1, 2}
    assert double.status is None  # the detector must not judge half the evidence
    assert delivery.state.away == "no bucket"
    double.upload = upload
    deliver(tmp_path, double)
    assert len(stored(double, tmp_path)) == 2


def test_a_server_that_fails_now_and_then_is_asked_again_as_soon_as_ever(tmp_path, monkeypatch):
    """Pauses grow with failures in a row, not with all that a long spool meets."""
    spool = Spool(tmp_path)
    for step in range(1, 31):
        scalars(spool, step, loss=1.0)
        spool.rotate()
    spool.close()
    double = Double()
    upload, calls = double.upload, iter(range(1_000))

    def shaky(file, folder):
        if next(calls) % 2 == 0:
            raise AwayError("no bucket")
        upload(file, folder)

    double.upload = shaky
    seconds = 0.0
    clock = SimpleNamespace(monotonic=lambda: seconds, time_ns=time.time_ns)
    monkeypatch.setattr("backslide.ship.delivery.time", clock)
    delivery = Delivery(tmp_path, job(), double)
    while not delivery.round():
        seconds += 0.1
        assert seconds < 30 * FIRST_PAUSE + 5
    assert len(stored(double, tmp_path)) == 30


def test_a_deleted_run_empties_the_spool(tmp_path):
    spool = Spool(tmp_path)
    for step in range(1, 11):
        scalars(spool, step, loss=1.0)
    spool.close()
    double = Double()

    def gone(**_):
        raise GoneError

    double.log = gone
    delivery = deliver(tmp_path, double)
    assert delivery.state.problem == "the run was deleted"
    assert delivery.state.rejected >= 10
    assert segments(tmp_path) == []
    assert not (tmp_path / REJECTED).exists()
    (tmp_path.parent / "rejected" / "c.jsonl").unlink()


def test_a_joined_run_keeps_the_parts_it_has_and_counts_on(tmp_path):
    """Also when the shipper dies before it could remember where the run stood."""
    spool = Spool(tmp_path)
    scalars(spool, 1, loss=1.0)
    spool.close()
    double = Double()
    double.step = 40
    joined = Job(client="c", lineage="l", started=0, run_id="r")
    double.die(KilledError, in_calls=2, at_answer=True)
    with pytest.raises(KilledError):
        Delivery(tmp_path, joined, double).round()
    double.step = 41  # by rows of our own
    delivery = Delivery(tmp_path, joined, double)
    while not delivery.round():
        pass
    assert list(double.files) == ["backslide/scalars/part-00000-c.parquet"]
    assert stored(double, tmp_path) == {("loss", 41): 1}
    assert ("loss", 1.0, 1_001, 41) in double.rows


def test_a_killed_job_is_told_from_one_that_lives(tmp_path):
    """The lock, not a pid, says whether the trainer lives."""
    lock = Lock(tmp_path / WRITER_LOCK)
    assert lock.acquire()
    assert held(tmp_path / WRITER_LOCK)
    spool = Spool(tmp_path)
    scalars(spool, 1, loss=1.0)
    double = Double()
    delivery = Delivery(tmp_path, job(), double)
    assert not delivery.round()
    assert any(row[0] == Metric.LAST_SEEN for row in double.rows)
    beats = sum(row[0] == Metric.LAST_SEEN for row in double.rows)
    spool.abandon()
    lock.release()  # what the kernel does when a process is killed
    assert not held(tmp_path / WRITER_LOCK)
    while not delivery.round():
        pass
    assert double.status == "KILLED"
    last = sum(row[0] == Metric.LAST_SEEN for row in double.rows)
    assert last == beats + 1, "the news that all has arrived, and no sign of life"


@pytest.mark.parametrize("junk", [b"", b"{", b'{"run_id": 1, "unknown": 2}'])
def test_an_unreadable_state_is_the_initial_one(tmp_path, junk):
    (tmp_path / "run.json").write_bytes(junk)
    assert RunState.read(tmp_path) == RunState()
