import math

import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from mmseg.models import SegDataPreProcessor

from ovseg.models import OVSegDataPreProcessor
from ovseg.models.data_preprocessor import build_data_preprocessor, check_no_padding

MEAN, STD = [11., 23., 37.], [2., 3., 5.]


def images():
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((5, 7), (11, 3), (1, 1))]


def loop_normalised(image, order):
    result = torch.empty(image.shape)
    for channel, source in enumerate(order):
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                result[channel, y, x] = (image[source, y, x].item() - MEAN[channel]) / STD[channel]
    return result


@pytest.mark.parametrize(('bgr_to_rgb', 'order'), [(True, (2, 1, 0)), (False, (0, 1, 2))])
def test_images_of_any_size_equal_the_loop(bgr_to_rgb, order):
    inputs = images()
    result = OVSegDataPreProcessor(mean=MEAN, std=STD, bgr_to_rgb=bgr_to_rgb)(dict(inputs=inputs))
    assert isinstance(result['inputs'], list)
    assert len(result['inputs']) == len(inputs)
    for found, image in zip(result['inputs'], inputs):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loop_normalised(image, order))


def test_a_batch_tensor_is_taken_as_its_images():
    batch = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    result = OVSegDataPreProcessor(mean=MEAN, std=STD)(dict(inputs=batch))
    assert len(result['inputs']) == 2
    torch.testing.assert_close(result['inputs'][1], loop_normalised(batch[1], (0, 1, 2)))


def test_the_order_of_channels_needs_no_attribute_of_the_base_class():
    """Its name is not the same in all versions: channel_conversion or _channel_conversion."""
    preprocessor = OVSegDataPreProcessor(bgr_to_rgb=True)
    for name in ('channel_conversion', '_channel_conversion'):
        vars(preprocessor).pop(name, None)
    found, = preprocessor(dict(inputs=[torch.tensor([[[2]], [[3]], [[5]]])]))['inputs']
    assert found.flatten().tolist() == [5, 3, 2]


def test_data_samples_are_handed_on():
    samples = [object(), object(), object()]
    preprocessor = OVSegDataPreProcessor(mean=MEAN, std=STD)
    assert preprocessor(dict(inputs=images(), data_samples=samples))['data_samples'] == samples
    assert preprocessor(dict(inputs=images()))['data_samples'] is None


def test_inputs_are_left_alone():
    inputs = [image.float() for image in images()]
    before = [image.clone() for image in inputs]
    OVSegDataPreProcessor(mean=MEAN, std=STD, bgr_to_rgb=True)(dict(inputs=inputs))
    assert all(torch.equal(image, copy) for image, copy in zip(inputs, before))


def test_without_mean_and_deviation_values_stay_as_they_are():
    inputs = images()
    result = OVSegDataPreProcessor(bgr_to_rgb=True)(dict(inputs=inputs))['inputs']
    assert len(result) == len(inputs)
    for found, image in zip(result, inputs):
        torch.testing.assert_close(found, torch.stack([image[2], image[1], image[0]]).float())


@pytest.mark.parametrize(('mean', 'std', 'message'), [
    ([11., math.nan, 37.], STD, 'data_preprocessor: mean=nan'), ([-math.inf, 23., 37.], STD, 'data_preprocessor: mean=-inf'),
    (MEAN, [2., 0., 5.], 'data_preprocessor: std=0.0 must be a positive number'),
    (MEAN, [math.inf, 3., 5.], 'data_preprocessor: std=inf')])
def test_numbers_that_give_nan_or_inf_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        OVSegDataPreProcessor(mean=mean, std=std)


@pytest.mark.parametrize('cfg', [5, 0, '', 'OVSegDataPreProcessor', {}, [], dict(mean=MEAN), dict(type=''), dict(type='Foo'),
                                 dict(type=5), dict(type='PAMR'), dict(type='FCNHead'),
                                 dict(type='OVSegDataPreProcessor', mean=5),
                                 dict(type='OVSegDataPreProcessor', mean=MEAN, std=[1., 0., 2.]),
                                 dict(type='OVSegDataPreProcessor', mean=MEAN, std=[1., 10 ** 400, 2.]),
                                 dict(type='OVSegDataPreProcessor', mean=[1., 2.], std=[3.]),
                                 dict(type='OVSegDataPreProcessor', foo=1), dict(type='ReLU')], ids=repr)
def test_what_is_no_preprocessor_is_refused(cfg):
    with pytest.raises(ValueError, match=r'^data_preprocessor(=|:)') as caught:
        build_data_preprocessor(None, cfg)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('preprocessor', [OVSegDataPreProcessor(), SegDataPreProcessor(), SegDataPreProcessor(size=(97, 131))],
                         ids=['ours', 'mmseg', 'mmseg, padded in training'])
def test_preprocessors_that_do_not_pad_in_testing_are_accepted(preprocessor):
    check_no_padding(preprocessor)
    assert tuple(preprocessor(dict(inputs=[torch.zeros(3, 5, 7)]))['inputs'][0].shape) == (3, 5, 7)


@pytest.mark.parametrize(('preprocessor', 'message'), [
    (SegDataPreProcessor(test_cfg=dict(size_divisor=11)), "data_preprocessor.test_cfg={'size_divisor': 11} pads images, which"),
    (ImgDataPreprocessor(), "data_preprocessor.type='ImgDataPreprocessor' pads the images of a batch to one size")])
def test_preprocessors_that_pad_are_refused(preprocessor, message):
    with pytest.raises(ValueError, match=message):
        check_no_padding(preprocessor)
