"""A pass over a store in memory: what is judged, in which order, and what a crash leaves."""

import json
import shutil
import time
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text
from tests.detector.shell.builders import (
    Mailbox,
    a_detector,
    a_ledger,
    a_run,
    a_store,
    series,
)
from tests.detector.shell.killing import Killed, kill_at

from backslide.contract import NOTE_BEGIN, Artifact, Metric, Tag
from backslide_detector import engine
from backslide_detector.act.alerts import deliver
from backslide_detector.detector import Detector
from backslide_detector.errors import RunGoneError, TrackerAwayError, TrackerRefusedError
from backslide_detector.finding import Found, Result, Severity
from backslide_detector.scan import scan
from backslide_detector.store.memory import MemoryStore


@pytest.fixture
def ledger(tmp_path):
    ledger = a_ledger(tmp_path)
    yield ledger
    ledger.close()


def a_lineage() -> MemoryStore:
    """Four retrains: first, worse, worse still by the first one's measure, better."""
    return a_store(a_run(0, 0.05), a_run(1, 0.09), a_run(2, 0.085), a_run(3, 0.02))


VERDICTS = ["first", "regressed", "regressed", "improved"]


def verdicts(store: MemoryStore) -> list[str | None]:
    return [run.tags.get(Tag.VERDICT) for run in store.runs.values()]


def test_each_run_is_judged_after_its_predecessor_and_against_the_last_good_one(ledger):
    store = a_lineage()
    outcomes = list(scan(a_detector(store, ledger)))
    assert [o.judgement.run_name for o in outcomes] == [f"retrain-{n}" for n in range(4)]
    assert verdicts(store) == VERDICTS
    first = f"{0:032x}"
    assert [run.tags.get(Tag.COMPARED_TO) for run in store.runs.values()] == [
        None,
        first,
        first,
        first,
    ]


def test_everything_the_contract_names_is_written(ledger):
    store = a_lineage()
    list(scan(a_detector(store, ledger)))
    run = store.runs[f"{1:032x}"]
    assert run.tags[Tag.HEALTH] in ("healthy", "warning", "unknown")
    assert "points more errors" in run.tags[Tag.SUMMARY]
    assert run.tags[Tag.NOTE].startswith(NOTE_BEGIN)
    written = store.metrics[run.run_id]
    assert written[Metric.ERROR_DELTA] == pytest.approx(0.04)
    assert written[Metric.ERROR_DELTA_LOW] < 0.04 < written[Metric.ERROR_DELTA_HIGH]
    assert written[Metric.EVIDENCE] > 1.3
    document = json.loads(store.artifacts[run.run_id][Artifact.VERDICT])
    assert document["verdict"] == "regressed"
    assert store.artifacts[run.run_id][Artifact.REPORT].lower().startswith("<!doctype html>")
    assert "backslide.verdict" in store.views["1"]


def test_a_second_scan_finds_nothing(ledger):
    store = a_lineage()
    parts = a_detector(store, ledger)
    list(scan(parts))
    written = list(store.written)
    assert list(scan(parts)) == []
    assert store.written == written


def test_a_lost_ledger_costs_no_verdict_and_no_baseline(tmp_path, ledger):
    store = a_lineage()
    list(scan(a_detector(store, ledger)))
    (tmp_path / "new").mkdir()
    fresh = a_ledger(tmp_path / "new")
    store.add(a_run(4, 0.09))
    outcomes = list(scan(a_detector(store, fresh)))
    fresh.close()
    assert [o.judgement.run_name for o in outcomes] == ["retrain-4"]
    assert outcomes[0].judgement.retrain.compared_to == f"{3:032x}"


def test_a_pinned_baseline_counts_more_than_the_lineage(ledger):
    pinned = a_run(0, 0.09, lineage="other", tags={Tag.LINEAGE: "other"})
    tags = {Tag.LINEAGE: "digits", Tag.BASELINE: pinned.run_id}
    store = a_store(pinned, a_run(1, 0.05), a_run(2, 0.03, tags=tags))
    outcomes = {o.judgement.run_name: o.judgement for o in scan(a_detector(store, ledger))}
    assert outcomes["retrain-2"].retrain.compared_to == pinned.run_id


def test_a_pinned_baseline_that_is_not_there_is_said(ledger):
    tags = {Tag.LINEAGE: "digits", Tag.BASELINE: "it's gone"}
    store = a_store(a_run(1, 0.05), a_run(2, 0.03, tags=tags))
    outcomes = {o.judgement.run_name: o.judgement for o in scan(a_detector(store, ledger))}
    assert 'The pinned baseline "it\'s gone" was not found' in outcomes["retrain-2"].summary


def test_a_regression_is_told_once_to_each_channel(ledger):
    store = a_lineage()
    mail = Mailbox()
    parts = a_detector(store, ledger, channels={"mail": mail})
    for _ in range(2):
        list(scan(parts))
        deliver(ledger.outbox, parts.channels)
    told = [alert.payload["run_name"] for alert in mail.alerts]
    assert told == ["retrain-1", "retrain-2"]
    assert mail.alerts[0].payload["links"]["run"].endswith("workflowType=machine_learning")
    assert ledger.outbox.pending() == 0


