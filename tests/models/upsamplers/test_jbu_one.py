"""JBUOne against its own code, and in models."""
import copy
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovseg.inference.decode import merge_windows
from ovseg.models import CLIPSegmentor
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.segmentors.diagnosis import explain_nonfinite
from ovseg.models.towers import loading
from ovseg.models.upsamplers import JBUOne, LinearUpsampler, jbu_one
from ovseg.models.upsamplers.jbu_one import JBUWeights
from tests.method_goldens import (
    MEAN,
    SIZES,
    STD,
    WINDOWS,
    arrays,
    assert_close_in_deviations,
    assert_same_labels,
    golden_clip,
    golden_segmentor,
    labels_of,
)

SEGEARTH = dict(attention=dict(type='SegEarth'), ignore_residual=True, cls_source='last_block')
DECODER = dict(logit_scale=50, cls_token_lambda=-0.3)
MODEL = dict(clip=dict(name='ovseg-tiny-clip', pretrained='embedded'), windows=dict(crop=64, stride=48),
             vocabulary=dict(names=['red panda', 'grass, lawn', 'sea'], templates=['a {}.']))


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'jbu.pth'
    torch.save(arrays('jbu_state'), path)
    return str(path)


@pytest.fixture
def loaded(weights):
    upsampler = JBUOne(weights)
    upsampler.load(golden_clip().image_tower)
    return upsampler


def rgb_of(images):
    return images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


def upsampled(upsampler, size):
    maps = arrays('jbu')[f'upsample-in/simfeatup-repo/{size}']
    features = DenseFeatures(maps.flatten(2).transpose(1, 2), None, None, tuple(maps.shape[2:]))
    return upsampler(features, rgb_of(arrays('inputs')[f'image/{size}']))


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize(('memory_mb', 'strip_bytes'), [(256, 2 ** 22), (0.001, 50_000)])
def test_features_of_its_own_code(weights, size, memory_mb, strip_bytes, monkeypatch):
    monkeypatch.setattr(jbu_one, 'STRIP_BYTES', strip_bytes)
    upsampler = JBUOne(weights, memory_mb)
    upsampler.load(golden_clip().image_tower)
    found = upsampled(upsampler, size)
    maps = found.patches.transpose(1, 2).unflatten(2, found.grid_size)
    assert_close_in_deviations(maps[:, :, ::7, ::5], arrays('jbu')[f'upsample-out/simfeatup-repo/{size}'])


@pytest.mark.parametrize(('threshold', 'batch_size', 'images', 'memory_mb'), [(0.0, 1, 1, 256), (0.35, 64, 2, 8)])
def test_labels_of_its_own_code(weights, threshold, batch_size, images, memory_mb):
    segmentor = golden_segmentor('segearth', SEGEARTH, upsampler=JBUOne(weights),
                                 windows=dict(**WINDOWS, batch_size=batch_size),
                                 decoder=dict(**DECODER, prob_thd=threshold, memory_mb=memory_mb))
    for labels in labels_of(segmentor, images):
        assert_same_labels(labels, arrays('jbu')[f'segment/segearth-upsampled-repo/crop112-stride56-thd{threshold}/pred'][0])


def test_probabilities_of_its_own_code(weights):
    segmentor = golden_segmentor('segearth', SEGEARTH, upsampler=JBUOne(weights), decoder=DECODER)
    image, = arrays('inputs')['segment_image']
    windows, = segmentor.window_patches([image])
    found = segmentor.decoder.probabilities(image, windows, segmentor.texts, (210, 281))
    expected = arrays('jbu')['segment/segearth-upsampled-repo/crop112-stride56-thd0.0/probs']
    assert (found - expected).abs().max() < 2e-3  # they are stored in float16


