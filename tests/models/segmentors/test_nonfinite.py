"""NaN and Inf on the way from an image to labels: which pixels lose their class, and that no other does."""
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from packaging.version import Version
from torch.utils._python_dispatch import TorchDispatchMode

from ovseg.inference.windows import WindowLayout
from ovseg.models.post_processors import PostProcessor

SIZE, CROP, STRIDE, PATCH = (97, 131), 67, 41, (16, 16)
BAD = ((1, 4), (1, 5), (4, 24))  # window and patch; there are 2 x 3 windows of 5 x 5 patches


class Replace(PostProcessor):
    """Replaces patches of the first windows by ``values (number of patches, E)`` or one number."""
    stage = 'embeddings'

    def __init__(self, values, places=BAD):
        self.values, self.places = values, places

    def __call__(self, features):
        patches = features.patches.clone()
        windows, cells = zip(*self.places)
        patches[list(windows), list(cells)] = self.values
        return features.replace(patches=patches)


def mask_of(places, windows=6, patches=25):
    mask = np.zeros((windows, patches), bool)
    mask[tuple(zip(*places))] = True
    return mask


def predict(segmentor, image, **metainfo):
    return segmentor.predict([image], [SegDataSample(metainfo=metainfo)])[0]


def labels_of(sample):
    return sample.pred_sem_seg.data[0]


CONFIGS = [dict(with_seg_logits=False), dict(), dict(prob_thd=0.4, with_seg_logits=False), dict(prob_thd=0.4, bg_idx=2),
           dict(area_thd=0.3, with_seg_logits=False), dict(cls_token_lambda=-0.3, with_seg_logits=False),
           dict(decode_memory_mb=1e-6, with_seg_logits=False), dict(pad_mode='none'),
           dict(name_path=[f'thing {n}' for n in range(257)], prompt_templates=['{}'], with_seg_logits=False)]


@pytest.mark.parametrize('cfg', CONFIGS, ids=lambda cfg: ' '.join(f'{key}={str(value)[:9]}' for key, value in cfg.items()))
@pytest.mark.parametrize('metainfo', [dict(), dict(ori_shape=(61, 89), flip=True, flip_direction='diagonal')],
                         ids=['', 'resized and flipped'])
def test_only_pixels_with_a_weight_from_a_bad_patch_lose_their_class(build, undefined_by_loop, cfg, metainfo):
    image = torch.randn(3, *SIZE)
    places = BAD if cfg.get('pad_mode') != 'none' else ((1, 4), (1, 5), (4, 15))
    broken, healed = (build(post_processors=[Replace(values, places)], **cfg) for values in (torch.nan, torch.randn(3, 128)))
    found, other = predict(broken, image, **metainfo), predict(healed, image, **metainfo)
    per_window = 25 if places is BAD else 16
    mask = undefined_by_loop(mask_of(places, patches=per_window), SIZE, CROP, STRIDE, PATCH, cfg.get('pad_mode', 'center'),
                             metainfo.get('ori_shape', SIZE))
    mask = torch.from_numpy(mask[::-1, ::-1].copy() if metainfo else mask)
    assert 0.05 < mask.float().mean() < 0.5
    ignored = 65535 if 'name_path' in cfg else 255
    assert torch.equal(labels_of(found) == ignored, mask)
    if 'area_thd' not in cfg:  # there the areas of the healed image include the mask
        assert torch.equal(labels_of(found)[~mask], labels_of(other)[~mask])
    assert found.nonfinite_pixels == mask.sum() and 'nonfinite_pixels' not in other
    if broken.decoder.with_seg_logits:
        assert torch.equal(found.seg_logits.data.isnan(), mask.expand(3, -1, -1))
        assert torch.equal(found.seg_logits.data[:, ~mask], other.seg_logits.data[:, ~mask])


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
def test_a_pixel_spoils_the_windows_that_hold_it(build, undefined_by_loop, value):
    image = torch.randn(3, *SIZE)
    before = build(with_seg_logits=False, apply_outlier_suppression=True, apply_ctd=True)
    expected = labels_of(predict(before, image))
    image[1, 90, 3] = value
    found = predict(before, image)
    mask = torch.from_numpy(undefined_by_loop(mask_of([(3, patch) for patch in range(25)]), SIZE, CROP, STRIDE, PATCH, 'center',
                                              SIZE))
    assert torch.equal(labels_of(found) == 255, mask) and 0.1 < mask.float().mean() < 0.5
    assert torch.equal(labels_of(found)[~mask], expected[~mask])


def test_the_other_image_of_a_batch_is_bit_identical(build):
    images = [torch.randn(3, *SIZE), torch.randn(3, *SIZE), torch.randn(3, 71, 53)]
    segmentor = build(apply_outlier_suppression=True, apply_ctd=True, global_debias_factor=0.2)
    expected = segmentor.predict(images)
    images[1] = images[1].clone()
    images[1][0, 50, 60] = torch.nan
    found = segmentor.predict(images)
    assert ['nonfinite_pixels' in sample for sample in found] == [False, True, False]
    for index in (0, 2):
        assert torch.equal(labels_of(found[index]), labels_of(expected[index]))
        assert torch.equal(found[index].seg_logits.data, expected[index].seg_logits.data)


def undefined_everywhere(segmentor, image):
    sample = predict(segmentor, image)
    return bool((labels_of(sample) == 255).all()) and sample.nonfinite_pixels == labels_of(sample).numel()


def test_a_weight_that_is_not_finite(build):
    segmentor = build(with_seg_logits=False)
    with torch.no_grad():
        segmentor.tower.visual.transformer.resblocks[1].mlp.c_fc.weight[3, 5] = torch.nan
    assert undefined_everywhere(segmentor, torch.randn(3, 71, 53))


