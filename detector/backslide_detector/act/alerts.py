"""Which judgements somebody must hear about, and the messages on their way."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from backslide.contract import Health, Verdict
from backslide_detector.act.channels import Channel
from backslide_detector.act.telling import Reason, Telling, all_clear, confirmed, telling
from backslide_detector.errors import DeliveryError
from backslide_detector.judgement import Judgement
from backslide_detector.ledger.outbox import CLEARED, RETRY_SECONDS, Alert, Outbox, Told
from backslide_detector.report.links import Links

log = logging.getLogger(__name__)

REGRESSED: Final = "regressed"
FAILING: Final = "failing"
MOST_TIMES: Final = 3
"""A run that fails, recovers and fails again is told so often, then flutters in silence."""


def alerts(
    judgement: Judgement,
    links: Links,
    told: Told,
    channels: Iterable[str],
    mute: frozenset[str] = frozenset(),
) -> list[Alert]:
    """The messages that this judgement causes: about what is new, and about what is over.

    Args:
        judgement: the judgement.
        links: where the reader can go on.
        told: what earlier alerts said about the run.
        channels: names of the channels in use.
        mute: reasons that are no news of this run.
    """
    news = [
        reason
        for reason in reasons(judgement)
        if reason not in told.holds | mute and told.times.get(reason, 0) < MOST_TIMES
    ]
    over = [reason for reason in _over(judgement) if reason in told.holds]
    found = []
    if over:
        tokens = [CLEARED + reason for reason in over]
        found += _messages(told, channels, tokens, _cleared(judgement, links, over))
    if news:
        message = telling(judgement, news)
        found += _messages(told, channels, news, _payload(judgement, links, news, message))
    return found


def reasons(judgement: Judgement) -> list[Reason]:
    """Why somebody must hear of a judgement.

    A class or slice alone is none: only the stream of all retrains makes it one, because of
    thirty slices one looks worse in every other retrain.
    """
    stream = judgement.retrain.stream
    standing, creep = stream.standing, stream.creep
    groups = None if standing is None else standing.groups
    holds: dict[Reason, bool] = {
        "regressed": judgement.retrain.verdict is Verdict.REGRESSED,
        "failing": judgement.health is Health.FAILING,
        "alarm": standing is not None and standing.alarmed,
        "creep": creep is not None and creep.new,
        "slice": groups is not None and groups.found_worse,
    }
    return [reason for reason, true in holds.items() if true]


def _over(judgement: Judgement) -> list[str]:
    """States that this judgement rules out; one that cannot tell rules out nothing."""
    over = []
    if judgement.retrain.verdict not in (Verdict.REGRESSED, Verdict.NONE):
        over.append(REGRESSED)
    if judgement.health in (Health.HEALTHY, Health.WARNING):
        over.append(FAILING)
    return over


def _messages(
    told: Told, channels: Iterable[str], why: Sequence[str], payload: Mapping[str, object]
) -> list[Alert]:
    """One a channel; the id says which message about the run it is, so a repeat is known."""
    run, reason = str(payload["run"]), ",".join(why)
    which = f" {told.messages}" if told.messages else ""
    key = sha256(f"{run} {reason}{which}".encode()).hexdigest()[:32]
    return [Alert(key, channel, run, reason, payload) for channel in channels]


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


def _payload(
    judgement: Judgement, links: Links, why: Sequence[str], message: Telling
) -> dict[str, object]:
    return {
        "type": f"run.{why[0]}",
        "reasons": list(why),
        "title": message.title,
        "text": message.text,
        "run": judgement.run_id,
        "run_name": judgement.run_name,
        "lineage": judgement.lineage,
        "verdict": judgement.retrain.verdict.value,
        "health": judgement.health.value,
        "summary": judgement.summary,
        "compared_to": judgement.retrain.compared_to,
        "confirmed": confirmed(judgement),
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


def _cleared(judgement: Judgement, links: Links, over: Sequence[str]) -> dict[str, object]:
    message = all_clear(judgement, over)
    return _payload(judgement, links, over, message) | {
        "type": "run.cleared",
        "cleared": list(over),
        "summary": f"No longer {' or '.join(over)}: {judgement.summary}",
    }
