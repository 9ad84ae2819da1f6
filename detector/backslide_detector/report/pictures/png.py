"""Small pictures of numbers as PNG in a data address: one byte a cell, no dependency.

Source: W3C, Portable Network Graphics (Third Edition), sections 5, 9 and 11.
"""

import struct
import zlib
from base64 import b64encode

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int, int]
"""Red, green, blue, opacity, each 0 to 255."""

LEVELS = 24
"""Steps of a colour scale: finer ones cannot be told apart and cost bytes."""

NOTHING: Colour = (0, 0, 0, 0)
NOT_FINITE: Colour = (226, 30, 160, 255)
ALL_ZERO: Colour = (196, 80, 27, 255)

_VIRIDIS = np.array(
    [
        (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
        (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
    ]
)  # fmt: skip


def sequence() -> list[Colour]:
    """Viridis: even to the eye and the colour-blind; both ends stand out from any ground."""
    at = np.linspace(0, len(_VIRIDIS) - 1, LEVELS)
    channels = [np.interp(at, np.arange(len(_VIRIDIS)), _VIRIDIS[:, i]) for i in range(3)]
    return [(round(r), round(g), round(b), 255) for r, g, b in zip(*channels, strict=True)]


def fade(red: int, green: int, blue: int, least: float = 0.0) -> list[Colour]:
    """One colour from `least` opacity to full, so that the ground shows in light and dark."""
    opacity = np.linspace(255 * least, 255, LEVELS)
    return [(red, green, blue, round(a)) for a in opacity]


def levels(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Which step of a colour scale each value takes; values outside take the end steps.

    NaN takes step `LEVELS`, where the palette must hold `NOTHING`.
    """
    share = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    steps = np.where(np.isnan(share), LEVELS, np.rint(share * (LEVELS - 1)))
    return steps.astype(np.uint8)


def data_uri(cells: NDArray[np.uint8], palette: list[Colour]) -> str:
    """A picture of palette indices, shape (height, width), as `data:image/png;base64,...`."""
    height, width = cells.shape
    rows = np.zeros((height, width + 1), np.uint8)  # the first byte of a row: filter "none"
    rows[:, 1:] = cells
    image = b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", bytes(channel for colour in palette for channel in colour[:3])),
            _chunk(b"tRNS", bytes(colour[3] for colour in palette)),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )
    return "data:image/png;base64," + b64encode(image).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )
