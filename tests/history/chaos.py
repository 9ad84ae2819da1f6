"""Trainers, shippers and the server, killed at random behind a faulty proxy."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faulty_proxy import Fault, FaultyProxy
from tests.history.check import Diary, Verdict, judge
from tests.mlflow_server import MlflowServer
from tests.sdk.ship import tools

FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
SYNC_ROUNDS = 20


@dataclass
class Chaos:
    """One experiment.

    Attributes:
        server: what everything is stored in; started already.
        root: an empty folder.
        chance: of a fault, for each request.
        mortal: what may be killed; "server" only if nobody else uses it.
    """

    server: MlflowServer
    root: Path
    random: random.Random
    chance: float = 0.25
    mortal: tuple[str, ...] = ("trainer", "shipper", "server")
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[Fault] = field(default_factory=Counter)
    _created: set[str] = field(default_factory=set)
    _diaries: list[Path] = field(default_factory=list)
    _trainer: "subprocess.Popen[bytes] | None" = None

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    def run(self, kills: int, pause: tuple[float, float]) -> Verdict:
        """Kills so often, `pause` seconds apart, ships what is left, and judges."""
        self.spool.mkdir(parents=True)
        with FaultyProxy(self.server.port, self._choose) as proxy:
            self._train(proxy.uri)
            while self.kills.total() < kills:
                time.sleep(self.random.uniform(*pause))
                self._kill(proxy.uri)
            self._end_trainer()
            if "server" in self.mortal:
                self.server.wait_until_ready()
            self._sync(proxy.uri)
            self.faults = proxy.counts
        return judge(self.server.uri, self.diaries(), self._created, self.root / "scratch")

    def diaries(self) -> list[Diary]:
        found = (Diary.read(path) for path in self._diaries if path.exists())
        return [diary for diary in found if diary is not None]

    def _choose(self, _: str) -> Fault:
        return self.random.choice(FAULTS) if self.random.random() < self.chance else Fault.NONE

    def _kill(self, uri: str) -> None:
        match self.random.choice(self.mortal):
            case "trainer":
                self._end_trainer()
                self.kills["trainer"] += 1
                self._train(uri)
            case "shipper":
                shippers = [
                    pid for spool in tools.spools(self.spool) for pid in tools.shipper_of(spool)
                ]
                if shippers:
                    with suppress(ProcessLookupError):
                        os.kill(self.random.choice(shippers), signal.SIGKILL)
                        self.kills["shipper"] += 1
            case _:
                self.server.kill()
                self.server.start()
                self.kills["server"] += 1
                self.server.wait_until_ready()

    def _train(self, uri: str) -> None:
        """Starts a job: half of them take up the run of an earlier one."""
        diary = self.root / f"diary-{len(self._diaries)}"
        known = list(self._known_runs())
        taken_up = {}
        if known and self.random.random() < 0.5:
            taken_up = {"MLFLOW_RUN_ID": self.random.choice(known)}
        first = len(self._diaries) * 10_000_000
        self._diaries.append(diary)
        with (self.root / "errors.txt").open("ab") as errors:
            self._trainer = subprocess.Popen(
                [sys.executable, "-m", "tests.history.job", str(diary), str(first)],
                env=tools.environment(uri, self.spool, **taken_up),
                cwd=tools.HOUSE,
                stderr=errors,
            )
        tools.wait_until(lambda: diary.exists() and Diary.read(diary))
        if not taken_up:
            self._created.add(Diary.read(diary).client)

    def _known_runs(self) -> Iterator[str]:
        for spool in tools.spools(self.spool):
            with suppress(OSError, ValueError):
                if run_id := json.loads((spool / "run.json").read_text())["run_id"]:
                    yield run_id

    def _end_trainer(self) -> None:
        assert self._trainer is not None
        self._trainer.kill()
        self._trainer.wait()

    def _sync(self, uri: str) -> None:
        """As a user would: again, while it says that something is left."""
        for _ in range(SYNC_ROUNDS):
            done = tools.sync_process(uri, self.spool)
            if done.returncode == 0 and not tools.spools(self.spool):
                return
            time.sleep(1)
        raise AssertionError(f"sync does not get through: {done.stdout}{done.stderr}")
