import pytest
import torch

from ovseg.inference.region_vote import vote


def voted_by_loop(labels, regions, ignore):
    """The mode of each region, one region at a time; ``torch.mode`` gives the smallest of several."""
    result = labels.clone()
    for number in regions.unique().tolist():
        inside = (regions == number) & (labels != ignore)
        if number and inside.any():
            result[inside] = labels[inside].mode().values
    return result


def test_equals_the_mode_of_each_region():
    generator = torch.Generator().manual_seed(0)
    for _ in range(500):
        height, width, classes, most = torch.randint(1, 14, (4,), generator=generator).tolist()
        labels = torch.randint(classes, (height, width), generator=generator)
        labels[torch.rand(height, width, generator=generator) < 0.1] = 255
        regions = torch.randint(most, (height, width), generator=generator) * 4681  # up to 60853
        assert torch.equal(vote(labels, regions, 255), voted_by_loop(labels, regions, 255))


def test_ends_of_the_range():
    labels = torch.tensor([[65534, 65534, 0], [65535, 3, 3]])
    regions = torch.tensor([[65535, 65535, 65535], [65535, 65535, 0]])
    assert vote(labels, regions, 65535).tolist() == [[65534, 65534, 65534], [65535, 65534, 3]]


@pytest.mark.parametrize('number', [0, 7])
def test_pixels_without_region_or_class_alone(number):
    labels = torch.full((3, 5), 255) if number else torch.arange(15).view(3, 5)
    assert torch.equal(vote(labels, torch.full((3, 5), number), 255), labels)


def test_views_are_not_written_to():
    labels, regions = torch.randint(4, (7, 5)).t(), torch.randint(3, (7, 5)).t()
    before = labels.clone()
    assert torch.equal(vote(labels, regions, 9), voted_by_loop(before, regions, 9)) and torch.equal(labels, before)
