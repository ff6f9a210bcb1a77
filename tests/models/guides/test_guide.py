"""Guides in models: checked before weights are read, loaded once, run once per batch."""
import copy
import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovseg.ablation.sharing import SharedEncoder
from ovseg.models import CLIPSegmentor, TokenClassifier
from ovseg.models.dense import DenseEncoder
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.guides import CLIPGuide, Guide, GuideFeatures, TimmGuide, build_guide, common_patch_size
from ovseg.models.towers import load_clip, loading
from ovseg.models.window_batch import WindowBatch
from ovseg.registry import DENSE_ENCODERS, GUIDES

CLIP = dict(name='ovseg-tiny-clip', pretrained='embedded')
WORDS = dict(names=['red panda', 'grass', 'sea'], templates=['a {}.'])
WINDOWS = dict(crop=64, stride=48)
TIMM = dict(type='TimmGuide', model='vit_small_patch8_224.dino', pretrained=None,
            model_cfg=dict(embed_dim=22, depth=2, num_heads=2))


class Proxy(DenseEncoder):
    """The demonstration of the extension point: the last block with attention by a guide's features, as ProxyCLIP has it.

    The values are interpolated to the guide's grid; there is no CLS token.
    """

    gives_attention = gives_cls = False

    def __init__(self, guide='CLIPGuide'):
        super().__init__()
        self.guide = build_guide('image_encoder.guide', guide)

    def check(self, tower):
        pass

    def tokens(self, tower, batch, with_attention=False):
        patches, grid_size = batch.guide(self.guide)
        x, own_grid = tower.embed(batch.images)
        *blocks, last = tower.blocks
        for block in blocks:
            x = tower.run(block, x, own_grid)
        _, _, v = tower.qkv(last, x, own_grid)
        maps = v[:, :, 1:].transpose(2, 3).flatten(1, 2).unflatten(2, own_grid)
        maps = F.interpolate(maps, grid_size, mode='bilinear', align_corners=False)
        v = maps.flatten(2).unflatten(1, (tower.heads, -1)).transpose(2, 3)
        unit = F.normalize(patches.float(), dim=-1)
        attention = (5 * unit @ unit.transpose(1, 2)).softmax(dim=-1).to(v.dtype)
        return DenseFeatures(tower.join(last, attention.unsqueeze(1) @ v), None, None, grid_size)


@dataclass(frozen=True)
class Colours(Guide):
    """The mean colour of patches of 16 pixels, from a network that counts how often it is loaded and run."""
    scale: float = 1.0
    patch_size = (16, 16)
    loaded = []

    def load(self):
        self.loaded.append(self)
        return Counting()

    def __call__(self, network, batch):
        maps = network(batch.rgb)
        return GuideFeatures(self.scale * maps.flatten(2).transpose(1, 2), tuple(maps.shape[2:]))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.runs, self.weight = 0, nn.Parameter(torch.ones(1))

    def forward(self, rgb):
        self.runs += 1
        return F.avg_pool2d(rgb, 16) * self.weight


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(DENSE_ENCODERS.module_dict, 'Proxy', Proxy)
    monkeypatch.setitem(GUIDES.module_dict, 'Colours', Colours)
    monkeypatch.setattr(Colours, 'loaded', [])


def build(guide, **components):
    return CLIPSegmentor(**{**dict(clip=CLIP, vocabulary=WORDS, windows=WINDOWS, image_encoder=dict(type='Proxy', guide=guide),
                                   decoder=dict(with_seg_logits=True)), **components})


@torch.no_grad()
def by_loop(segmentor, guide_patches, images):
    """Embeddings of the patches of one window after the other, one head, one patch of the guide's grid after the other."""
    visual, results = segmentor.tower.visual, []
    block = visual.transformer.resblocks[-1]
    for image, patches in zip(images, guide_patches):
        x, _ = segmentor.tower.embed(image[None])
        for before in visual.transformer.resblocks[:-1]:
            x = before(x)
        y = block.ln_1(x)[0]
        d = y.shape[1]
        v = y @ block.attn.in_proj_weight[2 * d:].T + block.attn.in_proj_bias[2 * d:]
        rows = []
        for i in range(len(patches)):
            similarities = [F.cosine_similarity(patches[i], other, dim=0) for other in patches]
            weights = (5 * torch.stack(similarities)).softmax(0)
            rows.append(sum(weight * value for weight, value in zip(weights, v[1:])))
        results.append(visual.ln_post(block.attn.out_proj(torch.stack(rows))) @ visual.proj)
    return torch.stack(results)


