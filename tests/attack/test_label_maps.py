import random

import numpy as np

from ovseg.evaluation.label_maps import is_whole, read_label_map, write_label_map
from tests.attack.mutations import damaged


def test_damaged_label_maps_are_refused_or_unchanged(attack, tmp_path):
    path = tmp_path / 'a.png'
    refused = 0
    for seed in attack.seeds(part=300, full=6000):
        rng = random.Random(seed)
        classes, shape = rng.choice([2, 3, 150, 255, 300, 847]), (rng.randrange(1, 60), rng.randrange(1, 60))
        labels = np.random.default_rng(seed).integers(0, classes, shape)
        ids = np.arange(classes).astype(np.min_scalar_type(classes - 1))
        write_label_map(path, ids[labels])
        content = damaged(path.read_bytes(), rng)
        path.write_bytes(content)
        with attack.one_case(seed):
            try:
                found = read_label_map(path, ids, shape)
            except ValueError as error:
                assert str(path) in str(error) and '\n' not in str(error)
                refused += 1
            else:
                assert is_whole(path) and np.array_equal(found, labels)
    assert refused > attack.cases / 2
