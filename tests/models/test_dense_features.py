from dataclasses import FrozenInstanceError

import pytest
import torch

from ovseg.models import DenseFeatures


@pytest.fixture
def features():
    return DenseFeatures(torch.randn(2, 15, 7), torch.randn(2, 7), None, (3, 5))


def test_replace_changes_a_copy_only(features):
    patches = features.patches
    changed = features.replace(patches=patches + 1)
    torch.testing.assert_close(changed.patches, patches + 1)
    assert features.patches is patches
    assert changed.cls_token is features.cls_token
    assert (changed.attn, changed.grid_size) == (None, (3, 5))


def test_several_fields_at_once(features):
    attn = torch.rand(2, 16, 16)
    changed = features.replace(attn=attn, grid_size=(5, 3))
    assert changed.attn is attn and changed.grid_size == (5, 3)
    assert features.attn is None


def test_fields_cannot_be_written(features):
    with pytest.raises(FrozenInstanceError):
        features.patches = torch.zeros(1)


def test_an_unknown_field_is_refused(features):
    with pytest.raises(TypeError, match='tokens'):
        features.replace(tokens=torch.zeros(1))
