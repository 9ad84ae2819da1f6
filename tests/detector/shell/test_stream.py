"""The stream of retrains: spent once, in one order, said in the report and told in alerts."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import text
from tests.detector.shell.builders import Mailbox, a_detector, a_ledger, a_run, a_store

from backslide.contract import Artifact, Tag
from backslide_detector.act.alerts import deliver
from backslide_detector.evidence import ErrorRate, Predictions, Provenance
from backslide_detector.scan import scan
from backslide_detector.stats.alarm import FlipAlarm
from backslide_detector.stats.online import OnlineTest

EXAMPLES = 4_000


@pytest.fixture
def ledger(tmp_path):
    ledger = a_ledger(tmp_path)
    yield ledger
    ledger.close()


def a_tested_run(number, wrong, **changes):
    """A retrain that is wrong on the given examples of 4,000."""
    correct = np.ones(EXAMPLES, dtype=bool)
    correct[list(wrong)] = False
    targets = np.array(["a", "b"] * (EXAMPLES // 2), dtype=object)
    table = Predictions(
        ids=np.array([f"id{i}" for i in range(EXAMPLES)], dtype=object),
        targets=targets,
        predictions=np.where(correct, targets, "c").astype(object),
        correct=correct,
    )
    error = ErrorRate("test", table.error, EXAMPLES, "predictions")
    run = a_run(number, table.error, predictions={"test": table}, **changes)
    return replace(run, error=error)


def document(store, number):
    return json.loads(store.artifacts[f"{number:032x}"][Artifact.VERDICT])


def query(ledger, statement):
    with ledger._engine.begin() as connection:
        return connection.execute(text(statement)).all()


FIRST = range(100)
SAME = range(20, 118)
WORSE = range(300)


def test_each_retrain_spends_once_in_the_order_of_the_ledger(ledger):
    store = a_store(a_tested_run(0, FIRST), a_tested_run(1, WORSE), a_tested_run(2, SAME))
    list(scan(a_detector(store, ledger)))
    rows = query(ledger, "SELECT number, worse, level_worse, found_worse FROM spent")
    assert [row.number for row in rows] == [1, 2]
    replayed = OnlineTest().spend_all([row.worse for row in rows])
    assert [row.level_worse for row in rows] == [spent.level for spent in replayed]
    assert [bool(row.found_worse) for row in rows] == [True, False]

    for number in (1, 2):  # judged again, with other evidence even
        run = store.runs[f"{number:032x}"]
        again = a_tested_run(number, range(50), ended=run.ended + 1)
        store.add(again)
    assert len(list(scan(a_detector(store, ledger)))) == 2
    assert query(ledger, "SELECT number, worse, level_worse, found_worse FROM spent") == rows


def test_the_verdict_says_where_the_retrain_stands_among_all(ledger):
    store = a_store(a_tested_run(0, FIRST), a_tested_run(1, WORSE), a_tested_run(2, SAME))
    list(scan(a_detector(store, ledger)))
    worse, same = document(store, 1)["stream"], document(store, 2)["stream"]
    assert worse["discovery"]["found"] == "worse"
    assert same["discovery"]["found"] is None
    detector = FlipAlarm().after(200, 0)
    assert worse["alarm"] == {"value": detector.value, "threshold": 1_000.0, "alarmed": True}
    # Begun anew after the alarm, and held against the first run, not against the regression.
    assert same["alarm"]["value"] == pytest.approx(FlipAlarm().after(18, 20).value)
    assert same["reference"]["run"] == f"{0:032x}"
    assert [d["test_set"]["uses"] for d in (worse, same)] == [1, 2]
    note = store.runs[f"{1:032x}"].tags[Tag.NOTE]
    assert "### Among all retrains" in note
    assert "discovery under control" in note
    assert "discovery under control" in store.artifacts[f"{1:032x}"][Artifact.REPORT]


def test_an_alarm_is_dated_and_later_retrains_remember_it(ledger):
    store = a_store(a_tested_run(0, FIRST), a_tested_run(1, WORSE), a_tested_run(2, SAME))
    list(scan(a_detector(store, ledger)))
    first, worse, same = (document(store, n)["stream"]["course"] for n in range(3))
    assert first == {"retrains": 1, "expected": None, "next": None, "changes": []}
    for course in (worse, same):
        (change,) = course["changes"]
        assert (change["run"], change["shown_by"]) == (f"{1:032x}", "alarm")
        assert change["shift"] > 0.03
    low, high = same["next"]["interval"]
    assert low < 98 / EXAMPLES < high < 300 / EXAMPLES, "a refused run is not expected again"
    report = store.artifacts[f"{2:032x}"][Artifact.REPORT]
    assert report.count('class="signal worse"') == 1
    assert "No history yet" in store.artifacts[f"{0:032x}"][Artifact.REPORT]


def test_small_regressions_add_up_against_the_last_run_shown_to_be_good(ledger):
    """Each is inconclusive alone; were each the measure of the next, none would be seen."""
    runs = [a_tested_run(0, FIRST)]
    runs += [a_tested_run(n, range(10, 130 + n % 3)) for n in range(1, 12)]
    store, mail = a_store(*runs), Mailbox()
    parts = a_detector(store, ledger, channels={"mail": mail}, false_alarm_every=200.0)
    list(scan(parts))
    deliver(ledger.outbox, parts.channels)
    told = [alert for alert in mail.alerts if "alarm" in alert.reason]
    assert told
    assert told[0].payload["confirmed"] is True
    assert told[0].payload["type"] in ("run.alarm", "run.regressed")


def test_a_regression_is_told_whatever_the_alert_channel_is_set_to(ledger):
    store, mail = a_store(a_tested_run(0, FIRST), a_tested_run(1, range(20, 145))), Mailbox()
    parts = a_detector(store, ledger, channels={"mail": mail}, false_alarm_every=1e9)
    list(scan(parts))
    deliver(ledger.outbox, parts.channels)
    assert [alert.reason for alert in mail.alerts] == ["regressed"]


def test_a_creep_that_no_pair_shows_is_found_dated_and_told_once(ledger):
    rng = np.random.default_rng(4)
    errors = 0.05 + rng.normal(0, 0.0008, 40)
    errors[25:] += 0.0006 * np.arange(1, 16)
    store, mail = a_store(*(a_run(n, float(e)) for n, e in enumerate(errors))), Mailbox()
    parts = a_detector(store, ledger, channels={"mail": mail})
    list(scan(parts))
    deliver(ledger.outbox, parts.channels)
    creep = document(store, 39)["stream"]["creep"]
    assert creep["anchor"] == "retrain-0"
    assert 25 <= int(creep["since"].removeprefix("retrain-")) <= 35
    assert 26 <= int(creep["alarm"].removeprefix("retrain-")) <= 39
    assert document(store, 24)["stream"]["creep"]["alarm"] is None
    assert [alert.reason for alert in mail.alerts].count("creep") == 1


def test_a_pinned_run_counts_most_then_the_champion(ledger):
    pin = {Tag.LINEAGE: "digits", Tag.BASELINE: f"{1:032x}"}
    store = a_store(
        *(a_tested_run(n, FIRST) for n in range(3)), a_tested_run(3, SAME, tags=pin)
    )
    store.champions["digits"] = f"{0:032x}"
    list(scan(a_detector(store, ledger)))
    assert document(store, 1)["compared_to"] == f"{0:032x}"
    assert document(store, 2)["compared_to"] == f"{0:032x}"
    assert document(store, 3)["compared_to"] == f"{1:032x}"
    assert document(store, 3)["stream"]["reference"]["run"] == f"{1:032x}"
    assert document(store, 3)["stream"]["discovery"]["procedure"] == "lord++"
    store.champions["digits"] = f"{9:032x}"
    store.add(a_tested_run(4, SAME))
    list(scan(a_detector(store, ledger)))
    assert document(store, 4)["compared_to"] == f"{3:032x}", "a champion that is gone"


@pytest.mark.parametrize("by", ["ledger", "tag"])
def test_a_person_overrules_the_verdict_for_later_retrains(ledger, by):
    store = a_store(a_tested_run(0, FIRST), a_tested_run(1, WORSE))
    parts = a_detector(store, ledger)
    list(scan(parts))
    regressed = store.runs[f"{1:032x}"]
    if by == "ledger":
        ledger.decide(regressed.run_id, "rejected", "ada", None)
        ledger.decide(regressed.run_id, "accepted", "ada", "a harder test set")
    else:
        store.add(replace(regressed, tags={**regressed.tags, Tag.DECISION: "accepted"}))
    store.add(a_tested_run(2, WORSE))
    list(scan(parts))
    assert document(store, 2)["compared_to"] == regressed.run_id
    assert document(store, 2)["stream"]["reference"]["why"].endswith("accepted by a person")


def test_a_run_made_to_find_a_cause_is_no_retrain(ledger):
    tags = {Tag.LINEAGE: "digits", Tag.ATTRIBUTION: json.dumps({"of": "x", "new": ["data"]})}
    store = a_store(a_tested_run(0, FIRST), a_tested_run(1, range(90), tags=tags))
    store.add(a_tested_run(2, SAME))
    list(scan(a_detector(store, ledger)))
    assert document(store, 2)["compared_to"] == f"{0:032x}"
    assert [r.run_id for r in query(ledger, "SELECT run_id FROM spent")] == [f"{2:032x}"]


def test_runs_made_to_find_a_cause_settle_it_when_the_last_of_them_is_there(ledger):
    def params(**changes):
        return {"test_examples": "2000", "lr": "0.1"} | changes

    def commit(name):
        return Provenance(git_commit=name)

    old = a_run(0, 0.050, params=params(), provenance=commit("a"))
    new = a_run(1, 0.090, params=params(lr="0.5"), provenance=commit("b"))
    store = a_store(old, new)
    parts = a_detector(store, ledger)
    list(scan(parts))
    assert document(store, 1)["shares"] == []
    for number, kind, error in ((2, "config", 0.089), (3, "code", 0.051)):
        made_for = json.dumps({"of": new.run_id, "new": [kind]})
        tags = {Tag.LINEAGE: "digits", Tag.ATTRIBUTION: made_for}
        store.add(a_run(number, error, params=params(), tags=tags))
        assert document(store, 1)["shares"] == []
        list(scan(parts))
    shares = {tuple(share["kinds"]): share for share in document(store, 1)["shares"]}
    # Shapley values by hand: half of (.089 - .050) + (.090 - .051), and of .001 + .001.
    assert shares["config",]["effect"] == pytest.approx(0.039)
    assert shares["code",]["effect"] == pytest.approx(0.001)
    assert shares["code", "config"]["effect"] == pytest.approx(0.0)
    low, high = shares["config",]["interval"]
    assert 0 < low < 0.039 < high
    assert store.runs[new.run_id].tags[Tag.CAUSE] == "config"
    assert list(scan(parts)) == []
