"""What `start` and `step` were given, and what was likely meant."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backslide.guard import Faults
from backslide.record.recorder import NO_NUMBER

if TYPE_CHECKING:
    import torch


def as_model(given: Any, faults: Faults) -> "torch.nn.Module | None":  # noqa: ANN401  # anything
    """The model; None, with a word about it, where this is none."""
    loaded = sys.modules.get("torch")
    if given is None or (loaded is not None and isinstance(given, loaded.nn.Module)):
        found: torch.nn.Module | None = given
        return found
    mend = "give the torch.nn.Module that is trained"
    if isinstance(given, type):
        mend = f"make one first, model = {given.__name__}(...), and give that"
    faults.note(
        "model", "backslide: model= was given %s, which is no model: %s", described(given), mend
    )
    return None


def as_optimizers(given: Any, faults: Faults) -> "tuple[torch.optim.Optimizer, ...]":  # noqa: ANN401  # anything
    """The optimizers, also those that came in a mapping or inside their schedulers."""
    if given is None:
        return ()
    loaded = sys.modules.get("torch")
    several = given.values() if isinstance(given, Mapping) else given
    alone = not isinstance(several, Iterable) or isinstance(given, type)
    if alone or (loaded is not None and isinstance(given, loaded.nn.Module | loaded.Tensor)):
        several = (given,)
    found = (_optimizer(each, faults) for each in several)
    return tuple(each for each in found if each is not None)


def _optimizer(given: Any, faults: Faults) -> "torch.optim.Optimizer | None":  # noqa: ANN401  # anything
    found: torch.optim.Optimizer = given
    loaded = sys.modules.get("torch")
    if loaded is not None and isinstance(given, loaded.optim.lr_scheduler.LRScheduler):
        found = given.optimizer
        faults.note(
            "scheduler",
            "backslide: optimizer= was given a scheduler (%s); its optimizer (%s) is watched",
            *(type(given).__name__, type(found).__name__),
        )
        return found
    if hasattr(given, "step") and not isinstance(given, type):
        return found  # or a wrapper: the watch says what it cannot see
    faults.note(
        "optimizer",
        "backslide: optimizer= was given %s, which is no optimizer: give the optimizer itself, "
        "optimizer=torch.optim.SGD(model.parameters(), lr=0.1)",
        described(given),
    )
    return None


def named(
    given: tuple[object, ...], scalars: dict[str, object], faults: Faults
) -> dict[str, object]:
    """What `step` was given, with a name for what came without."""
    match given:
        case (Mapping() as values,):
            return {**values, **scalars}
        case (loss,) if "loss" not in scalars:
            return {"loss": loss, **scalars}
    faults.note(
        "unnamed",
        "backslide: step() was given values without names, which are not recorded: write "
        "run.step(loss=loss, accuracy=accuracy)",
    )
    return scalars


def tell_unreadable(keys: Sequence[str], values: Mapping[str, object], faults: Faults) -> None:
    """Says of scalars that could not be read what they were."""
    for key in keys:
        faults.mistake(
            f"dropped: {NO_NUMBER}",
            "backslide: %r is not recorded: it takes a number below 1.8e308 or a tensor of one "
            "element, not %s",
            *(key, described(values[key])),
        )


def described(value: object) -> str:
    """A value that was not expected, in a few words."""
    match value:
        case None:
            return "None"
        case type():
            return f"the class {value.__name__}"
        case str():
            return f"the text {value[:40]!r}"
        case _:
            shape = getattr(value, "shape", None)
            of_shape = "" if shape is None else f" of shape {tuple(shape)}"
            name = type(value).__name__
            return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}{of_shape}"
