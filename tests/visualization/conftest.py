from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg


@pytest.fixture
def random_image():
    """Factory of random images."""
    return lambda height, width, seed=0: np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def check_layout():
    """Draws a figure and checks that no text is cut off or runs into another one."""
    def check(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        texts = [axis.title for axis in figure.axes] + [axis.yaxis.label for axis in figure.axes] + [figure._suptitle]
        texts += [text for legend in figure.legends for text in legend.get_texts()]
        for axis in figure.axes:
            low, high = sorted(axis.get_ylim())
            texts += [text for place, text in zip(axis.get_yticks(), axis.get_yticklabels()) if low <= place <= high]
        boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts if text.get_text()]
        assert boxes
        for text, box in boxes:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, f'{text!r} is cut off'
        for (text, box), (other, other_box) in combinations(boxes, 2):
            assert not box.overlaps(other_box), f'{text!r} runs into {other!r}'
        for legend in figure.legends:
            legend_box = legend.get_window_extent(canvas.get_renderer())
            assert not any(legend_box.overlaps(axis.get_window_extent()) for axis in figure.axes if axis.axison)
    return check
