"""Confidence and rejected pixels in the samples of ``predict`` and of test-time augmentation."""
import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg.models.segmentors.clip_seg_tta_model import CLIPSegTTAModel


def predict(segmentor, image, **metainfo):
    return segmentor.predict([image], [SegDataSample(metainfo=metainfo)])[0]


def margins(probabilities):
    values = probabilities.sort(dim=0, descending=True).values
    return torch.stack([values[0], values[0] - values[1]])


@pytest.mark.parametrize('metainfo', [dict(), dict(ori_shape=(61, 89), flip=True, flip_direction='horizontal')],
                         ids=['', 'flipped'])
def test_confidence_lies_as_the_labels_do(build, metainfo):
    segmentor, image = build(with_seg_logits=True), torch.randn(3, 71, 97)
    expected = predict(segmentor, image, **metainfo)
    found = predict(segmentor.variant(decoder=dict(with_confidence=True)), image, **metainfo)
    torch.testing.assert_close(found.confidence.data, margins(expected.seg_logits.data), atol=1e-5, rtol=1e-4)
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert 'confidence' not in expected and 'seg_logits' not in found and 'undefined' not in found


def test_rejected_pixels_are_not_those_that_are_not_finite(build):
    segmentor, image = build(with_seg_logits=False), torch.randn(3, 71, 97)
    probability = predict(segmentor.variant(decoder=dict(with_confidence=True)), image).confidence.data[0]
    reject = float(probability.median())
    found = predict(segmentor.variant(decoder=dict(reject=reject)), image)
    assert 'nonfinite_pixels' not in found
    assert ((found.pred_sem_seg.data[0] == 255) != (probability < reject)).float().mean() < 1e-3
    broken = image.clone()
    broken[1, 3, 5] = torch.nan
    found = predict(segmentor.variant(decoder=dict(reject=reject, with_confidence=True)), broken)
    undefined = found.undefined.data[0]
    assert found.nonfinite_pixels == undefined.sum() < (found.pred_sem_seg.data == 255).sum()
    assert torch.equal(found.confidence.data.isnan(), undefined.expand(2, -1, -1)) and not undefined.all()


def test_augmentation_gives_the_confidence_of_the_mean(build):
    segmentor, image = build(with_seg_logits=False, name_path=['cat', 'dog', 'sky']), torch.randn(3, 71, 97)
    segmentor = segmentor.variant(decoder=dict(with_confidence=True, reject=0.4))
    tta = CLIPSegTTAModel(module=segmentor)
    versions = [predict(segmentor, image), predict(segmentor, image.flip(-1), flip=True, flip_direction='horizontal')]
    mean = torch.stack([version.seg_logits.data for version in versions]).mean(dim=0)
    merged, = tta.merge_preds([versions])
    torch.testing.assert_close(merged.confidence.data, margins(mean))
    assert torch.equal(merged.pred_sem_seg.data[0] == 255, mean.amax(dim=0) < 0.4)
