import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg.inference.decode import label_map, merge_windows
from ovseg.inference.nonfinite import ImagePatches, ignore_label, partial_label_map
from ovseg.inference.windows import WindowLayout


@pytest.mark.parametrize(('classes', 'label'), [(1, 255), (254, 255), (255, 255), (256, 65535), (847, 65535), (65535, 65535),
                                                (65536, 2 ** 32 - 1)])
def test_the_ignore_label_is_no_class(classes, label):
    assert ignore_label(classes) == label


@st.composite
def geometries(draw):
    patch = draw(st.sampled_from([(2, 2), (5, 5), (3, 7)]))
    pad_mode = draw(st.sampled_from(['center', 'none']))
    least = max(patch) if pad_mode == 'none' else 1
    size = draw(st.integers(least, 43)), draw(st.integers(least, 43))
    crop = draw(st.one_of(st.just(0), st.integers(max(least, 3), 37)))
    stride = draw(st.integers(-(-crop // 3), crop)) if crop else 0
    return size, crop, stride, patch, pad_mode, (draw(st.integers(1, 53)), draw(st.integers(1, 53)))


@settings(max_examples=60, deadline=None)
@given(geometries(), st.integers(0, 2 ** 32 - 1))
def test_undefined_pixels_are_those_with_a_weight_from_a_bad_patch(undefined_by_loop, geometry, seed):
    layout = WindowLayout.plan(*geometry[:5])
    nonfinite = np.random.default_rng(seed).random((len(layout), layout.rows.cells * layout.cols.cells)) < 0.1
    windows = ImagePatches(layout, torch.zeros(0), torch.from_numpy(nonfinite))
    found, expected = windows.undefined_pixels(geometry[5]).numpy(), undefined_by_loop(nonfinite, *geometry)
    assert found[expected].all()
    weights = merge_windows(windows.nonfinite[..., None].float(), layout, geometry[5])[0].numpy()
    assert (weights[found & ~expected] < 1e-5).all()  # 0, but for the rounding of float32, in which scores are merged


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
def test_patches_that_are_not_finite_become_zero(value):
    layouts = [WindowLayout.plan(size, 11, 7, (5, 5)) for size in ((23, 13), (11, 17))]
    patches = [torch.randn(len(layout), 9, 3) for layout in layouts]
    given_ = [each.clone() for each in patches]
    given_[1][1, 7, 2] = value
    first, second = ImagePatches.checked(layouts, given_)
    assert first.nonfinite is None and first.patches is given_[0] and (first.layout, second.layout) == tuple(layouts)
    expected = torch.zeros(len(layouts[1]), 9, dtype=torch.bool)
    expected[1, 7] = True
    assert torch.equal(second.nonfinite, expected)
    patches[1][1, 7] = 0
    assert torch.equal(second.patches, patches[1])
    assert given_[1][1, 7, 2].isnan() or given_[1][1, 7, 2] == value  # what was given is not written to


def test_finite_patches_are_passed_on_as_they_are():
    layouts = [WindowLayout.plan((23, 13), 11, 7, (5, 5))]
    patches = [torch.randn(len(layouts[0]), 9, 3)]
    windows, = ImagePatches.checked(layouts, patches)
    assert windows.patches is patches[0] and windows.nonfinite is None


@pytest.mark.parametrize('area_thd', [None, 0.0, 0.3])
@pytest.mark.parametrize('prob_thd', [0.0, 0.35])
@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_a_partial_label_map_is_that_of_the_defined_pixels(area_thd, prob_thd, share):
    probabilities = torch.rand(5, 13, 17).softmax(0)
    probabilities[:, :6] = (3 * torch.rand(5, 6, 17)).softmax(0)
    missing = torch.rand(13, 17) < share
    probabilities[:, missing] = torch.nan
    labels = partial_label_map(probabilities, prob_thd, 2, area_thd)
    assert (labels[missing] == 255).all() and labels.dtype == torch.int64
    defined = (~missing).nonzero()
    if len(defined):
        column = torch.stack([probabilities[:, y, x] for y, x in defined], dim=1)
        expected = label_map(column.unsqueeze(1), prob_thd, 2, area_thd)[0]
        assert torch.equal(torch.stack([labels[y, x] for y, x in defined]), expected)
