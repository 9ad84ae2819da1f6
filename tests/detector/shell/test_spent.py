"""What jobs that died, repeats and overlapping retrains spend, and what a fleet knows."""

import json
from dataclasses import replace

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from tests.detector.shell.builders import Mailbox, a_detector, a_ledger, a_store
from tests.detector.shell.test_ledger import pair, postgres, url  # noqa: F401 -- fixtures
from tests.detector.shell.test_stream import FIRST, SAME, WORSE, a_tested_run, document, query

from backslide.contract import Metric, Tag
from backslide_detector.act.alerts import deliver
from backslide_detector.evidence import Provenance
from backslide_detector.ledger.migrate import SCRIPTS
from backslide_detector.scan import scan
from backslide_detector.stats.online import OnlineTest


@pytest.fixture
def ledger(tmp_path):
    ledger = a_ledger(tmp_path)
    yield ledger
    ledger.close()


def spent(ledger):
    return [row.run_id for row in query(ledger, "SELECT run_id FROM spent ORDER BY number")]


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_job_that_was_ended_has_spent_what_it_showed(ledger, status):
    """If it had not, killing what looks bad would leave only what looks good to be counted."""
    store = a_store(a_tested_run(0, FIRST), a_tested_run(1, WORSE, status=status))
    list(scan(a_detector(store, ledger)))
    assert spent(ledger) == [f"{1:032x}"]


def test_a_job_whose_heart_stopped_spends_when_it_is_known_to_have_ended(ledger):
    silent = a_tested_run(1, SAME, status="RUNNING", ended=None)
    beats = {Metric.LAST_SEEN: silent.series["loss"]}  # years ago
    silent = replace(silent, series={**silent.series, **beats})
    store = a_store(a_tested_run(0, FIRST), silent)
    list(scan(a_detector(store, ledger)))
    assert document(store, 1)["verdict"] == "equivalent"
    assert spent(ledger) == []
    store.add(replace(a_tested_run(1, WORSE), tags=store.tags(silent.run_id)))
    list(scan(a_detector(store, ledger)))
    assert spent(ledger) == [silent.run_id]
    assert document(store, 1)["stream"]["discovery"]["found"] == "worse"


def test_repeats_measure_luck_and_are_no_retrains(ledger):
    recipe = {"provenance": Provenance(git_commit="c1"), "lineage": "digits"}
    tags = {Tag.LINEAGE: "digits", Tag.REPEAT: "batch"}
    wrong = [range(40 * n, 40 * n + 100 + 12 * n) for n in range(4)]
    batch = [a_tested_run(n, wrong[n], tags=tags, **recipe) for n in range(4)]
    unlucky = a_tested_run(4, range(260), tags=tags, **recipe)
    store, mail = a_store(*batch, unlucky), Mailbox()
    parts = a_detector(store, ledger, channels={"mail": mail})
    list(scan(parts))
    deliver(ledger.outbox, parts.channels)
    assert document(store, 4)["verdict"] == "regressed"
    assert (spent(ledger), mail.alerts) == ([], [])
    shown = ledger.fleet("another lineage")
    assert shown.df == 4
    assert shown.squares > 4
    assert ledger.fleet("digits").df == 0, "a lineage is no fleet of its own"

    # A lineage without a past of its own is held against what this one has shown.
    other = {"lineage": "letters", "tags": {Tag.LINEAGE: "letters"}}
    store.add(a_tested_run(10, FIRST, **other))
    store.add(a_tested_run(11, WORSE, provenance=Provenance(git_commit="c2"), **other))
    list(scan(parts))
    answer = document(store, 11)
    assert "other lineages" in answer["estimands"]["recipe"]["method"]
    row = query(ledger, "SELECT phi, recipe_worse, recipe_level_worse FROM spent")[0]
    assert row.phi > 1
    assert answer["stream"]["recipe"]["pvalue"]["worse"] == row.recipe_worse
    assert answer["stream"]["recipe"]["level"]["worse"] == row.recipe_level_worse


