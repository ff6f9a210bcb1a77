import numpy as np
import pytest
from PIL import Image

import ovseg  # noqa: F401  registers everything


@pytest.fixture
def labelled(tmp_path):
    """The config of a data set: images of several sizes, two of one name, labels of all ``classes`` and pixels to ignore."""
    sizes = {'a': (5, 7), 'b': (11, 3), 'near/c': (7, 13), 'far/c': (3, 5), 'far/d': (13, 11)}

    def build(classes, reduce_zero_label):
        rng = np.random.default_rng(0)
        for name, size in sizes.items():
            labels = rng.integers(0, classes + reduce_zero_label, size).astype(np.uint8)
            labels[1, 1] = 255
            for path, picture in ((f'images/{name}.jpg', np.zeros((*size, 3), np.uint8)), (f'annotations/{name}.png', labels)):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(tmp_path / path)
        return dict(type='BaseSegDataset', data_root=str(tmp_path), reduce_zero_label=bool(reduce_zero_label),
                    metainfo=dict(classes=[f'class {index}' for index in range(classes)]),
                    data_prefix=dict(img_path='images', seg_map_path='annotations'),
                    pipeline=[dict(type='LoadImage'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
    return build