def test_an_encoder_works_with_the_clips_own_features():
    segmentor, images = build(dict(type='CLIPGuide', layer=2, features='k')), torch.randn(2, 3, 48, 80)
    guide = CLIPGuide(2, 'k')(segmentor.tower, WindowBatch(images, segmentor.mean, segmentor.std))
    torch.testing.assert_close(segmentor.embed(images).patches, by_loop(segmentor, guide.patches, images), atol=1e-4, rtol=1e-3)
    image = torch.randn(3, 61, 97)
    result, = segmentor.predict([image])
    assert result.pred_sem_seg.data.shape == (1, 61, 97) and result.seg_logits.data.isfinite().all()
    mid_layer, = segmentor.variant(image_encoder=dict(type='Proxy', guide=dict(type='CLIPGuide', layer=1))).predict([image])
    assert (mid_layer.seg_logits.data - result.seg_logits.data).abs().max() > 1e-3


def test_an_encoder_works_on_a_finer_grid_of_a_second_model():
    segmentor = build(TIMM)
    assert segmentor.tower.patch_size == (16, 16)
    features = segmentor.embed(torch.randn(2, 3, 48, 80))
    assert features.grid_size == (6, 10) and features.patches.shape[1] == 60
    result, = segmentor.predict([torch.randn(3, 61, 97)])
    assert result.seg_logits.data.shape == (3, 61, 97)


def test_a_guide_sees_rgb_whatever_the_data_preprocessor_does():
    windows = torch.rand(2, 3, 32, 48)
    seen = []
    for cfg in (None, dict(type='OVSegDataPreProcessor', mean=[13, 17, 19], std=[29, 31, 37])):
        segmentor = build('Colours', data_preprocessor=cfg)
        images = (windows - segmentor.mean) / segmentor.std
        seen.append(WindowBatch(images, segmentor.mean, segmentor.std, segmentor.networks).guide(Colours()).patches)
    expected = torch.stack([torch.stack([window[:, y:y + 16, x:x + 16].mean(dim=(1, 2)) for y in (0, 16) for x in (0, 16, 32)])
                            for window in windows])
    for patches in seen:
        torch.testing.assert_close(patches, expected, atol=1e-5, rtol=1e-4)


def test_equal_guides_are_loaded_once_for_all_models_of_a_clip():
    segmentor = build('Colours')
    same = segmentor.variant(decoder=dict(logit_scale=30))
    equal = segmentor.variant(image_encoder=dict(type='Proxy', guide=dict(type='Colours', scale=1.0)))
    other = segmentor.variant(image_encoder=dict(type='Proxy', guide=dict(type='Colours', scale=2.0)))
    back = other.variant(image_encoder=dict(type='Proxy', guide='Colours'))
    assert [guide.scale for guide in Colours.loaded] == [1.0, 2.0]
    first, = segmentor.guide_networks
    assert all(model.guide_networks[0] is first for model in (same, equal, back)) and other.guide_networks[0] is not first
    build('Colours')  # of a CLIP of its own
    assert len(Colours.loaded) == 3


def test_equal_guides_run_once_per_batch():
    network = Counting()
    networks = {Colours(): network, Colours(2.0): network}
    batch = WindowBatch(torch.randn(2, 3, 32, 48), torch.zeros(3, 1, 1), torch.ones(3, 1, 1), networks)
    first, second = batch.guide(Colours()), batch.guide(Colours(1.0))
    assert first is second and network.runs == 1
    assert torch.equal(batch.guide(Colours(2.0)).patches, 2 * first.patches) and network.runs == 2
    assert len(batch) == 2


def test_a_guide_that_no_component_declares_is_named():
    batch = WindowBatch(torch.randn(2, 3, 32, 48), torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    with pytest.raises(ValueError, match=r'CLIPGuide\(layer=2.* has no network here: it must be the attribute guide'):
        batch.guide(CLIPGuide(2))


def test_copies_and_pickles_have_networks_of_their_own():
    segmentor, images = build('Colours'), torch.randn(1, 3, 32, 48)
    expected = segmentor.embed(images).patches
    for other in (copy.deepcopy(segmentor), pickle.loads(pickle.dumps(segmentor))):  # noqa: S301
        assert other.networks[Colours()] is other.guide_networks[0] is not segmentor.guide_networks[0]
        segmentor.guide_networks[0].weight.data.mul_(-3)
        assert torch.equal(other.embed(images).patches, expected)
        segmentor.guide_networks[0].weight.data.fill_(1)


def test_networks_are_part_of_the_model():
    segmentor = build('Colours')
    assert 'guide_networks.0.weight' in segmentor.state_dict()
    assert not list(build('CLIPGuide').guide_networks)  # the tower is part of the model once
    segmentor.double()
    assert segmentor.networks[Colours()].weight.dtype == torch.float64


def test_memory_for_automatic_batches_counts_the_guide(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (10 ** 8, 10 ** 8))
    monkeypatch.setattr(torch.cuda, 'memory_reserved', lambda device: 0)
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: 0)

    class Batch(SimpleNamespace):
        def __getitem__(self, index):
            return torch.empty(3, 64, 64)
    windows = [Batch(shape=(1, 3, 64, 64), device=torch.device('cuda', 0))]
    plain, guided = (build(guide, windows=dict(**WINDOWS, batch_size='auto')) for guide in ('CLIPGuide', TIMM))
    monkeypatch.setattr(TimmGuide, 'bytes_per_window', lambda self, size: 10 ** 6 * (size == (64, 64)))
    alone = plain.windows_per_pass(windows)
    assert guided.windows_per_pass(windows) == int(10 ** 8 / 2 / (10 ** 8 / 2 / alone + 10 ** 6)) < alone // 2


