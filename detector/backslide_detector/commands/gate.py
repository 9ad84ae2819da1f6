"""`backslide gate`: the answer of a run for a pipeline, as exit status and JUnit XML."""

import time
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import click

from backslide.contract import Health, Tag, Verdict
from backslide_detector.commands.tracking import find_run, open_store
from backslide_detector.evidence import RunHead
from backslide_detector.settings import Settings

PASSED: Final = 0
REJECTED: Final = 1
NO_VERDICT: Final = 2
POLL_SECONDS: Final = 2.0


def pass_or_stop(run: str, settings: Settings, *, wait: float, junit: Path | None) -> int:
    """Waits for the verdict, prints the answer and returns the exit status."""
    store = open_store(settings)
    deadline = time.monotonic() + wait
    head = find_run(store, run)
    while Tag.VERDICT not in head.tags and time.monotonic() < deadline:
        time.sleep(min(POLL_SECONDS, max(deadline - time.monotonic(), 0.0)))
        head = find_run(store, run)
    code, reason = _decision(head)
    if junit is not None:
        _write_junit(junit, head, code, reason)
    click.echo(reason)
    return code


def _decision(head: RunHead) -> tuple[int, str]:
    verdict, health = head.tags.get(Tag.VERDICT), head.tags.get(Tag.HEALTH)
    summary = head.tags.get(Tag.SUMMARY, "")
    if verdict == Verdict.REGRESSED:
        return REJECTED, f"{head.name} regressed: {summary}"
    if health == Health.FAILING:
        return REJECTED, f"{head.name} is failing: {summary}"
    if verdict is None:
        return NO_VERDICT, f"{head.name} has no verdict yet"
    if verdict == Verdict.NONE:
        return NO_VERDICT, f"{head.name} has no verdict: {summary}"
    return PASSED, f"{head.name} passes ({verdict}): {summary}"


def _write_junit(path: Path, head: RunHead, code: int, reason: str) -> None:
    suite = ET.Element("testsuite", name="backslide gate", tests="1")
    suite.set("failures", str(int(code == REJECTED)))
    suite.set("errors", str(int(code == NO_VERDICT)))
    case = ET.SubElement(suite, "testcase", classname="backslide", name=_printable(head.name))
    if code != PASSED:
        kind = "failure" if code == REJECTED else "error"
        ET.SubElement(case, kind, message=_printable(reason))
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """XML has no way to write most control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
