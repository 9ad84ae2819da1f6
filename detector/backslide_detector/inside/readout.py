"""How much more can be read from the last hidden layer than the network says."""

from dataclasses import dataclass

from backslide_detector.inside.pair import label_rows
from backslide_detector.inside.readability import read_accuracy
from backslide_detector.probe import Probe, ProbedLayer


@dataclass(frozen=True, slots=True)
class Readout:
    """Two accuracies on the probe batch: of a linear reader, and of the network itself."""

    layer: str
    readable: float
    said: float
    examples: int

    @property
    def gap(self) -> float:
        """What the network knows and does not say."""
        return self.readable - self.said


def readout(probe: Probe) -> Readout | None:
    """The gap at the last hidden layer; None without classes or without a hidden layer."""
    labels = [concept for concept in probe.concepts if concept.kind == "label"]
    hidden = last_hidden(probe)
    if probe.accuracy is None or len(labels) < 2 or hidden is None:
        return None
    rows = label_rows(probe)
    return Readout(
        hidden.name, read_accuracy(hidden.code, rows), probe.accuracy, probe.examples
    )


def last_hidden(probe: Probe) -> ProbedLayer | None:
    """The last layer that is not the output: that has one channel a class, and follows all."""
    layers = probe.layers
    outputs = len(probe.classes)
    if layers and layers[-1].units == outputs and layers[-1].positions == 1:
        layers = layers[:-1]
    return layers[-1] if layers else None
