import pytest

from ovseg.apis.tiles import spans, tiles


def owners(length, tile, overlap):
    """For each pixel of an axis the index of the tile whose centre is nearest, by comparison with every tile."""
    starts, start = [], 0
    while start + tile < length:
        starts.append(start)
        start += tile - overlap
    starts.append(max(length - tile, 0))
    found = []
    for pixel in range(length):
        distances = [abs(2 * pixel - (first + min(first + tile, length) - 1)) for first in starts]
        found.append(distances.index(min(distances)))
    return starts, found


@pytest.mark.parametrize('length, tile, overlap', [
    (101, 23, 5), (103, 23, 0), (107, 29, 28), (29, 29, 7), (13, 29, 7), (30, 29, 7), (1, 7, 3), (59, 13, 11), (97, 17, 8)])
def test_each_pixel_is_labelled_by_the_tile_with_the_nearest_centre(length, tile, overlap):
    starts, expected = owners(length, tile, overlap)
    found = spans(length, tile, overlap)
    assert [span.start for span in found] == starts
    assert all(span.stop - span.start == min(tile, length) for span in found)
    labelled = [index for index, span in enumerate(found) for _ in range(span.first, span.last)]
    assert labelled == expected
    assert all(span.start <= span.first < span.last <= span.stop for span in found)
    assert all(range(span.start, span.stop)[span.labelled] == range(span.first, span.last) for span in found)


def test_tiles_of_an_image_label_every_pixel_once():
    height, width, tile, overlap = 101, 59, 23, 7
    counts = [[0] * width for _ in range(height)]
    nearest = {}
    for index, (rows, columns) in enumerate(tiles(height, width, tile, overlap)):
        for row in range(rows.first, rows.last):
            for column in range(columns.first, columns.last):
                counts[row][column] += 1
                nearest[row, column] = index
    assert all(count == 1 for line in counts for count in line)
    centres = [((rows.start + rows.stop - 1) / 2, (columns.start + columns.stop - 1) / 2)
               for rows, columns in tiles(height, width, tile, overlap)]
    for (row, column), index in nearest.items():
        distances = [(row - y) ** 2 + (column - x) ** 2 for y, x in centres]
        assert distances[index] == min(distances)
