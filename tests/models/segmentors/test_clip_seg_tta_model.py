import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

SIZES = ((71, 53), (61, 97))


def versions(images):
    """Data as ``TestTimeAug`` with a mirrored copy and the data loader give them: outer list versions, inner list images."""
    mirrored = [image.flip(-1) for image in images]
    samples = [[SegDataSample(metainfo=dict(ori_shape=tuple(image.shape[1:]), img_path=f'{index}.png', flip=flip,
                                            flip_direction='horizontal' if flip else None))
                for index, image in enumerate(images)] for flip in (False, True)]
    return dict(inputs=[images, mirrored], data_samples=samples)


def wrap(segmentor):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(dict(type='CLIPSegTTAModel', module=segmentor))


def averaged(segmentor, image):
    shape = tuple(image.shape[1:])
    first, second = segmentor.test_step(dict(inputs=[image, image.flip(-1)],
                                             data_samples=[SegDataSample(metainfo=dict(ori_shape=shape)) for _ in range(2)]))
    return (first.seg_logits.data + second.seg_logits.data.flip(-1)) / 2


@pytest.fixture
def images():
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in SIZES]


def test_a_mirrored_version_is_averaged_in_probability_space(build, images):
    plain = build()
    results = wrap(build(with_seg_logits=False)).test_step(versions(images))
    assert len(results) == 2
    for image, result in zip(images, results):
        expected = averaged(plain, image)
        torch.testing.assert_close(result.seg_logits.data, expected, atol=1e-5, rtol=1e-4)
        assert result.pred_sem_seg.data.shape == (1, *image.shape[1:])
        assert (result.pred_sem_seg.data[0] == expected.argmax(0)).float().mean() > 0.999


def test_the_average_differs_from_either_version(build, images):
    plain, = build().test_step(dict(inputs=images[:1], data_samples=[SegDataSample(metainfo=dict(ori_shape=SIZES[0]))]))
    result, _ = wrap(build()).test_step(versions(images))
    assert (result.seg_logits.data - plain.seg_logits.data).abs().max() > 1e-3


@pytest.mark.parametrize('bg_idx', [0, 1])
def test_the_threshold_is_applied_to_the_average(build, images, bg_idx):
    best, labels = averaged(build(), images[0]).max(0)
    threshold = best.median().item()
    result, _ = wrap(build(prob_thd=threshold, bg_idx=bg_idx)).test_step(versions(images))
    expected = torch.where(best < threshold, torch.full_like(labels, bg_idx), labels)
    assert (result.pred_sem_seg.data[0] == expected).float().mean() > 0.999
    assert (expected != labels).any()


def test_metadata_and_truth_are_those_of_the_image(build, images):
    data = versions(images)
    truth = torch.randint(0, 3, (1, *SIZES[0]))
    for samples in data['data_samples']:
        samples[0].gt_sem_seg = PixelData(data=truth)
    first, second = wrap(build()).test_step(data)
    assert (first.img_path, second.img_path) == ('0.png', '1.png')
    assert torch.equal(first.gt_sem_seg.data, truth)


def test_one_version_equals_no_augmentation(build, images):
    data = {key: value[:1] for key, value in versions(images).items()}
    plain = build().test_step(dict(inputs=images, data_samples=versions(images)['data_samples'][0]))
    results = wrap(build()).test_step(data)
    assert len(results) == len(plain) == 2
    for result, expected in zip(results, plain):
        assert torch.equal(result.pred_sem_seg.data, expected.pred_sem_seg.data)
