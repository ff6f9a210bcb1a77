import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg.models.regions import Regions, SuperpixelRegions, build_regions, region_map
from ovseg.models.regions.regions import resize_regions


@dataclass(frozen=True)
class Returns(Regions):
    result: Any

    def __call__(self, network, rgb, sample):
        return self.result


def test_built_of_a_dict_a_type_or_itself():
    source = SuperpixelRegions(segments=7)
    assert build_regions('regions', dict(type='SuperpixelRegions', segments=7)) == source
    assert build_regions('regions', 'SuperpixelRegions') == SuperpixelRegions()
    assert build_regions('regions', source) is source


@pytest.mark.parametrize(('cfg', 'message'), [
    (7, 'regions=7 must be a dict with a type, or a type alone; known: NpzRegions'), ('Sam', "regions.*'Sam'"),
    (dict(type='SuperpixelRegions', count=3), 'regions.*count')])
def test_other_configs_are_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        build_regions('regions', cfg)


@pytest.mark.parametrize('result', [
    [[1, 2]], torch.zeros(3, 5), torch.zeros(1, 3, 5, dtype=torch.int64), torch.full((3, 5), -1), torch.full((3, 5), 65536)])
def test_results_that_are_no_region_maps_are_refused(result):
    with pytest.raises(ValueError, match=r'^regions Returns must return '):
        region_map(Returns(result), None, torch.zeros(3, 3, 5), SegDataSample())


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32, torch.int64])
def test_maps_are_int64(dtype):
    regions = torch.randint(0, 2, (3, 5)).to(dtype)
    found = region_map(Returns(regions), None, torch.zeros(3, 3, 5), SegDataSample())
    assert found.dtype == torch.int64 and torch.equal(found, regions.long())


@pytest.mark.parametrize('size', [(7, 11), (14, 33), (3, 5), (13, 4), (1, 1)])
def test_resized_by_the_nearest_neighbour(size):
    regions = torch.randint(65536, (7, 11))
    found = resize_regions(regions, size)
    expected = [[regions[y * 7 // size[0], x * 11 // size[1]].item() for x in range(size[1])] for y in range(size[0])]
    assert found.tolist() == expected and found.dtype == torch.int64


def test_maps_of_several_windows_are_resized_alike():
    regions = torch.randint(65536, (3, 2, 7, 11))
    found = resize_regions(regions, (4, 5))
    assert torch.equal(found.flatten(0, 1), torch.stack([resize_regions(each, (4, 5)) for each in regions.flatten(0, 1)]))
    assert found.shape == (3, 2, 4, 5) and resize_regions(regions, (7, 11)) is regions


def test_the_message_names_the_numbers():
    with pytest.raises(ValueError, match=re.escape('numbers from 0 to 65535, not from -3 to 2')):
        region_map(Returns(torch.tensor([[-3, 2]])), None, torch.zeros(3, 1, 2), SegDataSample())
