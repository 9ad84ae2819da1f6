"""The detector as a service: ticks that scan and deliver, until it is told to stop."""

import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType
from typing import Final

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import SQLAlchemyError

from backslide_detector.act.alerts import deliver
from backslide_detector.act.channels import Channel, LogChannel, WebhookChannel
from backslide_detector.detector import Detector
from backslide_detector.errors import TrackerAwayError, TrackerRefusedError
from backslide_detector.executors import executor
from backslide_detector.ledger import Ledger
from backslide_detector.scan import scan
from backslide_detector.settings import Settings
from backslide_detector.store.server import MlflowStore

log = logging.getLogger(__name__)

DELIVER_SECONDS: Final = 5.0


@contextmanager
def detector(settings: Settings) -> Iterator[Detector]:
    """Everything that a pass works with, opened, and closed at the end.

    Raises:
        UserError: the ledger's database or the webhook's secret is no use.
    """
    channels: dict[str, Channel] = {"log": LogChannel()}
    if settings.webhook_url is not None:
        channels["webhook"] = WebhookChannel(settings.webhook_url, settings.secret())
    ledger = Ledger.open(settings.state, _owner())
    workers = executor(settings.workers)
    try:
        yield Detector(
            store=MlflowStore(settings.tracking_uri, settings.experiments, settings.metrics),
            ledger=ledger,
            executor=workers,
            channels=channels,
            uri=settings.tracking_uri,
            margin=settings.margin,
            mapping=settings.metrics,
            false_alarm_every=settings.false_alarm_every,
        )
    finally:
        workers.shutdown(wait=True, cancel_futures=True)
        ledger.close()


def serve(settings: Settings) -> None:
    """Scans and delivers until SIGTERM or SIGINT; the runs in hand are finished first."""
    with detector(settings) as opened:
        # Below one interval, so that a running job is in every pass of a detector alone and
        # not in those of every replica.
        parts = replace(opened, live_pause=settings.every / 2)
        service = Service(parts, settings.every)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, service.stop)
        service.run()


class Service:
    """The two ticks, and what is known of the outside."""

    def __init__(self, parts: Detector, every: float) -> None:
        """Scans `every` seconds."""
        self._parts = parts
        self._every = every
        self._stopping = threading.Event()
        self._trouble: str | None = None

    def run(self) -> None:
        """Blocks until `stop`."""
        scheduler = BackgroundScheduler(timezone=UTC)
        for tick, seconds in ((self.scan, self._every), (self.deliver, DELIVER_SECONDS)):
            scheduler.add_job(
                tick,
                "interval",
                seconds=seconds,
                max_instances=1,
                coalesce=True,
                next_run_time=datetime.now(UTC),
            )
        scheduler.start()
        log.info("watching %s every %g s", self._parts.uri, self._every)
        while not self._stopping.wait(1.0):
            pass
        log.info("stopping")
        scheduler.shutdown(wait=True)

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:  # noqa: ARG002  # a signal handler's signature
        """Ends `run` after the runs in hand."""
        self._parts.stop.set()
        self._stopping.set()

    def scan(self) -> None:
        """One pass; trouble is logged when it comes and when it goes."""
        try:
            for outcome in scan(self._parts, self._every):
                said = outcome.judgement
                verdict = said.retrain.verdict.value if outcome.stage != "live" else "live"
                log.info("%s: %s, %s: %s", said.run_name, verdict, said.health, said.summary)
        except (TrackerAwayError, TrackerRefusedError, SQLAlchemyError) as error:
            self._in_trouble(type(error).__name__, str(error).partition("\n")[0])
        except Exception as error:
            if self._in_trouble(type(error).__name__, str(error)):
                log.exception("this is a bug in the detector")
        else:
            if self._trouble is not None:
                log.info("the trouble is over, scanning again")
            self._trouble = None

    def deliver(self) -> None:
        """Sends the alerts that are due."""
        try:
            deliver(self._parts.ledger.outbox, self._parts.channels)
        except SQLAlchemyError as error:
            log.warning("alerts wait: %s", str(error).partition("\n")[0])

    def _in_trouble(self, kind: str, line: str) -> bool:
        """Logs a kind of trouble when it is new."""
        new = self._trouble != kind
        if new:
            log.warning("cannot scan, trying again every %g s: %s", self._every, line)
        self._trouble = kind
        return new


def _owner() -> str:
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
