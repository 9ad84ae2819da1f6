"""Small pictures of the examples: the user's own data, so made only when asked for."""

import struct
import zlib
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backslide.measure.batches.pieces import tensors
from backslide.measure.probe.examples import Examples

SIDES: Final = (32, 24, 16)
"""Largest side in pixels: the first at which all fit into the room."""

ROOM: Final = 450_000
"""Bytes of all of them together."""

CLIPPED: Final = (0.5, 99.5)
"""Percentiles that become black and white: inputs are mostly normalised somehow."""


def thumbnails(examples: Examples) -> list[bytes] | None:
    """A PNG an example; None where inputs are no images, shape (n, 1 or 3, height, width).

    The last dimension may hold the colours instead, and grey images may have none.
    """
    for tensor in tensors(examples.part(0, examples.rows)):
        if len(tensor) == examples.rows and (images := _images(tensor)) is not None:
            break
    else:
        return None
    low, high = np.percentile(images.flatten()[:: max(1, images.numel() // 2**20)], CLIPPED)
    pixels = ((images - low) / max(float(high - low), 1e-12)).clamp(0.0, 1.0) * 255
    for side in SIDES:
        pictures = [png(each) for each in _shrunk(pixels, side)]
        if sum(map(len, pictures)) <= ROOM:
            return pictures
    return None


def png(image: NDArray[np.uint8]) -> bytes:
    """An image, shape (height, width, 1 or 3), as PNG (ISO/IEC 15948)."""
    height, width, colours = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if colours == 1 else 2, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _images(tensor: Tensor) -> Tensor | None:
    """Shape (n, 1 or 3, height, width), or None; numbers that are not finite become zero."""
    if tensor.ndim == 3 and min(tensor.shape[1:]) >= 8 and tensor.dtype != torch.int64:
        tensor = tensor[:, None]
    if tensor.ndim == 4 and tensor.shape[1] not in (1, 3) and tensor.shape[3] in (1, 3):
        tensor = tensor.movedim(-1, 1)
    if tensor.ndim != 4 or tensor.shape[1] not in (1, 3) or min(tensor.shape[2:]) < 2:
        return None
    return torch.nan_to_num(tensor.detach().cpu().float(), 0.0, 0.0, 0.0)


def _shrunk(pixels: Tensor, side: int) -> NDArray[np.uint8]:
    """Shape (n, height, width, colours), no side longer than `side`."""
    height, width = pixels.shape[2:]
    share = min(1.0, side / max(height, width))
    size = (max(1, round(height * share)), max(1, round(width * share)))
    small = nn.functional.adaptive_avg_pool2d(pixels, size)
    return np.ascontiguousarray(small.movedim(1, -1).round().to(torch.uint8).numpy())
