"""Overlapping tiles that cover a large image, each pixel labelled by one of them."""
from typing import Iterator, List, NamedTuple


class Span(NamedTuple):
    """The part of an axis that a tile reads, ``start`` to ``stop``, and the part that it labels, ``first`` to ``last``.

    Ends are exclusive.
    """
    start: int
    stop: int
    first: int
    last: int

    @property
    def labelled(self) -> slice:
        """The part that the tile labels, counted from its start."""
        return slice(self.first - self.start, self.last - self.start)


class Tile(NamedTuple):
    """A rectangle of rows and columns."""
    rows: Span
    columns: Span


def spans(length: int, tile: int, overlap: int) -> List[Span]:
    """The tiles along an axis: every ``tile - overlap`` pixels one of ``tile`` pixels, the last one at the end of the axis.

    A pixel is labelled by the tile whose centre is nearest, and by the first of two that are equally near. An axis shorter than
    a tile is one span.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a tile.
        overlap: Pixels that neighbours share at least; less than ``tile``.
    """
    last_start = max(length - tile, 0)
    starts = [*range(0, last_start, tile - overlap), last_start]
    ends = [(start, min(start + tile, length)) for start in starts]
    # The centre of pixels start to stop - 1 is (start + stop - 1) / 2; the border is the mean of two centres.
    borders = [(sum(ends[index]) + sum(ends[index + 1]) - 2) // 4 + 1 for index in range(len(ends) - 1)]
    return [Span(*end, first, last) for end, first, last in zip(ends, [0, *borders], [*borders, length])]


def tiles(height: int, width: int, tile: int, overlap: int) -> Iterator[Tile]:
    """The tiles of an image, row by row; see ``spans``. Tiles have one size, so the nearest centre is nearest on both axes."""
    columns = spans(width, tile, overlap)
    return (Tile(rows, column) for rows in spans(height, tile, overlap) for column in columns)
