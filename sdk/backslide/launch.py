"""`start()`: finds out which run this is, where it is kept until shipped, and what to watch."""

import json
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from backslide import ending
from backslide.active import Active
from backslide.contract import SCHEMA, TEXT_LIMIT, Tag
from backslide.given import as_model, as_optimizers
from backslide.guard import Faults
from backslide.record import provenance
from backslide.record.scalars import clean
from backslide.record.text import storable
from backslide.run import Run
from backslide.spool.frames import Kind
from backslide.spool.job import WRITER_LOCK, Job, Lock
from backslide.spool.segments import Spool

if TYPE_CHECKING:
    import torch

    from backslide.measure.watch import Watch

EXPERIMENT_LIMIT: Final = 256
RUN_NAME_LIMIT: Final = 250
"""Width of MLflow's columns: a longer name is an error of the server on PostgreSQL."""


def start(
    lineage: str,
    *,
    model: "torch.nn.Module | None" = None,
    optimizer: "torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | None" = None,
    params: Mapping[str, Any] | None = None,
    seed: int | None = None,
    baseline: str | None = None,
    experiment: str | None = None,
    run_name: str | None = None,
    tracking_uri: str | None = None,
    tags: Mapping[str, str] | None = None,
    overhead: float | None = 0.01,
    spool_dir: str | os.PathLike[str] | None = None,
    parent: str | None = None,
    on_fault: Literal["ignore", "stop"] | None = None,
) -> Run:
    """Starts an MLflow run, or joins the active one.

    Returns at once: the run is created in the background, when the server answers. A run that
    is joined (the active one of `mlflow.start_run`, or the one that MLFLOW_RUN_ID names) goes
    on where an earlier job on it stopped: steps count on from its last one.

    Args:
        lineage: names the chain of retrains that this run belongs to.
        model: is watched from inside, and is what `evaluate` runs.
        optimizer: one or several; their steps tell when gradients are complete.
        params: the recipe, shown as MLflow parameters; nested mappings are flattened.
        seed: of this run's randomness; default: BACKSLIDE_SEED, then torch's, if it was seeded.
        baseline: id of a run to compare with instead of the predecessor.
        experiment: MLflow experiment by name; default: MLflow's own.
        run_name: default: MLflow's choice.
        tracking_uri: default: MLFLOW_TRACKING_URI, then http://127.0.0.1:5000.
        tags: further tags of the run.
        overhead: share of step time that watching may cost; None: the network is watched at
            every step, its batches as often as otherwise.
        spool_dir: where records wait on disk; default: BACKSLIDE_SPOOL_DIR, then
            $XDG_STATE_HOME/backslide/spool.
        parent: id of the run whose weights this one starts from.
        on_fault: "stop" lets the detector end this training where going on is a waste:
            `run.should_stop` follows its tag `backslide.stop`. Default: BACKSLIDE_ON_FAULT,
            then "ignore".

    Raises:
        ValueError: the lineage is empty, `overhead` is not a fraction, or `on_fault` is neither
            "ignore" nor "stop".
    """
    if not str(lineage or "").strip():
        raise ValueError(
            "backslide.start() needs the lineage: a name for the chain of retrains"
        )
    if overhead is not None and not 0.0 < overhead < 1.0:
        raise ValueError(f"overhead is a share of step time between 0 and 1, not {overhead}")
    choice = _on_fault(on_fault)
    faults = Faults()
    active = Active.find(tracking_uri)
    seed = provenance.seed_stated() if seed is None else seed
    client = uuid.uuid4().hex
    known = {
        Tag.LINEAGE: lineage,
        Tag.SCHEMA: SCHEMA,
        Tag.CLIENT: client,
        Tag.SEED: seed,
        Tag.BASELINE: baseline,
        Tag.PARENT: parent,
        Tag.ATTRIBUTION: os.environ.get("BACKSLIDE_ATTRIBUTION"),
        Tag.REPEAT: os.environ.get("BACKSLIDE_REPEAT"),
        "mlflow.user": provenance.user(),
        "mlflow.source.name": provenance.source(),
        "mlflow.source.type": "LOCAL",
    }
    own = {key: storable(value) for key, value in known.items() if value is not None}
    extra = {clean(str(key)): storable(value) for key, value in (tags or {}).items()}
    job = Job(
        client=client,
        lineage=own[Tag.LINEAGE],
        started=time.time_ns() // 1_000_000,
        tracking_uri=tracking_uri or active.tracking_uri,
        run_id=active.run_id,
        ours=active.ours,
        experiment=_named(experiment or active.experiment, EXPERIMENT_LIMIT),
        experiment_id=None if experiment else active.experiment_id,
        run_name=_named(run_name, RUN_NAME_LIMIT),
        tags={key: value[:TEXT_LIMIT] for key, value in (extra | own).items()},
    )
    if not _first_rank():
        return Run(job, None, None, faults, on_fault=choice)
    model, optimizers = as_model(model, faults), as_optimizers(optimizer, faults)
    for earlier in ending.others(model) if model is not None else ():
        threading.Thread(target=earlier.finish, args=("KILLED",), daemon=True).start()
    spool, lock = _spool(job, spool_dir, faults)
    flat = provenance.params_text(params or {})
    text = {clean(key): storable(value) for key, value in flat.items()}
    if spool is not None and text:
        spool.append(Kind.PARAMS, json.dumps(text).encode())
    origin = {
        "seed": seed,
        "params": text,
        "initial_weights": None if model is None else _weights(model, faults),
    }
    return Run(
        job,
        spool,
        lock,
        faults,
        model=model,
        watch=_watch(model, optimizers, overhead, faults) if spool is not None else None,
        origin=origin,
        on_fault=choice,
        offline=os.environ.get("BACKSLIDE_OFFLINE", "") not in ("", "0", "false"),
    )


