"""What a pass works with."""

import threading
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from backslide_detector.act.channels import Channel
from backslide_detector.ledger import Ledger
from backslide_detector.store import Store


@dataclass(frozen=True)
class Detector:
    """What a pass works with.

    Attributes:
        uri: address of the tracking server, for links.
        executor: where judging happens.
        channels: where alerts go, by name.
        margin, mapping, false_alarm_every: as in the settings.
        live_pause: seconds for which news of a running job wait once it was judged, whichever
            detector of this ledger sees them.
        stop: set from outside to end a pass after the runs in hand.
    """

    store: Store
    ledger: Ledger
    executor: Executor
    channels: Mapping[str, Channel]
    uri: str
    margin: float | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    false_alarm_every: float = 1_000.0
    live_pause: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