def test_results_of_retrains_that_ran_side_by_side_tell_each_other_nothing(ledger):
    first = a_tested_run(0, FIRST)
    began = first.started + 1_000
    batch = [
        a_tested_run(n, WORSE, started=began + n, ended=began + 500 - n) for n in (1, 2, 3)
    ]
    later = a_tested_run(9, SAME, started=began + 600, ended=began + 700)
    list(scan(a_detector(a_store(first, *batch, later), ledger)))
    rows = query(ledger, "SELECT level_worse, found_worse FROM spent ORDER BY number")
    assert [bool(row.found_worse) for row in rows] == [True, True, True, False]
    blank = [OnlineTest().spend_all([0.4] * 3)[n].level for n in range(3)]
    assert [row.level_worse for row in rows[:3]] == pytest.approx(blank)
    assert rows[3].level_worse == pytest.approx(
        OnlineTest().spend_all([1e-9] * 3 + [1.0])[3].level
    )


def test_a_reference_that_was_lucky_on_its_test_set_raises_no_alarm(ledger):
    """Twelve retrains, each 18 errors worse than the luckiest, which was the first."""
    random = np.random.default_rng(5)
    runs = [a_tested_run(0, FIRST)]
    for number in range(1, 13):
        wrong = random.choice(400, 130, replace=False)
        runs.append(a_tested_run(number, [*wrong.tolist()]))
    runs[0] = a_tested_run(0, random.choice(400, 112, replace=False).tolist())
    store = a_store(*runs)
    list(scan(a_detector(store, ledger)))
    rows = query(ledger, "SELECT alarmed, reference, yardstick, alarm_value FROM spent")
    assert len({(row.reference, row.yardstick) for row in rows}) == 1
    assert not any(row.alarmed for row in rows)
    assert rows[-1].alarm_value < 50


def test_the_reference_moves_when_the_lineage_got_better_and_when_its_test_set_changed(ledger):
    runs = [a_tested_run(n, range(60 + n, 160 + n)) for n in range(3)]
    runs += [a_tested_run(n, range(100 + n, 120 + n)) for n in range(3, 5)]
    store = a_store(*runs)
    list(scan(a_detector(store, ledger)))
    assert document(store, 3)["stream"]["leads"] is True
    assert document(store, 4)["stream"]["reference"]["run"] == f"{3:032x}"

    for number in (5, 6):
        run = a_tested_run(number, range(100, 120))
        table = run.predictions["test"]
        fresh = replace(table, ids=np.array([f"new-{i}" for i in table.ids], dtype=object))
        store.add(replace(run, predictions={"test": fresh}))
        list(scan(a_detector(store, ledger)))
    assert document(store, 5)["stream"]["reference"] is None
    reference = document(store, 6)["stream"]["reference"]
    assert (reference["run"], reference["why"]) == (
        f"{5:032x}",
        "the first run on this test set",
    )


def test_an_older_ledger_keeps_its_streams(pair):  # noqa: F811 -- the fixture
    ledger = pair[0]
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    pvalues = [0.001, 0.4, 0.9, 1e-5, 0.3]
    with ledger._engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        for number, spent_ in enumerate(OnlineTest().spend_all(pvalues), start=1):
            connection.execute(
                text(
                    "INSERT INTO spent (run_id, number, procedure, worse, better, level_worse, "
                    "level_better, found_worse, found_better, alarmed, uses, spent_at) VALUES "
                    "(:id, :number, 'addis', :p, 1, :level, 0.001, :found, :no, :no, 1, 1.0)"
                ),
                {"id": f"old-{number}", "number": number, "p": spent_.pvalue,
                 "level": spent_.level, "found": spent_.rejected, "no": False},
            )  # fmt: skip
        command.upgrade(config, "head")
        states = connection.execute(text("SELECT name, state FROM stream")).all()
        places = connection.execute(text("SELECT place FROM spent ORDER BY number")).scalars()
        assert list(places) == [1, 2, 3, 4, 5]
    kept = {row.name: json.loads(row.state) for row in states}
    expected = OnlineTest()
    expected.spend_all(pvalues)
    assert kept["worse:addis"] == json.loads(expected.dump())
    assert kept["better:addis"]["discoveries"] == []
