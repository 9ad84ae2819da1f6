"""Watches one training run and builds the evidence that the detector would read of it."""

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from backslide.contract import HISTOGRAM_BINS
from backslide_detector.evidence import (
    DataSummary,
    LayerHistory,
    Predictions,
    RunEvidence,
    Series,
)

WINDOW = 8  # sampled batches over which a unit must stay silent to count as dead
RECTIFIERS = (nn.ReLU, nn.ReLU6)
BOUNDS = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0), nn.Hardtanh: (-1.0, 1.0)}
STATISTICS = (
    "mean", "std", "rms", "abs_max", "zero_fraction", "nonfinite_fraction",
    "saturated_fraction", "dead_fraction",
)  # fmt: skip


class Recorder:
    """Call `step` after each training step and `evidence` at the end."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, every: int = 10):
        self.model, self.optimizer, self.every = model, optimizer, every
        self.now = 0
        self.scalars: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.rows: dict[str, dict[int, dict[str, dict]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self.depth: dict[str, int] = {}
        self.kinds = {
            name: type(module).__name__ for name, module in model.named_modules() if name
        }
        self.silent: dict[str, deque] = defaultdict(lambda: deque(maxlen=WINDOW))
        self.still: dict[str, deque] = defaultdict(lambda: deque(maxlen=WINDOW))
        self.data: dict[str, DataSummary] = {}
        self.predictions: dict[str, Predictions] = {}
        self.before: dict[str, torch.Tensor] = {}
        optimizer.register_step_pre_hook(lambda *_: self._before_step())
        for name, module in model.named_modules():
            if name and not list(module.children()):
                module.register_forward_hook(self._hook(name))

    @property
    def sampled(self) -> bool:
        return self.now % self.every == 0

    def _hook(self, name):
        def hook(module, _, out):
            if isinstance(out, tuple):
                out = out[0]
            self.depth.setdefault(name, len(self.depth))
            if not (self.sampled and module.training and torch.is_tensor(out)):
                return
            out = out.detach()
            row = _summary(out)
            axis = 1 if out.dim() == 4 else out.dim() - 1
            units = out.transpose(axis, -1).reshape(-1, out.shape[axis])
            if isinstance(module, RECTIFIERS):
                self.silent[name].append((units == 0).all(0))
                row["dead_fraction"] = _always(self.silent[name])
            if type(module) in BOUNDS:
                low, high = BOUNDS[type(module)]
                edge = 0.01 * (high - low)
                at = ((units < low + edge) | (units > high - edge)).float().mean(0) > 0.95
                self.silent[name].append(at)
                row["saturated_fraction"] = _always(self.silent[name])
            self.rows["activation"][self.now][name] = row

        return hook

    def _before_step(self):
        if not self.sampled:
            return
        for name, parameter in self.model.named_parameters():
            self.before[name] = parameter.detach().clone()
            if parameter.grad is not None:
                row = _summary(parameter.grad)
                if parameter.dim() > 1:
                    silent = (parameter.grad.flatten(1) == 0).all(1)
                    self.still[name].append(silent)
                    row["dead_fraction"] = _always(self.still[name])
                self.rows["gradient"][self.now][name] = row

    def step(self, **scalars: float):
        for key, value in scalars.items():
            self.scalars[key].append((self.now, float(value)))
        if self.sampled:
            for name, parameter in self.model.named_parameters():
                if not parameter.requires_grad:
                    continue
                self.rows["weight"][self.now][name] = _summary(parameter.detach())
                if name in self.before:
                    moved = _summary(parameter.detach() - self.before[name])
                    self.rows["update"][self.now][name] = moved
            self.before = {}
        self.now += 1

    def log(self, **scalars: float):
        for key, value in scalars.items():
            self.scalars[key].append((self.now, float(value)))

    def log_data(self, name: str, targets: np.ndarray):
        labels, counts = np.unique(targets, return_counts=True)
        found = {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
        self.data[name] = DataSummary(name, "digest", rows=len(targets), class_counts=found)

    def log_predictions(self, split: str, targets: np.ndarray, predictions: np.ndarray):
        ids = np.array([str(i) for i in range(len(targets))], dtype=object)
        right = targets == predictions
        if np.issubdtype(targets.dtype, np.integer):
            targets, predictions = targets.astype(str), predictions.astype(str)
        self.predictions[split] = Predictions(
            ids, targets.astype(object), predictions.astype(object), right
        )

    def evidence(self, name: str) -> RunEvidence:
        histories = {role: self._history(role) for role in self.rows if self.rows[role]}
        return RunEvidence(
            run_id=name, name=name, experiment_id="0", status="FINISHED", started=0.0,
            ended=float(self.now), lineage="zoo",
            series={key: _series(points) for key, points in self.scalars.items()},
            activations=histories.get("activation"), gradients=histories.get("gradient"),
            weights=histories.get("weight"), updates=histories.get("update"),
            predictions=self.predictions, data=self.data,
        )  # fmt: skip

    def _history(self, role: str) -> LayerHistory:
        steps = sorted(self.rows[role])
        names = list({name: None for step in steps for name in self.rows[role][step]})

        def module(layer):
            return layer if role == "activation" else layer.rpartition(".")[0]

        names.sort(key=lambda layer: self.depth.get(module(layer), 0))
        columns = {
            statistic: np.array(
                [
                    [
                        self.rows[role][s].get(layer, {}).get(statistic, np.nan)
                        for layer in names
                    ]
                    for s in steps
                ]
            )
            for statistic in STATISTICS
        }
        count = [
            next(self.rows[role][s][n]["count"] for s in steps if n in self.rows[role][s])
            for n in names
        ]
        return LayerHistory(
            layers=tuple(names), kinds=tuple(self.kinds.get(module(n), "") for n in names),
            depth=np.array([self.depth.get(module(n), 0) for n in names]),
            count=np.array(count), steps=np.array(steps),
            histogram=np.zeros((len(steps), len(names), HISTOGRAM_BINS), np.int32), **columns,
        )  # fmt: skip


def _always(window: deque) -> float:
    sizes = {len(units) for units in window}
    return float(torch.stack(list(window)).all(0).float().mean()) if len(sizes) == 1 else np.nan


def _summary(tensor: torch.Tensor) -> dict:
    flat = tensor.reshape(-1).double()
    finite = flat[torch.isfinite(flat)]
    row = dict.fromkeys(STATISTICS, np.nan) | {"count": flat.numel()}
    row["nonfinite_fraction"] = 1.0 - finite.numel() / max(1, flat.numel())
    row["zero_fraction"] = float((flat == 0).double().mean())
    if finite.numel():
        row["mean"] = float(finite.mean())
        row["std"] = float(finite.std(correction=0))
        row["rms"] = float(finite.square().mean().sqrt())
        row["abs_max"] = float(finite.abs().max())
    return row


def _series(points: list[tuple[int, float]]) -> Series:
    steps, values = zip(*points, strict=True)
    return Series(np.array(steps, np.int64), np.array(values), np.array(steps, float) * 0.01)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    mode = model.training
    model.eval()
    with torch.no_grad():
        yield
    model.train(mode)
