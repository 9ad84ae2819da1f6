"""The evidence a check may ask for, by argument name."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

from backslide_detector import names
from backslide_detector.checks.assess import assess
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import (
    Batches,
    DataSummary,
    LayerHistory,
    Predictions,
    RunEvidence,
    Series,
)
from backslide_detector.inside.pair import Pair
from backslide_detector.probe import Probe

ARGUMENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run": "the run could not be read",
        "learning": "the run could not be read",
        "loss": "no training loss was logged (loss, train/loss, ...)",
        "validation_loss": "no validation loss was logged (val_loss, eval/loss, ...)",
        "training_error": "no training error or accuracy was logged (train/error, ...)",
        "validation_error": "no validation error or accuracy was logged (val/error, ...)",
        "learning_rate": "no learning rate was logged (lr, learning_rate, ...)",
        "activations": "no activations were recorded (backslide.start(model=...))",
        "gradients": "no gradients were recorded (backslide.start(model=..., optimizer=...))",
        "weights": "no weights were recorded (backslide.start(model=..., optimizer=...))",
        "updates": "no updates were recorded (backslide.start(model=..., optimizer=...))",
        "batches": "no batches were recorded (backslide.start(model=..., optimizer=...))",
        "predictions": "no predictions were logged (run.evaluate, run.log_predictions)",
        "data": "no data set was described (run.log_data)",
        "probe": "the layers were not probed (run.probe)",
        "pair": "there is no predecessor to compare the inside with",
    }
)
"""Argument name -> why it may be missing, and what would bring it."""


@dataclass(frozen=True)
class Subject:
    """One run under examination. Each name in `ARGUMENTS` is an attribute; None is missing."""

    run: RunEvidence
    mapping: Mapping[str, str]
    pair: Pair | None = None

    @cached_property
    def loss(self) -> Series | None:
        """Training loss."""
        return names.training_loss(self.run.series, self.mapping)

    @cached_property
    def validation_loss(self) -> Series | None:
        """Validation loss."""
        return names.validation_loss(self.run.series, self.mapping)

    @cached_property
    def training_error(self) -> Series | None:
        """Share of wrong predictions in training."""
        return names.training_error(self.run.series, self.mapping)

    @cached_property
    def validation_error(self) -> Series | None:
        """Share of wrong predictions on validation data."""
        return names.validation_error(self.run.series, self.mapping)

    @cached_property
    def learning_rate(self) -> Series | None:
        """Learning rate of the first parameter group."""
        return names.learning_rate(self.run.series, self.mapping)

    @property
    def activations(self) -> LayerHistory | None:
        """Outputs of the layers."""
        return _history(self.run.activations)

    @property
    def gradients(self) -> LayerHistory | None:
        """Gradients of the parameters, as the optimiser saw them."""
        return _history(self.run.gradients)

    @property
    def weights(self) -> LayerHistory | None:
        """The parameters."""
        return _history(self.run.weights)

    @property
    def updates(self) -> LayerHistory | None:
        """What the optimiser added to the parameters."""
        return _history(self.run.updates)

    @property
    def batches(self) -> Batches | None:
        """What the network was fed and answered."""
        return self.run.batches

    @property
    def predictions(self) -> Mapping[str, Predictions] | None:
        """Per-example outcomes by split; tables without rows are left out."""
        return {
            name: table for name, table in self.run.predictions.items() if len(table)
        } or None

    @property
    def data(self) -> Mapping[str, DataSummary] | None:
        """Data sets by name."""
        return self.run.data or None

    @property
    def probe(self) -> Probe | None:
        """What the layers do on a fixed batch."""
        return self.run.probe

    @cached_property
    def learning(self) -> Learning:
        """Is the run failing to learn?"""
        return assess(
            self.run,
            loss=self.loss,
            training_error=self.training_error,
            validation_error=self.validation_error,
            validation_loss=self.validation_loss,
            learning_rate=self.learning_rate,
        )


def _history(history: LayerHistory | None) -> LayerHistory | None:
    """None in place of a history without snapshots or layers."""
    return history if history is not None and history.rms.size else None