@pytest.mark.skipif(Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 convolution on the CPU')
def test_an_overflow_of_float16(build):
    image = torch.randn(3, 71, 53)
    full, half = build(with_seg_logits=False), build(with_seg_logits=False, precision='fp16')
    for segmentor in (full, half):
        with torch.no_grad():
            segmentor.tower.visual.transformer.resblocks[1].mlp.c_proj.weight.mul_(3e5)
            assert segmentor.tower.visual.transformer.resblocks[1].mlp.c_proj.weight.isfinite().all()
    assert 'nonfinite_pixels' not in predict(full, image)
    assert undefined_everywhere(half, image)


@pytest.mark.parametrize('cfg', [
    dict(apply_similarity_enhancement=True, similarity_enhancement_cfg=dict(temperature=1e-39)),
    dict(global_debias_factor=1e30),  # the square of what it leaves overflows: without a check, zero vectors
    dict(attention_cfg=dict(scale=3e38))], ids=str)
def test_numbers_that_overflow(build, cfg):
    assert undefined_everywhere(build(with_seg_logits=False, **cfg), torch.randn(3, 71, 53))


def test_attention_that_is_not_finite_ranks_nothing(build):
    segmentor = build(with_seg_logits=False, apply_outlier_suppression=True)
    tokens = segmentor.image_encoder.tokens

    def spoilt(tower, batch, with_attention=False):
        features = tokens(tower, batch, with_attention)
        return features.replace(attn=torch.full_like(features.attn, torch.nan))

    segmentor.image_encoder.tokens = spoilt
    assert undefined_everywhere(segmentor, torch.randn(3, 71, 53))


def test_probabilities_of_equal_images(build):
    images = torch.randn(2, 3, 71, 53)
    segmentor = build()
    expected = segmentor.encode_decode(images)
    images[1, 0, 3, 5] = torch.inf
    found = segmentor.encode_decode(images)
    assert torch.equal(found[0], expected[0])
    assert 0 < found[1].isnan().float().mean() < 1
    assert torch.equal(found[1].isnan().any(0), found[1].isnan().all(0))


@pytest.mark.parametrize('with_seg_logits', [False, True])
def test_refinement_does_not_spread_what_has_no_class(build, with_seg_logits):
    image = torch.randn(3, *SIZE)
    cfg = dict(refine=dict(type='PAMR', num_iter=3, dilations=(1, 5)), with_seg_logits=with_seg_logits)
    broken, zeroed = (build(post_processors=[Replace(values)], **cfg) for values in (torch.nan, 0))
    found, expected = labels_of(predict(broken, image)), labels_of(predict(zeroed, image))
    mask = found == 255
    assert mask.sum() == predict(build(post_processors=[Replace(torch.nan)]), image).nonfinite_pixels
    assert torch.equal(found[~mask], expected[~mask])


def test_refinement_survives_a_pixel_that_no_window_sees(build):
    image = torch.randn(3, 71, 53)
    segmentor = build(slide_crop=0, pad_mode='none', refine=dict(type='PAMR', num_iter=3, dilations=(1, 5)))
    image[:, 70, 50] = 0
    expected = predict(segmentor, image)
    image[:, 70, 50] = torch.nan  # 71 = 4 x 16 + 7
    found = predict(segmentor, image)
    assert 'nonfinite_pixels' not in found
    assert torch.equal(found.seg_logits.data, expected.seg_logits.data)


def test_a_version_of_an_image_that_is_not_finite(build):
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)

    class RightOnly(Replace):
        """Breaks patches of the second pass, in which the mirrored image is."""
        passes = 0

        def __call__(self, features):
            self.passes += 1
            return super().__call__(features) if self.passes == 2 else features

    def run(*modules):
        with DefaultScope.overwrite_default_scope('mmseg'):
            model = MODELS.build(dict(type='CLIPSegTTAModel', module=build(post_processors=list(modules), area_thd=0.1)))
        samples = [[SegDataSample(metainfo=dict(ori_shape=SIZE, flip=flip, flip_direction='horizontal'))]
                   for flip in (False, True)]
        return model.test_step(dict(inputs=[[image], [image.flip(-1)]], data_samples=samples))[0]

    found, expected = run(RightOnly(torch.nan)), run()
    mask = labels_of(found) == 255
    segmentor = build(post_processors=[Replace(torch.nan)])
    alone = predict(segmentor, segmentor.data_preprocessor(dict(inputs=[image]))['inputs'][0])
    assert torch.equal(mask, (labels_of(alone) == 255).flip(-1))  # the same places of the mirrored image
    assert found.nonfinite_pixels == mask.sum() and 'nonfinite_pixels' not in expected
    assert torch.equal(found.seg_logits.data[:, ~mask], expected.seg_logits.data[:, ~mask])
    assert found.seg_logits.data[:, mask].isnan().all()


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: reading one number of a tensor, or places of a mask."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('cfg', [dict(with_seg_logits=False), dict(area_thd=0.1), dict(window_batch_size=2)], ids=str)
def test_a_batch_waits_once_for_the_device(build, cfg):
    segmentor = build(apply_outlier_suppression=True, **cfg)
    images = [torch.randn(3, *SIZE), torch.randn(3, 71, 53), torch.randn(3, 97, 59)]
    segmentor.predict(images)  # text embeddings and the geometries' constants are made once
    assert len(WindowLayout.plan(SIZE, CROP, STRIDE, PATCH)) == 6
    with Waits() as waits:
        segmentor.predict(images)
    assert waits.count == 1
