"""A fault in a running job, over several passes: told, withdrawn, told as over, once each."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from tests.detector.shell.builders import Mailbox, a_detector, a_ledger, a_run, a_store, series
from tests.detector.shell.killing import Killed, kill_at

from backslide.contract import Artifact, Metric, Tag
from backslide_detector import engine
from backslide_detector.act.alerts import deliver
from backslide_detector.evidence import Series
from backslide_detector.finding import Clear, Found, Result, Severity
from backslide_detector.scan import scan

RUN = f"{1:032x}"
FAULT = Found(Severity.FAILING, "Units are dead.", "Lower the rate.", layer="fc1", stop=True)


def at(step: int) -> Series:
    return Series(np.array([step]), np.array([1.0]), np.array([0.0]))


class Story:
    """A live run in memory, whose checks say what the test wants."""

    def __init__(self, folder, monkeypatch) -> None:
        self.folder = folder
        self.mail = Mailbox()
        self.store = a_store(
            a_run(
                1,
                None,
                status="RUNNING",
                ended=None,
                started=time.time() - 100,
                series={"loss": series(1.0), Metric.LAST_SEEN: series(time.time())},
            )
        )
        self.check = "nan-or-inf"  # what is told at once
        self.outcome = Clear()
        self.open("first")
        checks = lambda *a, **k: (Result(self.check, self.outcome),)  # noqa: E731
        monkeypatch.setattr(engine, "run_checks", checks)

    def open(self, owner: str) -> None:
        self.ledger = a_ledger(self.folder, owner)
        self.parts = a_detector(self.store, self.ledger, channels={"mail": self.mail})

    def restart(self) -> None:
        """The detector dies and another takes over."""
        self.ledger.close()
        with create_engine(f"sqlite:///{self.folder / 'ledger.db'}").begin() as connection:
            connection.execute(text("UPDATE work SET lease_until = 0 WHERE lease_until > 0"))
            connection.execute(text("UPDATE outbox SET due_at = 0 WHERE due_at IS NOT NULL"))
        self.open("next")

    def news(self, outcome) -> None:
        self.outcome = outcome
        run = self.store.runs[RUN]
        beats = (*run.series[Metric.LAST_SEEN].values, time.time() + len(self.store.written))
        moved = run.series | {Metric.LAST_SEEN: series(*beats)}
        self.store.add(replace(run, series=moved))

    def step(self, number: int) -> None:
        run = self.store.runs[RUN]
        self.store.add(replace(run, series=run.series | {"loss": at(number)}))

    def judge(self, outcome) -> None:
        self.news(outcome)
        list(scan(self.parts))

    def deliver(self) -> list[str]:
        deliver(self.ledger.outbox, self.parts.channels)
        return [alert.reason for alert in self.mail.alerts]

    @property
    def tags(self) -> dict[str, str]:
        return self.store.tags(RUN)

    def artifact(self, path: str) -> str:
        return self.store.artifacts.get(RUN, {}).get(path, "")


@pytest.fixture
def story(tmp_path, monkeypatch):
    story = Story(tmp_path, monkeypatch)
    yield story
    story.ledger.close()


def test_a_fault_is_explained_on_the_running_job(story):
    story.judge(Clear())
    assert Tag.NOTE not in story.tags, "nothing to explain yet"
    story.judge(FAULT)
    assert story.tags[Tag.HEALTH] == "failing"
    assert "Units are dead" in story.tags[Tag.NOTE]
    assert "Units are dead" in story.artifact(Artifact.REPORT)
    assert Tag.VERDICT not in story.tags


@pytest.mark.parametrize("stop", [True, False])
def test_what_may_pass_is_told_when_it_is_seen_twice(story, stop):
    story.check, fault = "dead-units", replace(FAULT, stop=stop)
    story.judge(fault)
    assert story.tags[Tag.HEALTH] == "healthy"
    assert not {Tag.FINDINGS, Tag.STOP} & set(story.tags)
    story.judge(fault)
    assert story.tags[Tag.HEALTH] == "failing"
    assert story.tags[Tag.FINDINGS] == "dead-units"
    assert (Tag.STOP in story.tags) == stop
    story.judge(Clear())
    story.judge(fault)
    assert Tag.FINDINGS not in story.tags, "twice in a row"


def test_a_slow_start_is_given_time(story):
    story.check, slow = "loss-not-decreasing", replace(FAULT, stop=False)
    told = []
    for step in (120, 300, 480, 520):
        story.step(step)
        story.judge(slow)
        told.append(Tag.FINDINGS in story.tags)
    assert told == [False, False, False, True]


def test_what_comes_late_is_told_when_the_run_has_grown(story):
    story.check, worse = "overfitting", replace(FAULT, stop=False)
    told = []
    for step in (1_000, 1_200, 1_250):
        story.step(step)
        story.judge(worse)
        told.append(Tag.FINDINGS in story.tags)
    assert told == [False, False, True]


def test_what_is_still_found_is_not_written_again(story):
    for _ in range(3):
        story.judge(FAULT)
    written = list(story.store.written)
    story.judge(FAULT)
    assert story.store.written == written


def test_a_finding_that_clears_is_withdrawn_everywhere_and_told_once(story):
    story.judge(FAULT)
    assert story.deliver() == ["failing"]
    for _ in range(3):
        story.judge(Clear())
    assert story.tags[Tag.HEALTH] == "healthy"
    assert not {Tag.FINDINGS, Tag.STOP} & set(story.tags)
    assert "Units are dead" not in story.tags[Tag.NOTE]
    assert "Units are dead" not in story.artifact(Artifact.REPORT)
    assert json.loads(story.artifact(Artifact.VERDICT))["findings"] == []
    story.restart()
    story.judge(Clear())
    assert story.deliver() == ["failing", "cleared:failing"]
    over = story.mail.alerts[-1].payload
    assert (over["type"], over["cleared"]) == ("run.cleared", ["failing"])
    assert over["summary"].startswith("No longer failing")


def test_what_cleared_before_anybody_heard_is_told_to_nobody(story):
    story.judge(FAULT)
    story.judge(Clear())
    story.judge(Clear())
    assert story.deliver() == []


def test_a_job_that_flutters_falls_silent(story):
    for _ in range(6):
        story.judge(FAULT)
        story.deliver()
        story.judge(Clear())
        told = story.deliver()
    assert told == ["failing", "cleared:failing"] * 3
    assert len({alert.id for alert in story.mail.alerts}) == 6


def test_a_check_that_crashes_clears_nothing(story, monkeypatch):
    story.judge(FAULT)
    story.deliver()
    with monkeypatch.context() as patch:

        def dies(*args, **kwargs):
            raise ZeroDivisionError

        patch.setattr(engine, "run_checks", dies)
        story.news(FAULT)
        list(scan(story.parts))
    assert story.deliver() == ["failing"]


def test_killed_at_any_step_of_a_withdrawal_it_is_told_once(tmp_path, monkeypatch):
    (tmp_path / "template").mkdir()
    a_ledger(tmp_path / "template").close()
    reached = 0
    for count in range(1_000):
        folder = shutil.copytree(tmp_path / "template", tmp_path / str(count))
        story = Story(folder, monkeypatch)
        story.judge(FAULT)
        story.deliver()
        story.news(Clear())
        killed = _kill_at(count, story, monkeypatch)
        story.restart()
        list(scan(story.parts))
        story.deliver()
        story.ledger.close()
        heard = [(alert.id, alert.reason) for alert in story.mail.alerts]
        assert [reason for _, reason in dict.fromkeys(heard)] == ["failing", "cleared:failing"]
        assert Tag.FINDINGS not in story.tags
        assert "Units are dead" not in story.tags[Tag.NOTE]
        reached = count
        if not killed:
            break
    assert reached > 10, "the test did not reach the steps it is about"


def _kill_at(count: int, story: Story, monkeypatch) -> bool:
    ledger = story.ledger
    places = (
        (story.store, ("read", "write")),
        (ledger, ("claim", "record", "check", "done")),
        (ledger.outbox, ("take", "delivered")),
    )
    with monkeypatch.context() as patch:
        kill_at(count, places, patch)
        try:
            list(scan(story.parts))
            story.deliver()
        except Killed:
            return True
    return False
