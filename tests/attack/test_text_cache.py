import random

import pytest
import torch

from ovseg.models.text import text_cache
from ovseg.models.text.text_cache import load_rows, store_rows
from tests.attack.mutations import damaged


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """A warning for each of thousands of files would be kept for the report of a failure."""
    monkeypatch.setattr(text_cache, '_warn_once', lambda message: None)


def test_damaged_cache_files_are_computed_again(attack, tmp_path):
    path = tmp_path / 'key.safetensors'
    refused = 0
    for seed in attack.seeds(part=300, full=6000):
        rng = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        rows = {f'{index} 木': torch.randn(rng.choice([1, 7, 13]), generator=generator) for index in range(1)}
        rows.update({f'name {index}': torch.randn(len(rows['0 木']), generator=generator) for index in range(rng.randrange(7))})
        path.unlink(missing_ok=True)
        store_rows(path, rows, 100)
        path.write_bytes(damaged(path.read_bytes(), rng))
        with attack.one_case(seed):
            found = load_rows(path)
            refused += not found
            assert not found or (list(found) == list(rows) and all(torch.equal(found[name], rows[name]) for name in rows))
    assert refused > attack.cases / 2