def test_small_images_are_padded_to_a_multiple_of_both_patches(monkeypatch):
    segmentor = build({**TIMM, 'model': 'vit_small_patch14_dinov2.lvd142m'}, windows=dict(crop=112, stride=56))
    sizes = []
    embed = segmentor.embed
    monkeypatch.setattr(segmentor, 'embed', lambda windows: sizes.append(tuple(windows.images.shape[2:])) or embed(windows))
    for image in (torch.randn(3, 113, 17), torch.randn(3, 61, 1)):
        result, = segmentor.predict([image])
        assert result.pred_sem_seg.data.shape == (1, *image.shape[1:])
    assert sizes == [(112, 112), (112, 112)]


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_weights(monkeypatch):
    """Reading weights fails."""
    def fail(name, pretrained):
        raise AssertionError('weights are read')
    monkeypatch.setattr(loading, 'load_clip', fail)
    monkeypatch.setattr(TimmGuide, 'load', None)


DINOV2 = {**TIMM, 'model': 'vit_small_patch14_dinov2.lvd142m'}


@pytest.mark.usefixtures('no_weights')
@pytest.mark.parametrize(('guide', 'windows', 'message'), [
    (DINOV2, dict(crop=61, stride=48),
     'its patch of 14 pixels does not fit windows of 64 pixels (windows.crop=61, patches of the CLIP 16)'),
    ({**TIMM, 'model_cfg': dict(patch_size=3)}, WINDOWS, 'patch of 3'),
    (TIMM, dict(crop=61, stride=48, pad_mode='none'), 'its patch of 8 pixels does not fit windows of 61 pixels'),
    (dict(type='CLIPGuide', layer=99), WINDOWS, 'CLIPGuide layer=99 must be an integer from 1 to'),
    ({**TIMM, 'features': 'keys'}, WINDOWS, "TimmGuide features='keys' is unknown"),
    ({**TIMM, 'layer': 3}, WINDOWS, "image_encoder.guide (TimmGuide) has no key 'layer'"),
    (dict(type='DINO'), WINDOWS, "image_encoder.guide.type='DINO' is unknown; known: CLIPGuide, Colours, TimmGuide"),
    (3, WINDOWS, 'image_encoder.guide=3 must be a dict with a type')], ids=str)
def test_guides_that_cannot_be_are_refused_before_weights_are_read(guide, windows, message):
    with pytest.raises(ValueError) as caught:
        build(guide, windows=windows)
    assert message in str(caught.value)


@pytest.mark.usefixtures('no_weights')
@pytest.mark.parametrize('crop', [97, 112, 224])
def test_windows_that_are_padded_to_a_multiple_of_both_patches_are_taken(crop):
    with pytest.raises(AssertionError, match='weights are read'):
        build(DINOV2, windows=dict(crop=crop, stride=48))


@pytest.mark.parametrize('pad_mode', ['center', 'none'])
def test_windows_of_whole_images_are_padded_or_refused_when_they_come(pad_mode):
    segmentor = build(TIMM, windows=dict(crop=0, pad_mode=pad_mode))
    image = torch.randn(3, 61, 97)
    if pad_mode == 'center':
        assert segmentor.predict([image])[0].pred_sem_seg.data.shape == (1, 61, 97)
    else:
        with pytest.raises(ValueError, match="windows of 61 x 97 pixels are no multiple of the guide's patch of 8 x 8"):
            segmentor.predict([image])


def test_a_guide_that_is_built_is_taken():
    guide = CLIPGuide(2)
    assert build(guide).image_encoder.guide is guide
    assert build_guide('image_encoder.guide', CLIPGuide) == CLIPGuide()


# ---- other users -----------------------------------------------------------------------------------------------------


def test_a_shared_encoder_has_the_guide():
    encoder = Proxy('Colours')
    assert SharedEncoder(encoder, False).guide is encoder.guide


def test_a_token_classifier_runs_the_guide():
    classifier = TokenClassifier(CLIP, 3, dict(one={}), image_encoder=dict(type='Proxy', guide='Colours'))
    logits = classifier([torch.randn(3, 32, 48)])
    assert logits['one'].shape[-1] == 3 and classifier.guide_networks[0].runs == 1
    with pytest.raises(ValueError, match='CLIPGuide layer=99'):
        TokenClassifier(load_clip(**CLIP), 3, dict(one={}), image_encoder=Proxy(CLIPGuide(99)))


def test_the_patch_of_all_guides_and_the_clip():
    guides = [SimpleNamespace(patch_size=size) for size in ((6, 14), None, (5, 7))]
    assert common_patch_size((4, 21), guides) == (60, 42) and common_patch_size((3, 7), []) == (3, 7)
