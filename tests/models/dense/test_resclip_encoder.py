from types import SimpleNamespace

import pytest
import torch
from packaging.version import Version

from ovseg.models.attention.naclip import gaussian_window
from ovseg.models.class_texts import ClassTexts
from ovseg.models.dense import LastBlockEncoder, ResCLIPEncoder, WindowBatch
from ovseg.models.dense.last_block_encoder import original_attention
from ovseg.models.dense.resclip_encoder import neighbour_attention, run_with_map
from ovseg.models.towers import OpenCLIPTower
from tests.method_goldens import (
    SIZES,
    WINDOWS,
    arrays,
    assert_close_in_deviations,
    assert_same_labels,
    golden_segmentor,
    labels_of,
)

GRID = (3, 5)
SMALL = dict(rcs_layers=(2, 3))  # for a ViT of five blocks


class Recorded(ResCLIPEncoder):
    """Keeps the last result of ``modified_tokens``, which has the CLS token's row."""

    def modified_tokens(self, *args):
        self.seen = super().modified_tokens(*args)
        return self.seen


def batch_of(images, embeddings=None):
    texts = None if embeddings is None else ClassTexts(embeddings, torch.arange(len(embeddings)), len(embeddings))
    return WindowBatch(images, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), texts=texts)


def unit_rows(count, width=13):
    return torch.nn.functional.normalize(torch.randn(count, width), dim=-1)


@pytest.fixture
def tower(tiny_vit):
    return OpenCLIPTower(tiny_vit(GRID))


@pytest.mark.parametrize(('name', 'settings'), [
    ('resclip-repo', dict()), ('resclip-repo-rcs-only', dict(sfr_weights=None))])
@pytest.mark.parametrize('size', SIZES)
def test_features_are_those_of_the_released_code(size, name, settings):
    encoder = Recorded(**settings)
    segmentor, images = golden_segmentor('resclip', encoder), arrays('inputs')[f'image/{size}']
    expected = arrays('resclip')[f'features/{name}/{size}']
    assert_close_in_deviations(segmentor.embed(images).patches, expected[:, 1:])
    assert_close_in_deviations(segmentor.tower.project(encoder.seen), expected)
    assert_close_in_deviations(torch.cat([segmentor.embed(image.unsqueeze(0)).patches for image in images]), expected[:, 1:])


@pytest.mark.parametrize('batch_size', [1, 32])
@pytest.mark.parametrize('threshold', [0.0, 0.35])
def test_labels_are_those_of_the_released_code(threshold, batch_size):
    segmentor = golden_segmentor('resclip', 'ResCLIPEncoder', decoder=dict(prob_thd=threshold),
                                 windows=dict(WINDOWS, batch_size=batch_size))
    expected = arrays('resclip')[f'segment/resclip-repo/crop112-stride56-thd{threshold}/pred']
    assert len(expected.unique()) > 2
    assert_same_labels(labels_of(segmentor, images=2), expected.expand(2, -1, -1))


def test_maps_are_the_block_s_own_attention(tower):
    x, block = torch.randn(2, 16, 22), tower.blocks[1]
    output, weights = run_with_map(tower, block, x, GRID)
    torch.testing.assert_close(output, tower.run(block, x, GRID))
    torch.testing.assert_close(weights.mean(1), original_attention(*tower.qkv(block, x, GRID)[:2]))


@pytest.mark.parametrize('connections', [None, torch.rand(2, 15, 15)], ids=['none', 'some'])
def test_attention_equals_the_loop(connections):
    k, v = torch.randn(2, 3, 16, 11), torch.randn(2, 3, 16, 11)
    scale, share = (1.0, 0.0) if connections is None else (2.1, 0.7)
    found = neighbour_attention(k, v, GRID, 2.3, connections, (scale, share))
    for window in range(2):
        for head in range(3):
            logits = scale * (1 - share) * k[window, head] @ k[window, head].t() / 11 ** 0.5
            logits[1:, 1:] += gaussian_window(GRID, 2.3)
            if connections is not None:
                logits[1:, 1:] += scale * share * connections[window]
            torch.testing.assert_close(found[window, head], logits.softmax(-1) @ v[window, head])


def test_cls_token_and_attention_are_those_of_the_unmodified_clip(tower):
    batch = batch_of(torch.randn(2, 3, 21, 35), unit_rows(7))
    found = ResCLIPEncoder(**SMALL).tokens(tower, batch, with_attention=True)
    expected = LastBlockEncoder(cls_source='clip').tokens(tower, batch, with_attention=True)
    torch.testing.assert_close(found.cls_token, expected.cls_token)
    torch.testing.assert_close(found.attn, expected.attn)
    assert ResCLIPEncoder(**SMALL).tokens(tower, batch).attn is None


