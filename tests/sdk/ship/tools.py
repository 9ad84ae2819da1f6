"""Starts trainers, ships spools and reads back what arrived."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from click.testing import CliRunner, Result
from mlflow import MlflowClient
from mlflow.entities import Run

from backslide.cli import main
from backslide.contract import Artifact
from backslide.spool.job import CALLS

HOUSE = Path(__file__).parents[3]


def environment(uri: str, spool: Path, **more: str) -> dict[str, str]:
    return os.environ | {
        "MLFLOW_TRACKING_URI": uri,
        "BACKSLIDE_SPOOL_DIR": str(spool),
        "PYTHONPATH": os.pathsep.join([str(HOUSE / "sdk"), str(HOUSE)]),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def random_states() -> tuple[object, ...]:
    """Of Python, numpy and torch, comparable."""
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002  # what users seed
    return random.getstate(), legacy, torch.get_rng_state().tolist()


class Trainer:
    """`trainer.py` as a process; its output goes to files, so that killing it loses none."""

    def __init__(self, uri: str, spool: Path, *arguments: str, **more: str) -> None:
        self._output = spool.parent / "output.txt"
        self._errors = spool.parent / "errors.txt"
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.sdk.ship.trainer", *arguments],
                env=environment(uri, spool, **more),
                cwd=HOUSE,
                stdout=output,
                stderr=errors,
            )

    def acknowledged(self) -> list[int]:
        """Steps whose `run.step` had returned."""
        whole_lines = self._output.read_text().split("\n")[:-1]
        return [int(line) for line in whole_lines if line.isdigit()]

    def end(self, status: int = 0) -> str:
        """Waits for the end; what the job said on stderr."""
        found = self.process.wait(timeout=240)
        errors = self._errors.read_text()
        assert found == status, errors
        return errors

    def run_id(self) -> str:
        return self._output.read_text().split()[-1]


def script(
    uri: str, spool: Path, code: str, *arguments: str, **more: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(uri, spool, **more),
        cwd=spool,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sync(uri: str, spool: Path, *options: str) -> Result:
    """`backslide sync` in this process, where MLflow is loaded already."""
    settings = {"MLFLOW_TRACKING_URI": uri, **CALLS}  # it sets the latter itself, for good
    return CliRunner().invoke(main, ["sync", str(spool), *options], env=settings)


def sync_process(uri: str, spool: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "backslide.cli", "sync", str(spool), *options],
        env=environment(uri, spool),
        cwd=spool,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def together(
    commands: Sequence[Sequence[str]], environments: Sequence[dict[str, str]]
) -> list[str]:
    """Runs processes that wait for each other; what each printed."""
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            cwd=HOUSE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), [errors for _, errors in said]
    return [output for output, _ in said]


def wait_until(what: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.2)


def spools(root: Path) -> list[Path]:
    return [path.parent for path in root.glob("*/job.json")]


def client_of(root: Path) -> str:
    (folder,) = spools(root)
    return str(json.loads((folder / "job.json").read_text())["client"])


def runs(uri: str, client: str) -> list[Run]:
    """The runs that a job has created: there should be one."""
    mlflow = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    return list(mlflow.search_runs(experiments, f"tags.`backslide.client` = '{client}'"))


def metric_rows(uri: str, run_id: str, key: str) -> Counter[int]:
    """How often each step is in MLflow."""
    return Counter(row.step for row in MlflowClient(uri).get_metric_history(run_id, key))


def scalar_rows(uri: str, run_id: str, key: str, scratch: Path) -> Counter[int]:
    """How often each step is in the Parquet parts."""
    folder = MlflowClient(uri).download_artifacts(run_id, Artifact.SCALARS, str(scratch))
    found: Counter[int] = Counter()
    for path in sorted(Path(folder).glob("*.parquet")):
        table = pq.read_table(path, page_checksum_verification=True).to_pydict()
        rows = zip(table["key"], table["step"], strict=True)
        found.update(step for name, step in rows if name == key)
    return found


def state(folder: Path) -> dict[str, object]:
    """What the shipper has published, {} before that."""
    try:
        return dict(json.loads((folder / "run.json").read_text()))
    except FileNotFoundError:
        return {}


def shipper_of(folder: Path) -> list[int]:
    """Pids of the shippers of one spool."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if str(folder).encode() in command:
                found.append(int(entry.name))
    return found
