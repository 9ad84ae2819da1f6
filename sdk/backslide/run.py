"""`Run`: what a training loop holds.

The loop's thread only writes to the spool; everything slow happens on the keeper's thread or in
the shipper's process. After the start nothing here raises.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from backslide import ending
from backslide.contract import Artifact, Tag
from backslide.given import named, tell_unreadable
from backslide.guard import Faults, guarded, left_out
from backslide.judged import JudgedRun, wait_for_verdict
from backslide.outlet import FINISH_SECONDS, Outlet
from backslide.record import data
from backslide.record.predictions import evaluate, outcomes
from backslide.record.recorder import Recorder
from backslide.spool.frames import Kind
from backslide.spool.job import Job, Lock, RunState
from backslide.spool.segments import Spool

if TYPE_CHECKING:
    import torch

    from backslide.measure.watch import Watch

DESCRIBED_AFTER: Final = 10
"""Snapshots after which the network is described, for whoever judges the running job; it is
described once more at the end."""


class Run:
    """One training job on its way into MLflow; made by `backslide.start`.

    A `Run` without a spool (no disk to write to, a rank other than 0, a forked child) takes
    every call and keeps nothing.

    Attributes:
        faults: what went wrong in here, by kind.
        on_fault: as given to `start`.
    """

    def __init__(
        self,
        job: Job,
        spool: Spool | None,
        lock: Lock | None,
        faults: Faults,
        *,
        model: "torch.nn.Module | None" = None,
        watch: "Watch | None" = None,
        origin: Mapping[str, Any] | None = None,
        on_fault: str = "ignore",
        offline: bool = False,
    ) -> None:
        """Starts what ships the records; `origin` as for the outlet."""
        self.faults = faults
        self.on_fault = on_fault
        self._job = job
        self._outlet: Outlet | None = None
        self._recorder: Recorder | None = None
        if spool is not None:
            self._outlet = Outlet(
                *(job, spool, lock, faults), origin=origin or {}, offline=offline
            )
            self._recorder = self._outlet.recorder
        self._model = model
        self._watch = watch
        self._step = 0
        self._next_look: float = 1 if watch is not None else math.inf
        self._snapshots = 0
        ending.opened(self)

    # --- recording

    def step(self, /, *loss: object, **scalars: object) -> None:
        """Ends a training step, the first one being step 1, and records its scalars.

        Args:
            loss: the loss alone may come without its name: `step(loss)`.
            scalars: numbers, or tensors of one element, which are read without a sync.
        """
        recorder = self._recorder
        if recorder is None:
            return
        # Between the kernels of a network nothing of Python is in the caches, and each function
        # called costs microseconds: most steps are over after three.
        try:
            self._step = step = self._step + 1
            looks = step >= self._next_look
            if looks:
                self._look(recorder)
            if loss:
                scalars = named(loss, scalars, self.faults)
            start = time.perf_counter() if looks else 0.0
            if scalars and not recorder.quick.write(step, scalars):
                self._scalars(recorder, scalars)
            if looks and self._watch is not None:
                self._watch.charge_scalars(time.perf_counter() - start)
        except Exception as error:  # noqa: BLE001  # whatever it is, training goes on
            left_out("step", error, self.faults)

    @guarded(None)
    def log(self, values: Mapping[str, object] | None = None, /, **scalars: object) -> None:
        """Records scalars at the current step: `log(val_loss=x)` or `log({"val/loss": x})`."""
        if self._recorder is not None:
            self._scalars(self._recorder, {**(values or {}), **scalars})

    @guarded(None)
    def log_data(
        self, name: str, data_set: object, targets: object = None, *, version: str | None = None
    ) -> None:
        """Records the identity and a summary of a data set.

        See `backslide.record.data` for the cost.

        Args:
            name: its part in this run ("train", "test").
            data_set: arrays, tensors, a data frame, a torch data set or loader.
            targets: labels or values, one an example.
            version: the user's own name for this state of the data.
        """
        summary = data.summarise(name, data_set, targets, version=version)
        if self._recorder is not None:
            self._recorder.data(name, summary)

    @guarded(None)
    def log_predictions(
        self,
        split: str,
        ids: Iterable[object],
        targets: object,
        predictions: object,
        *,
        scores: object = None,
        losses: object = None,
        slices: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Records what became of each example; `<split>/error` follows from it.

        Args:
            split: "test", "val", ...; a later call for the same split replaces the earlier.
            ids: what identifies an example across retrains; repeated ids get "#1", "#2", ...
            targets: the truth, one an example: labels (integers or text) or float values. For
                floats `<split>/mse` is recorded and no error: equality means nothing there.
            predictions: of the same type.
            scores: confidence in the prediction, in [0, 1].
            losses: loss of each example.
            slices: group names for each example, by slice: `{"site": ["a", "b", ...]}`.
        """
        found = outcomes(ids, targets, predictions, scores=scores, losses=losses, slices=slices)
        if found.doubt:
            self.faults.note(
                f"doubt: {split}", "backslide: predictions of %r: %s", split, found.doubt
            )
        if self._recorder is not None:
            self._recorder.outcomes(split, found, self._step)

    @guarded(None)
    def evaluate(
        self,
        split: str,
        loader: Iterable[Any],
        *,
        slices: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Runs the model over `(inputs, targets)` batches and records each example's outcome.

        Ids are digests of the inputs, so retrains pair whatever the order; a loader that
        augments at random makes ids that never pair. See `backslide.record.predictions` for the
        outputs and batches that are understood.

        Args:
            split: "test", "val", ...; a later call for the same split replaces the earlier.
            loader: of batches, read once.
            slices: group names for each example in the loader's order, by slice.
        """
        if self._recorder is None:
            return
        if self._model is None:
            raise ValueError("give the model to backslide.start(..., model=model)")
        with nullcontext() if self._watch is None else self._watch.away():
            found = evaluate(self._model, loader, slices)
        self._recorder.outcomes(split, found, self._step)

    @guarded(None)
    def probe(
        self,
        inputs: object,
        targets: object = None,
        concepts: Mapping[str, object] | None = None,
        *,
        thumbnails: bool = False,
    ) -> None:
        """Records what each layer does on a fixed batch, to be compared between retrains.

        The model runs in evaluation mode and is left as it was. A later probe replaces the
        earlier, but for what could be read from the layers: that is kept over training. Give
        the same examples in each retrain: probes of others do not compare.

        Args:
            inputs: what the model is called with: a tensor, or a tuple or mapping of tensors
                with one row an example. The first 512 examples count.
            targets: whole numbers or text for classes, floats for values, one an example.
            concepts: what else to look for in the layers: by name, a number or boolean for
                each example.
            thumbnails: whether small pictures of the examples may go to the server, for the
                report: they are your data.
        """
        if self._recorder is None:
            return
        if self._model is None:
            raise ValueError("give the model to backslide.start(..., model=model)")
        # Imported here: it needs torch, which a run without a model may not have.
        from backslide.measure.probe.probe import probe  # noqa: PLC0415

        with nullcontext() if self._watch is None else self._watch.away():
            found = probe(
                *(self._model, inputs, targets, concepts),
                with_thumbnails=thumbnails,
                step=self._step,
            )
            if self._watch is not None:
                self._watch.trace(inputs)
        self._recorder.probe(found)

    @guarded(None)
    def small_data(self, document: Mapping[str, object]) -> None:
        """Records what a small-data test in this process has found, as JSON values."""
        if self._recorder is not None:
            self._recorder.attach(Artifact.SMALL_DATA, json.dumps(document).encode())
            self._recorder.append(Kind.TAGS, {Tag.SMALL_DATA: document["title"]})

    # --- what MLflow and the detector say

    @property
    @guarded(None)
    def id(self) -> str | None:
        """The MLflow run id; None while the server has been away since the start.

        Waits for the first contact, 10 s at most: not for the hot path.
        """
        return self._state().run_id or self._job.run_id

    @property
    @guarded(None)
    def url(self) -> str | None:
        """The run's page; None as for `id`."""
        return self._state().url

    @property
    @guarded(default=False)
    def should_stop(self) -> bool:
        """True while the detector asks for a stop and `on_fault="stop"` lets it; costs nothing.

        In distributed training only the first rank knows: share it before acting on it.
        """
        outlet = self._outlet
        return self.on_fault == "stop" and outlet is not None and outlet.stop is not None

    @guarded(None)
    def verdict(self, timeout: float | None = None) -> JudgedRun | None:
        """Waits until the detector has judged this run; None after `timeout` seconds.

        The detector judges a run once it has finished; call this after `finish`.
        """
        run_id = self.id
        return None if run_id is None else wait_for_verdict(self._job.uri, run_id, timeout)

    # --- the end

    @guarded(None)
    def finish(self, status: str = "FINISHED") -> None:
        """Ends the run and waits, 10 s at most, until everything is in MLflow.

        What is left then stays on disk and is shipped later. A run that was joined is left
        open: whoever started it ends it.

        Args:
            status: FINISHED, FAILED or KILLED.
        """
        deadline = time.monotonic() + FINISH_SECONDS
        recorder, self._recorder = self._recorder, None
        if recorder is None or self._outlet is None:
            return
        ending.closed(self)
        self._finish_recording(recorder)
        self._outlet.close(status, self._model, deadline)

    def __enter__(self) -> Self:
        """The run itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finishes the run as FINISHED, FAILED, or KILLED after Ctrl-C."""
        self.finish(ending.status(error))

    # --- inside

    def _scalars(self, recorder: Recorder, values: Mapping[str, object]) -> None:
        tell_unreadable(recorder.scalars(self._step, values), values, self.faults)

    @guarded(None)
    def _look(self, recorder: Recorder) -> None:
        watch = self._watch
        if watch is None:  # it was taken away
            return
        self._next_look = self._step + 1  # whatever goes wrong here
        for snapshot in watch.step(self._step):
            start = time.perf_counter()
            recorder.snapshot(snapshot)
            self._snapshots += 1
            if self._snapshots == DESCRIBED_AFTER:
                recorder.network(watch.graph())
            watch.charge(time.perf_counter() - start)
        self._next_look += watch.rest

    @guarded(None)
    def _finish_recording(self, recorder: Recorder) -> None:
        recorder.drain()
        if self._watch is None:
            return
        for snapshot in self._watch.close():
            recorder.snapshot(snapshot)
        recorder.network(self._watch.graph())
        for problem in self._watch.problems:
            self.faults.note(f"watch: {problem}", "backslide: %s", problem)

    def _state(self) -> RunState:
        return RunState() if self._outlet is None else self._outlet.state()

    def watches(self, model: object) -> bool:
        """Whether this open run looks into the model."""
        return self._model is model

    def abandon(self) -> None:
        """In a forked child: this run is the parent's."""
        if self._outlet is not None:
            self._outlet.abandon()
        if self._watch is not None:
            self._watch.detach()
        self._recorder = self._outlet = self._watch = None