def places_of(parts: Detector):
    """Every call of a pass that leaves a trace."""
    return (
        (
            parts.store,
            ("changed", "heads", "lineage", "champion", "read", "publish_view", "write"),
        ),
        (parts.ledger, ("enqueue", "claim", "record", "spend", "check", "done")),
        (parts.ledger.outbox, ("take", "delivered")),
    )


def end_state(store: MemoryStore, mail: Mailbox):
    runs = {run_id: dict(run.tags) for run_id, run in store.runs.items()}
    return runs, store.metrics, store.artifacts, store.views, {a.id for a in mail.alerts}


def test_killed_at_any_step_and_run_again_ends_in_the_same_state(tmp_path, monkeypatch):
    """Every step of a pass is tried as the last one; alerts may repeat only under one id."""
    calm = None
    (tmp_path / "template").mkdir()
    a_ledger(tmp_path / "template").close()
    for count in range(-1, 1_000):
        folder = shutil.copytree(tmp_path / "template", tmp_path / str(count))
        store, mail = a_store(a_run(0, 0.05), a_run(1, 0.09)), Mailbox()
        ledger = a_ledger(folder, "victim")
        parts = a_detector(store, ledger, channels={"mail": mail})
        with monkeypatch.context() as patch:
            kill_at(count, places_of(parts), patch)
            try:
                list(scan(parts))
                deliver(ledger.outbox, parts.channels)
                killed = False
            except Killed:
                killed = True
        expire_leases(folder)
        ledger.close()
        heir = a_ledger(folder, "heir")
        parts = a_detector(store, heir, channels={"mail": mail})
        list(scan(parts))
        deliver(heir.outbox, parts.channels)
        assert heir.outbox.pending() == 0
        heir.close()
        state = end_state(store, mail)
        calm = calm or state
        assert state == calm, f"killed at step {count}"
        assert len(mail.alerts) <= 2
        assert rows(folder, "judgement") == 2
        if count >= 0 and not killed:
            break
    assert count > 30, "the test did not reach the steps it is about"


def expire_leases(folder) -> None:
    """As if the minutes had passed after which a dead detector's work is taken over."""
    with create_engine(f"sqlite:///{folder / 'ledger.db'}").begin() as connection:
        connection.execute(text("UPDATE work SET lease_until = 0 WHERE lease_until > 0"))
        connection.execute(text("UPDATE outbox SET due_at = 0 WHERE due_at IS NOT NULL"))


def rows(folder, table: str) -> int:
    with create_engine(f"sqlite:///{folder / 'ledger.db'}").connect() as connection:
        return connection.scalar(text(f"SELECT count(*) FROM {table}"))


def test_a_crashing_analysis_is_recorded_and_stops_nobody(ledger, tmp_path, monkeypatch):
    honest = engine.judge_retrain

    def faulty(new, old, **kwargs):
        if new.name == "retrain-1":
            raise ZeroDivisionError("in the middle of a verdict")
        return honest(new, old, **kwargs)

    monkeypatch.setattr(engine, "judge_retrain", faulty)
    store = a_lineage()
    assert len(list(scan(a_detector(store, ledger)))) == 4
    crashed = store.runs[f"{1:032x}"].tags
    assert crashed[Tag.HEALTH] == "unknown"
    assert crashed[Tag.VERDICT] == "none"
    assert "ZeroDivisionError: in the middle of a verdict" in crashed[Tag.SUMMARY]
    assert verdicts(store)[2:] == VERDICTS[2:]
    with create_engine(f"sqlite:///{tmp_path / 'ledger.db'}").connect() as connection:
        kept = connection.scalar(text("SELECT traceback FROM judgement WHERE traceback <> ''"))
    assert "in the middle of a verdict" in kept
    assert kept.startswith("Traceback")


def test_a_report_that_cannot_be_drawn_is_a_crash_too(ledger, monkeypatch):
    def faulty(*args):
        raise ValueError("no ink")

    monkeypatch.setattr("backslide_detector.act.writeback.page", faulty)
    store = a_store(a_run(0))
    list(scan(a_detector(store, ledger)))
    assert "no ink" in store.runs[f"{0:032x}"].tags[Tag.SUMMARY]


def a_live_run(**changes):
    now = time.time()
    logged = {"loss": series(1.0, 0.9), Metric.LAST_SEEN: series(now)}
    values = {"status": "RUNNING", "started": now - 100, "ended": None, "series": logged}
    return a_run(1, None, **(values | changes))