class Reference(nn.Module):
    """The upsampler as one loop per doubling over the neighbours, with the last layer behind the doublings."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def layers(self, name, x):
        for index, last in (('0', False), ('3', True)):
            x = F.conv2d(x, self.state[f'{name}.{index}.weight'], self.state[f'{name}.{index}.bias'])
            x = x if last else F.gelu(x)
        return x

    def doubled(self, maps, image):
        size = [2 * side for side in maps.shape[2:]]
        colours = F.adaptive_avg_pool2d(image, size)
        keys = self.layers('up.range_proj', colours)
        near = F.unfold(F.pad(keys, [5] * 4, mode='reflect'), 11).unflatten(1, (32, 121)).unflatten(3, size)
        temperature = self.state['up.range_temp'].exp()
        weights = (temperature * (near * keys.unsqueeze(2)).sum(dim=1)).softmax(dim=1)
        for index in range(121):
            y, x = index // 11 - 5, index % 11 - 5
            weights[:, index] *= torch.exp(-(y ** 2 + x ** 2) / 25 / (2 * self.state['up.sigma_spatial'] ** 2))
        weights = weights / weights.sum(dim=1, keepdim=True)
        weights = weights + 0.1 * self.layers('up.fixup_proj', torch.cat([weights, colours], dim=1))
        finer = F.pad(F.interpolate(maps, size, mode='bicubic'), [5] * 4, mode='reflect')
        return sum(weights[:, index, None] * finer[:, :, index // 11:, index % 11:][:, :, :size[0], :size[1]]
                   for index in range(121))

    def forward(self, maps, image):
        for _ in range(4):
            maps = self.doubled(maps, image)
        return maps + 0.1 * F.conv2d(maps, self.state['fixup_proj.1.weight'], self.state['fixup_proj.1.bias'])


def random_upsampler(width):
    upsampler = JBUOne()
    upsampler.load(type('Tower', (), dict(output_width=width)))
    upsampler.up.range_temp.fill_(0.7)
    upsampler.up.sigma_spatial.fill_(1.3)
    return upsampler


@pytest.mark.parametrize(('grid', 'width'), [((3, 5), 7), ((5, 4), 67)])
def test_random_weights_on_windows_that_are_not_square(grid, width):
    upsampler, maps, rgb = random_upsampler(width), torch.randn(3, width, *grid), torch.rand(3, 3, 53, 71)
    image = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    expected = Reference(upsampler.state_dict())(maps, image).flatten(2).transpose(1, 2)
    features = DenseFeatures(maps.flatten(2).transpose(1, 2), None, None, grid)
    found = upsampler(features, rgb)
    assert found.grid_size == (16 * grid[0], 16 * grid[1])
    torch.testing.assert_close(found.patches, expected, atol=1e-4, rtol=1e-4)
    lengths = upsampler.lengths(upsampler.mix(features.patches), rgb, grid)
    torch.testing.assert_close(lengths, expected.norm(dim=2), atol=1e-4, rtol=1e-4)
    alone = upsampler(features.replace(patches=features.patches[1:2]), rgb[1:2]).patches
    torch.testing.assert_close(found.patches[1:2], alone, atol=1e-5, rtol=1e-4)
    half = upsampler(features.replace(patches=features.patches.half()), rgb).patches
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize('decoder', [dict(cls_token_lambda=-0.3), dict(), dict(memory_mb=0.1, prob_thd=0.4)], ids=str)
def test_scores_are_those_of_the_upsampled_embeddings(decoder):
    images = [torch.randn(3, 61, 97), torch.randn(3, 97, 61)]
    segmentor = CLIPSegmentor(**MODEL, upsampler='JBUOne', decoder=dict(decoder, with_seg_logits=True))
    # the tiny CLIP does not tell these names apart, and rounding would choose their labels
    segmentor.text_embeddings = F.normalize(torch.randn(4, segmentor.tower.output_width), dim=-1)
    without = segmentor.variant(decoder=decoder)
    for image, result, labels in zip(images, segmentor.predict(images), without.predict(images)):
        layout = segmentor.plan(image.shape[1:])
        features = segmentor.embed(layout.cut(image))
        unit = F.normalize(features.patches, dim=-1)
        if 'cls_token_lambda' in decoder:
            unit = unit - 0.3 * F.normalize(features.cls_token, dim=-1).unsqueeze(1)
        scores = merge_windows(unit @ segmentor.text_embeddings.t(), layout.on_grid(features.grid_size), image.shape[1:])
        probabilities = (40 * scores).softmax(dim=0)
        expected = torch.stack([probabilities[0], probabilities[1:3].amax(dim=0), probabilities[3]])
        torch.testing.assert_close(result.seg_logits.data, expected, atol=1e-4, rtol=1e-3)
        largest, expected = expected.max(dim=0)
        expected[largest < decoder.get('prob_thd', 0)] = 0
        assert (labels.pred_sem_seg.data[0] != expected).float().mean() < 1e-3


def test_embeddings_of_the_finer_grid_are_never_held(monkeypatch):
    segmentor = CLIPSegmentor(**MODEL, upsampler=dict(type='JBUOne', memory_mb=0.001))
    largest = 0
    spread = JBUOne.spread

    def seen(self, maps, rgb, grid_size):
        nonlocal largest
        for piece in spread(self, maps, rgb, grid_size):
            largest = max(largest, piece[2].numel())
            yield piece
    monkeypatch.setattr(JBUOne, 'spread', seen)
    monkeypatch.setattr(LinearUpsampler, '__call__', None)
    segmentor.predict([torch.randn(3, 112, 160)])
    assert 0 < largest <= 64 * 64 * min(64, segmentor.tower.output_width)  # of one window


def test_pixels_near_a_broken_patch_have_no_label():
    segmentor = CLIPSegmentor(**MODEL, upsampler='JBUOne')
    image = torch.randn(3, 61, 160)
    image[:, 3, 150] = torch.nan
    result, = segmentor.predict([image])
    labels = result.pred_sem_seg.data[0]
    assert (labels[:, 130:] == 255).all() and (labels[:, :90] < 3).all()
    segmentor.upsampler.up.range_temp.fill_(torch.nan)
    assert explain_nonfinite(segmentor, torch.randn(3, 61, 160)) == 'the output of upsampler JBUOne is not finite'


def test_copies_and_variants_have_the_weights(weights):
    segmentor = golden_segmentor('segearth', SEGEARTH, upsampler=JBUOne(weights), decoder=DECODER)
    assert segmentor.variant(decoder={}).upsampler is segmentor.upsampler
    assert 'upsampler.up.range_proj.3.weight' in segmentor.state_dict()
    for name, value in copy.deepcopy(segmentor).upsampler.state_dict().items():
        assert torch.equal(value, arrays('jbu_state')[name]) and not value.requires_grad


@pytest.mark.parametrize('state', [
    lambda state: dict(state_dict={f'upsampler.{key}': value for key, value in state.items()}, epoch=3),
    lambda state: dict(state_dict={**{f'model.jbu.{key}': value for key, value in state.items()}, 'clip.x': torch.ones(3)}),
    lambda state: {f'module.{key}': value for key, value in state.items()}], ids=['Lightning', 'others', 'DDP'])
def test_checkpoints_of_training(state, loaded, tmp_path):
    path = tmp_path / 'lightning.ckpt'
    torch.save(state(arrays('jbu_state')), path)
    upsampler = JBUOne(str(path))
    upsampler.load(golden_clip().image_tower)
    assert torch.equal(upsampled(upsampler, SIZES[0]).patches, upsampled(loaded, SIZES[0]).patches)


def without(key):
    return {other: value for other, value in arrays('jbu_state').items() if other != key}


@pytest.mark.parametrize(('state', 'message'), [
    (without('fixup_proj.1.bias'), "has no weight 'fixup_proj.1.bias'"),
    (without('up.range_temp'), "must hold the weights of one JBUOne, and has 0 named 'up.range_temp'"),
    ({f'{name}.{key}': value for name in 'ab' for key, value in arrays('jbu_state').items()}, 'and has 2 named'),
    ({**arrays('jbu_state'), 'fixup_proj.1.weight': torch.ones(31, 31, 1, 1)},
     "'fixup_proj.1.weight' is torch.float32 of shape (31, 31, 1, 1), and this CLIP needs floating-point numbers of shape "
     '(48, 48, 1, 1)'),
    ({**arrays('jbu_state'), 'up.range_temp': torch.tensor(3)}, "'up.range_temp' is torch.int64 of shape ()"),
    ({**arrays('jbu_state'), 'up.range_temp': torch.tensor(torch.nan)}, "'up.range_temp' holds NaN"),
    ({**arrays('jbu_state'), 'norm.weight': torch.ones(3)}, "'norm.weight' is no weight of JBUOne"),
    (dict(state_dict=3), 'is not a dict of tensors')],
    ids=['missing', 'none', 'two', 'width', 'type', 'NaN', 'other', 'no dict'])
def test_other_checkpoints_are_refused(state, message, tmp_path):
    path = tmp_path / 'jbu.pth'
    torch.save(state, path)
    with pytest.raises(ValueError, match=f'upsampler.pretrained: .*jbu.pth.*{re.escape(message)}'):
        golden_segmentor('segearth', SEGEARTH, upsampler=dict(type='JBUOne', pretrained=str(path)))


def test_a_missing_file_and_another_clip(loaded, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'upsampler\.pretrained=.*there is no file'):
        golden_segmentor('segearth', SEGEARTH, upsampler=dict(type='JBUOne', pretrained=tmp_path / 'absent.pth'))
    with pytest.raises(ValueError, match='upsampler JBUOne has weights for a width of 48, and this CLIP has '):
        CLIPSegmentor(**MODEL, upsampler=loaded)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(upsampler=dict(type='JBUOne', pretrained=3)), 'upsampler.pretrained=3 must be a path'),
    (dict(upsampler=dict(type='JBUOne', pretrained='')), "upsampler.pretrained='' must be a path"),
    (dict(upsampler=dict(type='JBUOne', memory_mb=0)), 'upsampler.memory_mb=0 must be'),
    (dict(upsampler=dict(type='JBUOne'), post_processors=[dict(type='LPOSS', guide='CLIPGuide')]),
     'post_processors: LPOSS works on the scores of patches, and those of upsampler JBUOne are')], ids=str)
def test_settings_that_cannot_be_are_refused_before_weights_are_read(settings, message, monkeypatch):
    def fail(name, pretrained):
        raise AssertionError('weights are read')
    monkeypatch.setattr(loading, 'load_clip', fail)
    monkeypatch.setattr(JBUOne, 'load', None)
    with pytest.raises(ValueError, match=re.escape(message)):
        CLIPSegmentor(**MODEL, **settings)


def test_windows_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match='upsampler JBUOne needs windows of at least 3 x 3 patches, not 2 x 4'):
        CLIPSegmentor(**{**MODEL, 'windows': dict(crop=0)}, upsampler='JBUOne').predict([torch.randn(3, 31, 64)])


def test_random_weights_are_warned_of(monkeypatch):
    records = []
    monkeypatch.setattr(jbu_one, 'print_log', lambda *args: records.append(args))
    CLIPSegmentor(**MODEL, upsampler='JBUOne')
    (message, _, level), = records
    assert message.startswith('upsampler.pretrained=None: JBUOne runs with random weights') and level == 30


@pytest.mark.parametrize(('given', 'limit'), [(20.0, 1e4), (-20.0, 1e-4)])
def test_the_sharpness_of_the_filter_is_limited(given, limit):
    weights, colours = JBUWeights(), torch.randn(1, 3, 7, 11)
    with torch.no_grad():
        for parameter in weights.range_proj[3].parameters():
            parameter.mul_(10 * limit ** -0.5)  # so that products of keys, times the limit, are neither tiny nor huge
        weights.range_temp.fill_(given)
        found = weights(colours)
        weights.range_temp.fill_(math.log(limit))
        torch.testing.assert_close(found, weights(colours), atol=1e-5, rtol=1e-3)
