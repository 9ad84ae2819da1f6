"""A probe: what each layer of a network does on a few fixed examples."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from backslide.contract import PROBE_EXAMPLES, PROBE_LAYERS, PROBE_SCHEMAS, Probe
from backslide.measure.batches.undisturbed import evaluation
from backslide.measure.instruments.activations import compiled
from backslide.measure.instruments.names import sharded, unwrapped
from backslide.measure.probe import tables
from backslide.measure.probe.answers import Said, said
from backslide.measure.probe.calls import Call, listening
from backslide.measure.probe.code import code
from backslide.measure.probe.collect import Collected, Outputs, collect
from backslide.measure.probe.concepts import Concepts, ask
from backslide.measure.probe.examples import Examples
from backslide.measure.probe.layers import Layer, choose, thinned
from backslide.measure.probe.readability import readability
from backslide.measure.probe.signatures import signatures
from backslide.measure.probe.tables import Seen
from backslide.record.calls import called, moved
from backslide.record.probed import Probed

FEWEST: Final = 8
"""Examples below which nothing can be told."""

TRACED: Final = (2, 3)
"""Examples of two forward passes that tell which dimension counts examples."""


def probe(
    model: nn.Module,
    inputs: object,
    targets: object = None,
    concepts: Mapping[str, object] | None = None,
    *,
    step: int = 0,
) -> Probed:
    """Runs the model on a few examples and summarises what its layers put out.

    Leaves no trace: modes, buffers, gradients and random states are as before.

    Args:
        model: on its device.
        inputs: a tensor, or a tuple or mapping of tensors, with one row an example.
        targets: whole numbers or text for classes, floats for values.
        concepts: by name, a number or boolean for each example.
        step: of the training.

    Raises:
        ValueError: the model cannot be run by itself, or the examples do not fit together.
    """
    start = perf_counter()
    if sharded(model):
        raise ValueError("the model is sharded over processes, and cannot be probed by one")
    model = unwrapped(model)
    if any(nn.parameter.is_lazy(each) for each in model.parameters()):
        raise ValueError("the model has not run yet; probe it after the first step")
    examples = Examples.of(inputs, PROBE_EXAMPLES)
    if examples.rows < FEWEST:
        raise ValueError(
            f"{examples.rows} examples are too few to probe: give {FEWEST} or more"
        )
    asked = ask(examples, targets, concepts)
    problems = list(asked.problems)
    if examples.given > examples.rows:
        problems.append(f"of {examples.given} examples the first {examples.rows} are looked at")
    device = _device(model, examples)
    seen: list[Seen] = []
    found = Collected()
    with _guest(model, device):
        layers = _layers(model, examples, device)
        if len(layers) > PROBE_LAYERS:
            problems.append(
                f"of {len(layers)} layers {PROBE_LAYERS} are looked at, evenly spread"
            )
        layers = thinned(layers, PROBE_LAYERS)
        if not layers:
            problems.append("no layer's output has a row an example: none is looked at")
        for outputs in collect(model, examples, layers, device, found):
            broken = ~np.isfinite(outputs.values).all((1, 2))
            if broken.any():
                problems.append(
                    f"{outputs.layer.name} is left out: not finite on {broken.sum()} of "
                    f"{examples.rows} examples"
                )
                continue
            if outputs.values.shape[1] < outputs.places:
                problems.append(
                    f"{outputs.layer.name}: its {outputs.places:,} positions were averaged to "
                    f"{outputs.values.shape[1]:,}"
                )
            seen.append(_summary(outputs, asked))
    answers = said(found.answers, asked)
    units, left_out = tables.units_table(seen)
    problems += found.problems + left_out
    return Probed(
        {
            "layers": tables.layers_table(seen),
            "codes": tables.codes_table(seen),
            "units": units,
            "groups": PROBE_SCHEMAS["groups"].empty_table(),
            "concepts": _concepts_table(asked),
            "readability": tables.readability_table(seen, asked.names, step),
            "examples": _examples_table(examples, asked, answers),
        },
        {
            Probe.DIGEST: examples.digest(targets),
            Probe.EXAMPLES: examples.rows,
            Probe.STEP: step,
            Probe.CLASSES: list(asked.classes),
            Probe.ACCURACY: answers.accuracy,
            Probe.SECONDS: round(perf_counter() - start, 3),
            Probe.PROBLEMS: problems,
        },
    )


def _summary(outputs: Outputs, asked: Concepts) -> Seen:
    found = code(outputs.values.reshape(len(outputs.values), -1))
    return Seen(
        outputs.layer,
        outputs.values.shape[1],
        found,
        signatures(outputs.values),
        readability(found.coordinates / found.scale, asked.values, asked.labels),
    )


def _layers(model: nn.Module, examples: Examples, device: torch.device) -> list[Layer]:
    heard: list[list[Call]] = []
    for rows in TRACED:
        with listening(model) as listener, torch.no_grad():
            called(model, moved(examples.part(0, rows), device))
        heard.append(listener.calls)
    return choose(heard[0], heard[1], TRACED)


def _device(model: nn.Module, examples: Examples) -> torch.device:
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else examples.device()


@contextmanager
def _guest(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Runs what is written, in the precision of the weights, and leaves no trace."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(evaluation(model, devices))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        if compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        # The fast path of torch's transformers passes by the modules inside.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _concepts_table(asked: Concepts) -> pa.Table:
    columns = asked.values.T.astype(np.float32)
    return pa.table(
        [list(asked.names), list(asked.kinds), [each.tolist() for each in columns]],
        schema=PROBE_SCHEMAS["concepts"],
    )


def _examples_table(examples: Examples, asked: Concepts, answers: Said) -> pa.Table:
    rows = examples.rows
    nothing = [None] * rows
    truth = asked.targets
    told = truth is not None and truth.ndim == 1
    return pa.table(
        [
            list(range(rows)),
            examples.ids(),
            [str(value) for value in truth.tolist()] if truth is not None and told else nothing,
            answers.predictions or nothing,
            _numbers(answers.scores, rows),
            _numbers(answers.losses, rows),
            nothing,
        ],
        schema=PROBE_SCHEMAS["examples"],
    )


def _numbers(values: Any, rows: int) -> list[float | None]:  # noqa: ANN401  # an array or None
    if values is None:
        return [None] * rows
    return [float(value) if math.isfinite(value) else None for value in values]
