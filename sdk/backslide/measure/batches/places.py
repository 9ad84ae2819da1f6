"""Answers at many places of an example, tokens or pixels: a few places stand for all.

Which dimension counts the classes is the user's convention: the last one of (n, t, k), the
second one of (n, k, h, w), none of them for a mask, whose every number decides between two.
All are copied, and the gradient tells afterwards.
"""

from typing import Final

from torch import Tensor

from backslide.measure.batches.pieces import ELEMENTS, Piece, coprime

PLACES: Final = 256
"""Places of a batch that are looked at."""

NUMBERS: Final = 2**16
"""Numbers that are copied of them, unless four places have more."""

CLASSES: Final = 2**18
"""Answers of more classes than this are not read."""

_LEAST: Final = 4


class Places:
    """Copies of the same places of an output, or of the gradient by it.

    Attributes:
        pieces: shape (m, k) each, one a dimension that may count the classes, the last one
            with k = 1. The places of an example follow each other.
    """

    def __init__(self, tensor: Tensor, examples: int) -> None:
        """Starts the copies.

        Args:
            tensor: shape (n, ...), three dimensions or more.
            examples: of the batch, n or more: of some of them, the places are the same.
        """
        several = [(tensor, each) for each in (1, tensor.ndim - 1) if tensor.shape[each] > 1]
        ways = [*several, (tensor.unsqueeze(-1), tensor.ndim)]
        chosen = (_some(each, dimension, examples) for each, dimension in ways)
        self.pieces = [Piece(rows) for rows in chosen if rows is not None]

    def ready(self) -> bool:
        """Whether everything has arrived; never waits."""
        return all(piece.ready() for piece in self.pieces)


def _some(tensor: Tensor, dimension: int, examples: int) -> Tensor | None:
    """A few places, shape (m, k); None where the k cannot be classes."""
    classes = tensor.shape[dimension]
    places = tensor[0].numel() // max(classes, 1)
    if not 0 < classes <= CLASSES or not places:
        return None
    most = min(PLACES, max(_LEAST, NUMBERS // classes))
    # Where dimensions cannot be joined in place, all that is joined is copied.
    examples = max(1, min(examples, most, ELEMENTS // tensor[0].numel()))
    rows = tensor[:examples].movedim(dimension, -1).flatten(1, -2)
    each = min(places, max(1, most // examples))
    stride = coprime(places // each, places)
    # The first token of a text and the border of a picture are poor examples.
    return rows[:, stride // 2 :: stride][:, :each].flatten(0, 1)
