"""Region maps on their way through a segmentor, and the vote at its end."""
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg.ablation.sharing import SharedEncoder
from ovseg.models import CLIPSegmentor
from ovseg.models.classifiers import TokenClassifier
from ovseg.models.dense import LastBlockEncoder
from ovseg.models.regions import NpzRegions, Regions, build_regions
from ovseg.models.segmentors.clip_seg_tta_model import CLIPSegTTAModel
from ovseg.models.segmentors.diagnosis import explain_nonfinite
from ovseg.models.towers import loading
from tests.inference.test_region_vote import voted_by_loop

CLIP = dict(name='ovseg-tiny-clip', pretrained='embedded')
WORDS = dict(names=['red panda', 'grass, lawn', 'sea', 'sky'], templates=['a {}.'])
SIZES = ((61, 97), (97, 131))


@dataclass(frozen=True)
class Stripes(Regions):
    """Vertical stripes of 11 pixels in a map of twice the image's size, numbered from 0."""

    def __call__(self, network, rgb, sample):
        height, width = rgb.shape[1:]
        return (torch.arange(2 * width) // 11).expand(2 * height, -1)


class Recording(LastBlockEncoder):
    """``LastBlockEncoder`` that keeps the batches that it was given."""

    def __init__(self, regions=Stripes(), region_vote=True):
        super().__init__()
        self.regions, self.region_vote, self.batches = regions, region_vote, []

    def tokens(self, tower, batch, with_attention=False):
        self.batches.append(batch)
        return super().tokens(tower, batch, with_attention)


def build(encoder, **components):
    return CLIPSegmentor(**{**dict(clip=CLIP, vocabulary=WORDS, image_encoder=encoder,
                                   windows=dict(crop=61, stride=43, batch_size=64)), **components})


@pytest.fixture
def images():
    return [torch.randn(3, *size) for size in SIZES]


def test_windows_of_maps_lie_under_those_of_images(images):
    encoder = Recording()
    segmentor = build(encoder)
    segmentor.predict(images)
    batch, = encoder.batches  # all windows of both images
    expected = []
    for image in images:
        layout = segmentor.plan(image.shape[1:])
        padded = layout.cut(torch.ones_like(image[:1]))[:, 0]
        window = 0
        for _top in layout.rows.starts:
            for left in layout.cols.starts:
                numbers = torch.zeros_like(padded[window], dtype=torch.int64)
                inside = [(y, x) for y in range(layout.rows.length) for x in range(layout.cols.length)]
                for y, x in inside:
                    numbers[y + layout.rows.pad[0], x + layout.cols.pad[0]] = (left + x) * 2 // 11
                expected.append(numbers)
                window += 1
    assert torch.equal(batch.regions, torch.stack(expected))


def test_every_region_has_one_label(images):
    without = build(Recording(region_vote=False)).predict(images)
    voted = build(Recording()).predict(images)
    for image, plain, result in zip(images, without, voted):
        regions = (torch.arange(image.shape[2]) * 2 // 11).expand(image.shape[1], -1)
        expected = voted_by_loop(plain.pred_sem_seg.data[0], regions, 255)
        assert torch.equal(result.pred_sem_seg.data[0], expected)
        assert not torch.equal(expected, plain.pred_sem_seg.data[0])
        assert torch.equal(result.regions.data[0], regions) and 'regions' not in plain


def test_pixels_without_a_class_have_no_vote(images):
    image = images[0].clone()
    image[:, 5:9, 40:44] = torch.nan
    plain, = build(Recording(region_vote=False)).predict([image])
    voted, = build(Recording()).predict([image])
    labels = plain.pred_sem_seg.data[0]
    assert (labels == 255).any()
    assert torch.equal(voted.pred_sem_seg.data[0], voted_by_loop(labels, voted.regions.data[0], 255))
    assert voted.nonfinite_pixels == plain.nonfinite_pixels


@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_maps_of_files_are_mirrored_with_the_image(tmp_path, images, direction):
    axis = dict(horizontal=-1, vertical=-2)[direction]
    numbers = np.random.default_rng(0).integers(0, 7, (61, 97))
    np.savez(tmp_path / 'a.npz', instance_mask=numbers)
    encoder = Recording(NpzRegions(str(tmp_path)))
    segmentor = build(encoder)
    samples = [SegDataSample(metainfo=dict(img_path='a.jpg', ori_shape=(61, 97), flip=flip, flip_direction=direction))
               for flip in (False, True)]
    first, second = segmentor.predict([images[0], images[0].flip(axis)], samples)
    assert torch.equal(first.regions.data, second.regions.data)
    assert torch.equal(first.regions.data[0], torch.from_numpy(numbers))
    plain = build(Recording(region_vote=False)).predict([images[0].flip(axis)])[0].pred_sem_seg.data[0].flip(axis)
    assert torch.equal(second.pred_sem_seg.data[0], voted_by_loop(plain, torch.from_numpy(numbers), 255))


def test_test_time_augmentation_votes_on_the_mean(images):
    image = images[0]
    model = CLIPSegTTAModel(module=build(Recording()))
    first, second = (SegDataSample(metainfo=dict(ori_shape=SIZES[0], flip=flip, flip_direction='horizontal'))
                     for flip in (False, True))
    versions = model.module.predict([image, image.flip(-1)], [first, second])
    merged, = model.merge_preds([versions])
    labels = merged.seg_logits.data.argmax(dim=0)
    assert torch.equal(merged.pred_sem_seg.data[0], voted_by_loop(labels, merged.regions.data[0], 255))


def test_the_encoder_of_an_ablation_keeps_regions_and_vote(images):
    encoder = Recording()
    segmentor, plain = build(encoder), build(Recording())
    segmentor.image_encoder = SharedEncoder(encoder, False)
    for _ in range(2):
        results = segmentor.predict(images)
    assert len(encoder.batches) == 1
    for found, expected in zip(results, plain.predict(images)):
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)


def test_superpixels_run(images):
    regions = build_regions('regions', dict(type='SuperpixelRegions', segments=7))
    result, _ = build(Recording(regions)).predict(images)
    assert result.regions.data.min() == 1


def test_windows_without_region_maps_are_refused(images):
    segmentor = build(Recording())
    with pytest.raises(ValueError, match='Recording needs region maps of windows'):
        segmentor.embed(torch.randn(2, 3, 64, 64))
    assert segmentor.embed(segmentor.batch(torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64).long())).patches.shape[0] == 2


def test_the_diagnosis_needs_no_region_maps(images):
    image = images[0].clone()
    image[0, 0, 0] = 3e38
    assert 'is not finite' in explain_nonfinite(build(Recording()), image)


def test_something_else_than_regions_is_refused():
    with pytest.raises(ValueError, match="regions='masks' of image_encoder must be Regions, as build_regions gives them"):
        build(Recording('masks'))


def test_a_missing_folder_is_refused_before_weights_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, '_clip', None)
    with pytest.raises(FileNotFoundError, match='nowhere is no folder'):
        build(Recording(NpzRegions(str(tmp_path / 'nowhere'))))


def test_a_classifier_refuses_an_encoder_with_regions():
    with pytest.raises(ValueError, match='Recording needs region maps, and a classifier has none'):
        TokenClassifier(clip=CLIP, image_encoder=Recording(), heads=dict(a={}), num_classes=3)
