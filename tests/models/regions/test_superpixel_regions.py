import re
import sys

import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg.models.regions import SuperpixelRegions, region_map


def two_colours(height=31, width=47, edge=19):
    rgb = torch.zeros(3, height, width)
    rgb[0, :, :edge], rgb[2, :, edge:] = 1, 1
    return rgb


@pytest.mark.parametrize('segments', [2, 13])
def test_superpixels_do_not_cross_an_edge(segments):
    rgb = two_colours()
    found = region_map(SuperpixelRegions(segments, compactness=0.1), None, rgb, SegDataSample())
    assert found.shape == (31, 47) and found.min() == 1
    assert not set(found[:, :19].flatten().tolist()) & set(found[:, 19:].flatten().tolist())


def test_the_same_each_time_and_for_views():
    rgb = torch.rand(3, 23, 29)
    first, again = (region_map(SuperpixelRegions(7), None, image, SegDataSample())
                    for image in (rgb, rgb.permute(2, 1, 0).contiguous().permute(2, 1, 0)))
    assert torch.equal(first, again)


def test_values_that_are_no_colours_do_not_stop_it():
    rgb = two_colours()
    rgb[:, 3, 5], rgb[:, 7, 11], rgb[:, 2, 2] = torch.nan, torch.inf, -3
    assert region_map(SuperpixelRegions(7), None, rgb, SegDataSample()).shape == (31, 47)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(segments=0), 'SuperpixelRegions segments=0'), (dict(segments=65536), 'SuperpixelRegions segments=65536'),
    (dict(compactness=0), 'SuperpixelRegions compactness=0'), (dict(segments=2.5), 'SuperpixelRegions segments=2.5')])
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SuperpixelRegions(**settings)


def test_scikit_image_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'skimage.segmentation', None)
    with pytest.raises(ImportError, match=r'SuperpixelRegions needs scikit-image: .*pip install -e ".*\[regions\]"'):
        SuperpixelRegions().check()
