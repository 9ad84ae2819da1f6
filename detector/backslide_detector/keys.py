"""What a metric key says: usual names are understood without settings.

A key is cut into words, and every word must be known: `val/acc`, `eval_accuracy` and
`validation_top1_accuracy` are one thing, while `kl_loss` or `test_mean_squared_error` are none
of those looked for here and stay unread. A mapping from a usual name to the run's own key
(`{"test_error": "metrics/miss"}`) makes that key read as if it bore the usual name, and puts
all other keys of the same meaning aside.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

Split = Literal["train", "val", "test"]
Quantity = Literal["loss", "error", "accuracy", "examples", "rate"]

_SPLITS: Final[Mapping[str, Split]] = {
    "train": "train", "training": "train", "tr": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "eval": "val", "evaluation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_QUANTITIES: Final[Mapping[str, Quantity]] = {
    "loss": "loss", "objective": "loss", "nll": "loss", "logloss": "loss", "xent": "loss",
    "crossentropy": "loss",
    "error": "error", "err": "error",
    "accuracy": "accuracy", "acc": "accuracy",
    "examples": "examples", "samples": "examples",
    "lr": "rate",
}  # fmt: skip
# Words that leave the meaning as it is. "Balanced" accuracy, "squared" or "absolute" errors and
# the parts of a sum ("kl", "aux", "reg") are not among them, on purpose.
_AVERAGE: Final = frozenset({"avg", "average", "mean", "final", "epoch", "step", "batch"})
_KIND: Final = frozenset({"categorical", "sparse", "binary", "multiclass", "classification"})
_QUALIFIERS: Final[Mapping[Quantity, frozenset[str]]] = {
    "loss": _AVERAGE
    | _KIND
    | {"total", "running", "smoothed", "log", "cross", "entropy", "ce", "bce"},
    "error": _AVERAGE | _KIND | {"rate", "top1"},
    "accuracy": _AVERAGE | _KIND | {"rate", "score", "top1"},
    "examples": frozenset({"n", "num", "number", "of", "total"}),
    "rate": frozenset(),
}
_PERCENT: Final = frozenset({"percent", "percentage", "pct", "%"})
_WORD: Final = re.compile(r"top[-_@ ]?1(?!\d)|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|%")
_VARIABLE: Final = re.compile(r"(?<![A-Za-z0-9])[Xx]_(?=train|test|val)|(?<=[a-z])-\d+(?=_)")
"""scikit-learn's autologging names the variable: `accuracy_score_X_test`."""
_LONGEST_KEY: Final = 250  # MLflow's own limit for a metric key

NO_MAPPING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a key says: of which split (None: it names none), which quantity, how plainly."""

    split: Split | None
    quantity: Quantity
    percent: bool
    detours: int
    """Words beyond the split and the quantity; the plainest key wins."""


@lru_cache(maxsize=4096)
def meaning_of(key: str) -> Meaning | None:
    """Reads one key; None when any of its words is unknown or two contradict each other."""
    if len(key) > _LONGEST_KEY:
        return None
    words = words_of(key)
    if words[:1] == ["lr"] or "learning rate" in " ".join(words):
        # Loggers append the optimiser or the parameter group: `lr-Adam/pg1`.
        split = next((_SPLITS[word] for word in words if word in _SPLITS), None)
        return Meaning(split, "rate", percent=False, detours=len(words))
    splits = {_SPLITS[word] for word in words if word in _SPLITS}
    splits -= {"train"} if splits == {"train", "val"} else set()  # `train/val_loss`
    quantities = {_QUANTITIES[word] for word in words if word in _QUANTITIES}
    if not quantities and "top1" in words:
        quantities = {"accuracy"}
    if len(splits) > 1 or len(quantities) != 1:
        return None
    (quantity,) = quantities
    percent = any(word in _PERCENT for word in words)
    known = {*_SPLITS, *_QUANTITIES, *_PERCENT}
    rest = [word for word in words if word not in known]
    if not _QUALIFIERS[quantity].issuperset(rest):
        return None
    return Meaning(next(iter(splits), None), quantity, percent, len(rest) + rest.count("epoch"))


def words_of(key: str) -> list[str]:
    """The words of a metric key in small letters, without numbers but `top1`'s."""
    found = _WORD.findall(_VARIABLE.sub("", key))
    return [re.sub(r"[^a-z0-9%]", "", word.lower()) for word in found]


def readings(
    keys: Mapping[str, object],
    wanted: tuple[Split | None, ...],
    quantity: Quantity,
    mapping: Mapping[str, str],
) -> Iterator[tuple[str, Meaning]]:
    """Keys that mean the quantity on a wanted split, with the mapping taken into account."""
    mapped = [
        (own, meaning)
        for usual, own in mapping.items()
        if (meaning := meaning_of(usual)) and meaning.quantity == quantity
        if meaning.split in wanted
    ]
    if mapped:
        yield from ((own, meaning) for own, meaning in mapped if own in keys)
        return
    taken = set(mapping.values())
    for key in keys:
        meaning = meaning_of(key)
        if (
            meaning is not None
            and key not in taken
            and meaning.quantity == quantity
            and meaning.split in wanted
        ):
            yield key, meaning


def split_of(name: str) -> Split | None:
    """Which split a name of a table or a data set stands for."""
    splits = {_SPLITS[word.lower()] for word in _WORD.findall(name) if word.lower() in _SPLITS}
    return next(iter(splits)) if len(splits) == 1 else None
