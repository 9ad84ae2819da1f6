"""Which judgements somebody must hear about, and the messages on their way."""

import logging
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from backslide.contract import Health, Verdict
from backslide_detector.act.channels import Channel
from backslide_detector.errors import DeliveryError
from backslide_detector.judgement import Judgement
from backslide_detector.ledger.outbox import RETRY_SECONDS, Alert, Outbox
from backslide_detector.report.links import Links

log = logging.getLogger(__name__)

REGRESSED: Final = "regressed"
FAILING: Final = "failing"
ALARM: Final = "alarm"
"""The e-detector of the lineage reached its threshold."""
CREEP: Final = "creep"


def alerts(
    judgement: Judgement, links: Links, said: frozenset[str], channels: Iterable[str]
) -> list[Alert]:
    """The messages that this judgement causes: one a channel, about what was not said yet.

    Args:
        judgement: the judgement.
        links: where the reader can go on.
        said: reasons that earlier alerts about the run gave.
        channels: names of the channels in use.
    """
    reasons = []
    if judgement.retrain.verdict is Verdict.REGRESSED:
        reasons.append(REGRESSED)
    if judgement.health is Health.FAILING:
        reasons.append(FAILING)
    stream = judgement.retrain.stream
    if stream.standing is not None and stream.standing.alarmed:
        reasons.append(ALARM)
    if stream.creep is not None and stream.creep.new:
        reasons.append(CREEP)
    news = [reason for reason in reasons if reason not in said]
    if not news:
        return []
    reason = ",".join(news)
    key = sha256(f"{judgement.run_id} {reason}".encode()).hexdigest()[:32]
    payload = _payload(judgement, links, news)
    return [Alert(key, channel, judgement.run_id, reason, payload) for channel in channels]


def deliver(outbox: Outbox, channels: Mapping[str, Channel]) -> int:
    """Hands over what is due and returns how many alerts arrived."""
    arrived = 0
    while batch := outbox.take():
        for alert in batch:
            channel = channels.get(alert.channel)
            if channel is None:
                outbox.failed(alert, "no such channel in the settings", None)
                continue
            try:
                channel.send(alert)
            except DeliveryError as error:
                _put_off(outbox, alert, error)
            else:
                outbox.delivered(alert)
                arrived += 1
    return arrived


def _put_off(outbox: Outbox, alert: Alert, error: DeliveryError) -> None:
    last = error.final or alert.attempts > len(RETRY_SECONDS)
    wait = None if last else max(RETRY_SECONDS[alert.attempts - 1], error.retry_after or 0.0)
    outbox.failed(alert, str(error), wait)
    then = "given up" if wait is None else f"next try in {wait:.0f} s"
    log.warning("alert %s to %s not delivered: %s; %s", alert.id, alert.channel, error, then)


def _confirmed(judgement: Judgement) -> bool:
    """Whether "worse" also holds among all retrains; a regression is told anyway."""
    standing = judgement.retrain.stream.standing
    return standing is not None and (standing.model.found_worse or standing.alarmed)


def _payload(judgement: Judgement, links: Links, reasons: list[str]) -> dict[str, object]:
    return {
        "type": f"run.{reasons[0]}",
        "run": judgement.run_id,
        "run_name": judgement.run_name,
        "lineage": judgement.lineage,
        "verdict": judgement.retrain.verdict.value,
        "health": judgement.health.value,
        "summary": judgement.summary,
        "compared_to": judgement.retrain.compared_to,
        "confirmed": _confirmed(judgement),
        "findings": [
            {"name": name, "severity": found.severity.value, "sentence": found.sentence}
            for name, found in judgement.findings
        ],
        "links": {
            "run": links.run,
            "baseline": links.baseline,
            "report": links.report,
            "view": links.view,
        },
    }