def test_a_live_run_gets_its_health_and_no_verdict(ledger, monkeypatch):
    store = a_store(a_run(0), a_live_run())
    finding = Found(Severity.FAILING, "The loss is NaN.", "Lower the rate.", stop=True)
    monkeypatch.setattr(engine, "run_checks", lambda *a, **k: (Result("nan-or-inf", finding),))
    mail = Mailbox()
    parts = a_detector(store, ledger, channels={"mail": mail})
    list(scan(parts))
    deliver(ledger.outbox, parts.channels)
    tags = store.runs[f"{1:032x}"].tags
    assert Tag.VERDICT not in tags
    assert tags[Tag.HEALTH] == "failing"
    assert tags[Tag.FINDINGS] == "nan-or-inf"
    assert tags[Tag.STOP] == "nan-or-inf: The loss is NaN."
    assert [a.reason for a in mail.alerts].count("failing") == 2

    ended = store.runs[f"{1:032x}"]
    store.add(replace(ended, status="FINISHED", ended=time.time()))
    list(scan(parts))
    deliver(ledger.outbox, parts.channels)
    tags = store.runs[f"{1:032x}"].tags
    assert tags[Tag.VERDICT] == "none"
    assert tags[Tag.STOP] == "nan-or-inf: The loss is NaN.", "why it was stopped, if it was"
    assert len(mail.alerts) == 2, "the failing health was told before"


def test_a_job_whose_heartbeat_stopped_is_judged_as_ended_and_may_come_back(ledger):
    beat = time.time() - 1_000
    silent = a_live_run(series={**a_run(1, 0.09).series, Metric.LAST_SEEN: series(beat)})
    store = a_store(a_run(0), replace(silent, error=a_run(1, 0.09).error))
    parts = a_detector(store, ledger)
    list(scan(parts))
    assert store.runs[silent.run_id].tags[Tag.VERDICT] == "regressed"
    assert "died" in json.loads(store.artifacts[silent.run_id][Artifact.VERDICT])["problems"][0]
    assert list(scan(parts)) == []

    alive = store.runs[silent.run_id]
    beats = {**alive.series, Metric.LAST_SEEN: series(beat, beat + 5)}
    store.add(replace(alive, series=beats))
    list(scan(parts))
    assert Tag.VERDICT not in store.runs[silent.run_id].tags


def test_a_run_that_logged_nothing_gets_marks_and_no_pages(ledger):
    empty = a_run(0, None, lineage=None, tags={}, series={}, params={})
    store = a_store(empty)
    list(scan(a_detector(store, ledger)))
    tags = store.runs[empty.run_id].tags
    assert (tags[Tag.VERDICT], tags[Tag.HEALTH]) == ("none", "unknown")
    assert store.artifacts.get(empty.run_id, {}) == {}
    assert Tag.NOTE not in tags
    assert store.views == {}


@pytest.mark.parametrize("name", ["read", "write"])
def test_a_run_deleted_in_the_middle_is_forgotten(ledger, monkeypatch, name):
    store = a_lineage()
    honest = getattr(store, name)

    def gone(what, *args):
        run_id = getattr(what, "run_id", what)
        if run_id == f"{1:032x}":
            store.runs.pop(run_id, None)
            raise RunGoneError("deleted")
        return honest(what, *args)

    monkeypatch.setattr(store, name, gone)
    parts = a_detector(store, ledger)
    assert len(list(scan(parts))) == 3
    assert verdicts(store) == ["first", "regressed", "improved"]
    assert list(scan(parts)) == []


@pytest.mark.parametrize("error", [TrackerAwayError, TrackerRefusedError])
def test_a_run_that_cannot_be_written_waits_and_the_others_go_on(ledger, monkeypatch, error):
    store = a_lineage()
    honest = store.write

    def stubborn(run_id, writes):
        if run_id == f"{1:032x}":
            raise error("not now")
        honest(run_id, writes)

    monkeypatch.setattr(store, "write", stubborn)
    assert len(list(scan(a_detector(store, ledger)))) == 3
    assert verdicts(store) == ["first", None, "regressed", "improved"]


def test_a_tracker_that_is_away_is_said_and_loses_nothing(ledger, monkeypatch, tmp_path):
    store = a_lineage()
    parts = a_detector(store, ledger)
    with monkeypatch.context() as patch:

        def away(*args):
            raise TrackerAwayError("away")

        patch.setattr(store, "heads", away)
        with pytest.raises(TrackerAwayError):
            list(scan(parts))
    with create_engine(f"sqlite:///{tmp_path / 'ledger.db'}").begin() as connection:
        connection.execute(text("UPDATE work SET due_at = 0"))
    list(scan(parts))
    assert verdicts(store) == VERDICTS


def test_a_verdict_taken_off_by_a_person_is_made_again_after_a_while(ledger, tmp_path):
    store = a_store(a_run(0))
    parts = a_detector(store, ledger)
    list(scan(parts))
    run = store.runs[f"{0:032x}"]
    store.add(replace(run, tags={k: v for k, v in run.tags.items() if k != Tag.VERDICT}))
    assert list(scan(parts)) == [], "not in a circle"
    with create_engine(f"sqlite:///{tmp_path / 'ledger.db'}").begin() as connection:
        connection.execute(text("UPDATE work SET due_at = 0"))
    assert len(list(scan(parts))) == 1
    assert verdicts(store) == ["first"]
