"""What a page is made of: sections of pictures with the tables behind them."""

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; `words` columns from the left are text, the others numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One picture; `kind` says what the titled thing is, `alert` which finding points at it."""

    picture: Markup
    title: str = ""
    kind: str = ""
    caption: str = ""
    alert: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Pictures shown together, with one legend of (CSS class of the swatch, meaning).

    A block with a `fold` opens on a click and is named by it.
    """

    layout: Literal["wide", "panels", "small", "tiles"]
    figures: tuple[Figure, ...]
    title: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    fold: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One heading of the page; `lead` says what it shows and what to look for.

    Tables are folded away behind the pictures; without pictures, only long ones are.
    """

    key: str
    title: str
    lead: str
    blocks: tuple[Block, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """A section that cannot be shown, and why."""

    title: str
    reason: str
