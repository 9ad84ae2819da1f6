"""Numbers and names as people say them."""

from typing import Final

_BEYOND: Final = 1e9


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 example`, `10,000 examples`, `2 classes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def module_title(name: str, kind: str) -> str:
    """`layer 5 (ReLU)` for a module that has nothing but its place as a name.

    Args:
        name: qualified, as in PyTorch.
        kind: the module's class name, "" when not known.
    """
    if not name.replace(".", "").isdigit():
        return name
    return f"layer {name} ({kind})" if kind else f"layer {name}"


def figure(value: float) -> str:
    """`0.255`, `2,180`: three digits that count, in full up to a million."""
    if 1e3 <= abs(value) < 1e6:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def magnitude(times: float) -> str:
    """`30,000`: how many times, in one digit that counts."""
    if not times < _BEYOND:
        return "more than a billion"
    return f"{float(f'{times:.1g}'):,.0f}" if times >= 1.0 else f"{times:.1g}"
