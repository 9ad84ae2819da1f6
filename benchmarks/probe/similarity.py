"""Similarity of layers from what a probe keeps, against that of all outputs."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from backslide.measure.probe.collect import heard, positioned
from backslide.measure.probe.layers import Layer
from backslide.measure.probe.probe import layers_of, probe


def outputs(model: nn.Module, inputs: Tensor, layer: Layer) -> np.ndarray:
    """A layer's outputs, shape (examples, positions, channels)."""
    kept = []

    def take(_name: str, number: int, output: Tensor) -> None:
        if number == layer.number:
            kept.append(positioned(output, layer)[0])

    with torch.no_grad(), heard(model, {layer.module}, take):
        model(inputs)
    return kept[0].numpy()


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear centred kernel alignment of full outputs (Kornblith et al. 2019, equation 4)."""
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (a, b))
    a, b = a - a.mean(0), b - b.mean(0)
    whole = [np.linalg.norm(each @ each.T) for each in (a, b)]
    return float(np.sum((a @ a.T) * (b @ b.T)) / np.prod(whole))


def similarity(models: list[nn.Module], inputs: Tensor, labels: Tensor) -> tuple[float, int]:
    """Largest difference between CKA from codes and CKA from outputs, and pairs compared."""
    found = [probe(model, inputs, labels) for model in models]
    shown = [each.tables["layers"].to_pandas().set_index("layer") for each in found]
    codes = [each.tables["codes"].to_pandas().groupby("layer").code for each in found]
    beyond = [each.tables["remainders"].to_pandas() for each in found]
    worst, pairs = 0.0, 0
    known = layers_of(models[0], inputs)
    for one in range(len(models)):
        for other in range(one):
            for layer in known:
                short = [
                    whole(
                        np.stack(codes[at].get_group(layer.name)).astype(np.float64)
                        * shown[at].code_scale[layer.name],
                        beyond[at][beyond[at].layer == layer.name],
                    )
                    for at in (one, other)
                ]
                norms = [shown[at].gram_norm[layer.name] for at in (one, other)]
                said = np.linalg.norm(short[0].T @ short[1]) ** 2 / np.prod(norms)
                full = cka(*(outputs(models[at], inputs, layer) for at in (one, other)))
                worst, pairs = max(worst, abs(said - full)), pairs + 1
    return worst, pairs


def whole(code: np.ndarray, sums: pd.DataFrame) -> np.ndarray:
    """A code and the random sums of what it leaves out."""
    if sums.empty:
        return code
    return np.hstack([code, np.stack(sums["values"]).T * sums.scale.to_numpy()])
