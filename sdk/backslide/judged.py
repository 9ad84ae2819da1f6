"""What the detector said about a run, and how a training job can wait for it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from backslide.contract import Health, Tag
from backslide.spool.keeper import shipper_environment


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """What the detector said about a run.

    Attributes:
        verdict: a value of `contract.Verdict`.
        health: a value of `contract.Health`.
        findings: check names, worst first.
        summary: one plain sentence.
        url: the run's page.
    """

    verdict: str
    health: str
    findings: tuple[str, ...]
    summary: str
    url: str

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Self:
        """Reads the run's tags, and its page under "url"."""
        return cls(
            verdict=tags[Tag.VERDICT],
            health=tags.get(Tag.HEALTH, Health.UNKNOWN),
            findings=tuple(filter(None, tags.get(Tag.FINDINGS, "").split(", "))),
            summary=tags.get(Tag.SUMMARY, ""),
            url=tags.get("url", ""),
        )


def wait_for_verdict(uri: str, run_id: str, timeout: float | None) -> JudgedRun | None:
    """Asks the server in a process of its own until the run is judged; None after `timeout`."""
    command = ["-m", "backslide.ship.shipper", "--verdict", uri, run_id]
    try:
        # Our own interpreter with our own code; -P keeps files of the working directory from
        # standing in for libraries.
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-P", *command],
            timeout=timeout,
            check=True,
            capture_output=True,
            env=shipper_environment(),
        )
    except subprocess.TimeoutExpired:
        return None
    return JudgedRun.from_tags(json.loads(done.stdout))
