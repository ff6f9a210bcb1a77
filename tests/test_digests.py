import os

import pytest
import torch

from ovseg.digests import code_digest, file_digest, tensor_digest, tensors_digest

ROWS = torch.arange(15, dtype=torch.float32).reshape(3, 5)


@pytest.mark.parametrize('other', [ROWS.reshape(5, 3), ROWS.double(), ROWS.int(), ROWS + 1e-3, ROWS[:2]])
def test_type_shape_and_values_count(other):
    assert tensor_digest(other) != tensor_digest(ROWS)


def test_the_layout_in_memory_does_not_count():
    assert tensor_digest(ROWS.t().contiguous().t()) == tensor_digest(ROWS)
    assert tensor_digest(torch.nn.Parameter(ROWS)) == tensor_digest(ROWS)


def test_names_count_and_their_order_does_not():
    one, two = torch.zeros(2), torch.ones(2)
    assert tensors_digest(dict(a=one, b=two)) == tensors_digest(dict(b=two, a=one)) != tensors_digest(dict(a=two, b=one))


def test_a_file_is_read_again_when_it_has_changed(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'abc')
    first = file_digest(path)
    path.write_bytes(b'abd')
    os.utime(path, ns=(1, 1))
    assert file_digest(path) != first


def test_the_source_has_one_digest():
    assert code_digest() == code_digest() and len(code_digest()) == 64