def _on_fault(said: str | None) -> str:
    chosen = said or os.environ.get("BACKSLIDE_ON_FAULT") or "ignore"
    if chosen not in ("ignore", "stop"):
        raise ValueError(f'on_fault is "ignore" or "stop", not {chosen!r}')
    return chosen


def _named(name: str | None, limit: int) -> str | None:
    return None if name is None else storable(name)[:limit]


def _first_rank() -> bool:
    """False on every rank of a distributed job but the first: one job, one run."""
    if int(os.environ.get("WORLD_SIZE") or 1) < 2:
        return True
    return int(os.environ.get("RANK") or 0) == 0


def _spool(
    job: Job, chosen: str | os.PathLike[str] | None, faults: Faults
) -> tuple[Spool | None, Lock | None]:
    """The spool and this process's hold on it; (None, None) when no disk takes it."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    default = os.environ.get("BACKSLIDE_SPOOL_DIR") or Path(state, "backslide", "spool")
    root = Path(chosen or default).absolute()
    fallback = Path(tempfile.gettempdir(), "backslide-spool")
    try:
        return _open_spool(job, root)
    except OSError as error:
        refused = f"{root} cannot be written ({error.strerror})"
    try:
        opened = _open_spool(job, fallback)
    except OSError as error:
        refused += f", nor {fallback} ({error.strerror})"
        faults.note("no spool", "backslide: nothing of this run is recorded: %s", refused)
        return None, None
    faults.note(
        "spool folder", "backslide: %s; records are kept in %s instead", refused, fallback
    )
    return opened


def _open_spool(job: Job, root: Path) -> tuple[Spool, Lock]:
    folder = root / job.client
    folder.mkdir(parents=True, mode=0o700)
    try:
        lock = Lock(folder / WRITER_LOCK)
        lock.acquire("trainer")
        spool = Spool(folder)
        job.write(folder)  # last: from now on a shipper may take the folder for a spool
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return spool, lock


def _watch(
    model: "torch.nn.Module | None",
    optimizers: "tuple[torch.optim.Optimizer, ...]",
    overhead: float | None,
    faults: Faults,
) -> "Watch | None":
    if model is None and not optimizers:
        return None
    try:
        # Imported here: it needs torch, which a run without a model may not have.
        from backslide.measure.watch import Watch  # noqa: PLC0415

        return Watch(model, optimizers, overhead=overhead)
    except Exception as error:  # noqa: BLE001  # the loop runs unwatched
        faults.note("watch", "backslide: this model is not watched: %s", error)
        return None


def _weights(model: "torch.nn.Module", faults: Faults) -> str | None:
    try:
        return provenance.weights_digest(model)
    except Exception as error:  # noqa: BLE001  # an unusual tensor type
        faults.note("weights", "backslide: the initial weights were not digested: %s", error)
        return None
