"""A probe: what each layer of a network does on a few fixed examples."""

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter
from typing import Final

import torch
from torch import nn

from backslide.contract import PROBE_EXAMPLES, PROBE_LAYERS, Probe
from backslide.measure.batches.guest import guest
from backslide.measure.instruments.names import sharded, unwrapped
from backslide.measure.probe import tables
from backslide.measure.probe.answers import said
from backslide.measure.probe.attribution import attributions
from backslide.measure.probe.bounds import bounded, size
from backslide.measure.probe.branches import Branches
from backslide.measure.probe.calls import Call, listening
from backslide.measure.probe.collect import Collected, collect
from backslide.measure.probe.concepts import Concepts, ask
from backslide.measure.probe.examples import Examples
from backslide.measure.probe.layers import Chosen, Layer, choose, thinned
from backslide.measure.probe.signatures import Signatures
from backslide.measure.probe.summary import problem, summary
from backslide.measure.probe.tables import Seen
from backslide.measure.probe.thumbnails import thumbnails
from backslide.measure.probe.work import work
from backslide.record.calls import called, moved
from backslide.record.probed import Probed

FEWEST: Final = 8
"""Examples below which nothing can be told."""

TRACED: Final = (2, 3)
"""Examples of two forward passes that tell which dimension counts examples."""

BRANCHES: Final = 3 * PROBE_LAYERS
"""Modules inside of blocks whose channels are looked at."""

NAMED: Final = 4
"""Layers that are named in one sentence."""


def probe(
    model: nn.Module,
    inputs: object,
    targets: object = None,
    concepts: Mapping[str, object] | None = None,
    *,
    with_thumbnails: bool = False,
    step: int = 0,
) -> Probed:
    """Runs the model on a few examples and summarises what its layers put out.

    Leaves no trace: modes, buffers, gradients and random states are as before.

    Args:
        model: on its device.
        inputs: a tensor, or a tuple or mapping of tensors, with one row an example.
        targets: whole numbers or text for classes, floats for values.
        concepts: by name, a number or boolean for each example.
        with_thumbnails: whether small pictures of the examples may be kept.
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
    found = Collected()
    with guest(model, device):
        seen, inside = _seen(model, examples, asked, device, found)
    answers = said(found.answers, asked)
    pictures = thumbnails(examples) if with_thumbnails else None
    if with_thumbnails and pictures is None:
        problems.append(
            "there are no thumbnails: the inputs are no images of one or three colours"
        )
    known = [*inside, *((each.layer, each.signatures) for each in seen)]
    units, left_out = tables.units_table(sorted(known, key=lambda one: one[0].depth))
    others = {
        "layers": tables.layers_table(seen),
        "codes": tables.codes_table(seen),
        "remainders": tables.remainders_table(seen),
        "units": units,
        "concepts": tables.concepts_table(asked),
        "readability": tables.readability_table(seen, asked.names, step),
        "examples": tables.examples_table(examples.ids(), asked, answers, pictures),
    }
    groups, more_left_out = bounded(seen, sum(map(size, others.values())))
    problems += [*found.problems, *left_out, *more_left_out]
    return Probed(
        {**others, "groups": groups},
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


def _seen(
    model: nn.Module,
    examples: Examples,
    asked: Concepts,
    device: torch.device,
    found: Collected,
) -> tuple[list[Seen], list[tuple[Layer, Signatures]]]:
    """Each layer in turn, and at last what its groups add to the answers; and the branches."""
    problems = found.problems
    chosen, effort = _chosen(model, examples, device)
    layers, left_out = chosen.layers, chosen.left_out
    branches = Branches(thinned(chosen.branches, BRANCHES), examples.rows)
    if not layers:
        problems.append("no layer's output has a row an example: none is looked at")
    if left_out:
        names = ", ".join(left_out[:NAMED]) + (", ..." if len(left_out) > NAMED else "")
        problems.append(f"{len(left_out)} layers do not answer for each example: {names}")
    if len(layers) > PROBE_LAYERS:
        problems.append(f"of {len(layers)} layers {PROBE_LAYERS} are looked at, evenly spread")
    seen = []
    some = thinned(layers, PROBE_LAYERS)
    for outputs in collect(model, examples, some, device, found, besides=branches):
        if (broken := problem(outputs)) is not None:
            problems.append(broken)
        else:
            seen.append(summary(outputs, asked))
    inside = list(branches.signatures())
    if not asked.classes:
        return seen, inside
    groups = {each.layer: (each.groups, each.signatures.signed) for each in seen}
    try:
        shares = attributions(model, examples, asked, groups, work=effort, device=device)
    except Exception as error:  # noqa: BLE001  # whatever a backward pass through a model brings
        problems.append(f"what groups add to the answers is left out: {error}")
        return seen, inside
    return [replace(each, attribution=shares[each.layer]) for each in seen], inside


def layers_of(model: nn.Module, inputs: object) -> list[Layer]:
    """The layers that a probe with these inputs would look at, had it room for all."""
    examples = Examples.of(inputs, PROBE_EXAMPLES)
    device = _device(model, examples)
    with guest(model, device):
        return _chosen(model, examples, device)[0].layers


def _chosen(model: nn.Module, examples: Examples, device: torch.device) -> tuple[Chosen, int]:
    """What is looked at, and the work of a forward pass on one example."""
    heard: list[list[Call]] = []
    for rows in TRACED:
        with listening(model) as listener, torch.no_grad():
            called(model, moved(examples.part(0, rows), device))
        heard.append(listener.calls)
    return choose(heard[0], heard[1], TRACED), work(heard[0], TRACED[0])


def _device(model: nn.Module, examples: Examples) -> torch.device:
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else examples.device()