def test_the_feedback_reads_the_text_embeddings():
    segmentor, images = golden_segmentor('resclip', 'ResCLIPEncoder'), arrays('inputs')['image/112x112']
    first = segmentor.embed(images).patches
    segmentor.text_embeddings = segmentor.text_embeddings.roll(7, dims=1)
    assert segmentor.image_encoder.needs_texts and (first - segmentor.embed(images).patches).abs().max() > 0.01 * first.std()


def test_feedback_under_autocast(tower):
    batch = batch_of(torch.randn(2, 3, 21, 35), unit_rows(5))
    expected = ResCLIPEncoder(**SMALL).tokens(tower, batch).patches
    with torch.autocast('cpu', torch.bfloat16):
        found = ResCLIPEncoder(**SMALL).tokens(tower, batch).patches
    assert torch.nn.functional.cosine_similarity(found.float(), expected, dim=-1).median() > 0.95


def test_without_feedback_no_texts_are_read(tower):
    encoder = ResCLIPEncoder(sfr_weights=None, **SMALL)
    assert not encoder.needs_texts and encoder.tokens(tower, batch_of(torch.randn(2, 3, 21, 35))).patches.shape == (2, 15, 22)
    with pytest.raises(ValueError, match=r'no text embeddings.*sfr_weights=None'):
        ResCLIPEncoder(**SMALL).tokens(tower, batch_of(torch.randn(2, 3, 21, 35)))


def test_windows_do_not_depend_on_others_of_the_batch(tower):
    images, texts = torch.randn(3, 3, 23, 37) * torch.tensor([0.01, 1, 100]).view(3, 1, 1, 1), unit_rows(7)
    encoder = ResCLIPEncoder(temp_thd=0.2, **SMALL)
    alone = torch.cat([encoder.tokens(tower, batch_of(image.unsqueeze(0), texts)).patches for image in images])
    together = encoder.tokens(tower, batch_of(images.transpose(2, 3).contiguous().transpose(2, 3), texts)).patches
    assert_close_in_deviations(together, alone, 1e-5)
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize('precision', [
    pytest.param('fp16', marks=pytest.mark.skipif(Version(torch.__version__) < Version('2.3'),
                                                  reason='older torch has no float16 products on the CPU')), 'bf16'])
def test_half_precision_gives_nearly_the_same(precision):
    images = arrays('inputs')['image/112x112']
    full, half = (golden_segmentor('resclip', dict(type='ResCLIPEncoder', precision=name)).embed(images).patches.float()
                  for name in ('fp32', precision))
    assert torch.cosine_similarity(full, half, dim=-1).mean() > 0.99


@pytest.mark.parametrize(('settings', 'parts'), [
    (dict(temp_thd=1.5), ('image_encoder.temp_thd=1.5', '[0, 1]')),
    (dict(sfr_weights=2), ('image_encoder.sfr_weights=2', 'two')),
    (dict(sfr_weights=(0, 0.5)), ('image_encoder.sfr_weights[0]=0', 'positive')),
    (dict(rcs_weights=(2, 1.5)), ('image_encoder.rcs_weights[1]=1.5', '[0, 1]')),
    (dict(rcs_weights=None), ('image_encoder.rcs_weights=None',)),
    (dict(rcs_layers=(0, 3)), ('image_encoder.rcs_layers[0]=0',)),
    (dict(gaussian_std=0), ('image_encoder.gaussian_std=0', 'positive')),
    (dict(logit_scale='a'), ("image_encoder.logit_scale='a'",)), (dict(memory_mb=0), ('image_encoder.memory_mb=0',)),
    (dict(precision='fp8'), ("image_encoder.precision='fp8'", 'bf16'))], ids=str)
def test_bad_settings_are_refused(settings, parts):
    with pytest.raises(ValueError) as error:
        ResCLIPEncoder(**settings)
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize(('tower', 'message'), [
    (dict(has_cls=False, depth=12), 'ResCLIPEncoder needs a CLIP with a CLS token'),
    (dict(has_cls=True, depth=4), r'image_encoder.rcs_layers=9 .* from 1 to 3 \(the CLIP has 4 blocks\)')], ids=str)
def test_towers_that_do_not_fit_are_refused(tower, message):
    with pytest.raises(ValueError, match=message):
        ResCLIPEncoder().check(SimpleNamespace(**tower))
