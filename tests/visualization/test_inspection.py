import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from sklearn.cluster import DBSCAN
from torch.nn import functional as F

from ovseg.inference.windows import window_starts
from ovseg.models import CLIPSegmentor
from ovseg.models.post_processors import CTD, GlobalDebias, OutlierSuppression
from ovseg.visualization.inspection import AS_CONFIGURED, WindowInspection, class_scores, predicted_labels
from tests.settings import components

CROP, STRIDE, PATCH = 67, 41, 16  # a window is padded to 80 pixels, 5 x 5 patches
SIZE, ORI = (89, 131), (178, 393)
POINTS = [(100, 200), (60, 170)]
NAMES = ['red panda', 'grass, lawn', 'sea']
FULL = dict(apply_similarity_enhancement=True, similarity_enhancement_cfg=dict(similarity_weight=2.0, temperature=0.7),
            apply_outlier_suppression=True, outlier_suppression_cfg=dict(top_k=7), global_debias_factor=0.4, apply_ctd=True,
            ctd_cfg=dict(eps=0.6, min_samples=3))


@pytest.fixture(scope='module')
def build():
    """Factory of tiny segmentors with the same random weights each time."""
    def build_segmentor(**cfg):
        torch.manual_seed(7)
        defaults = dict(clip_model='ovseg-tiny-clip', pretrained=None, name_path=NAMES, prompt_templates=['a {}.'],
                        slide_crop=CROP, slide_stride=STRIDE)
        with DefaultScope.overwrite_default_scope('mmseg'):
            return CLIPSegmentor(**components(**{**defaults, **cfg}))
    return build_segmentor


@pytest.fixture(scope='module')
def segmentor(build):
    return build(**FULL)


@pytest.fixture(scope='module')
def inputs():
    """An image, BGR, as the test pipeline leaves it: patches of one colour, and some noise."""
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (3, 4, 5)).repeat(30, 1).repeat(30, 2)[:, :SIZE[0], :SIZE[1]]
    return torch.from_numpy((colours + rng.integers(-20, 21, (3, *SIZE))).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope='module')
def inspection(segmentor, inputs):
    return WindowInspection(segmentor, inputs, POINTS, ORI)


def in_network(point):
    return [int((position + 0.5) * size / ori) for position, size, ori in zip(point, SIZE, ORI)]


def window_by_hand():
    """Top left corner of the window whose centre is nearest to the middle of the points, of those that hold all of them."""
    points = [in_network(point) for point in POINTS]
    middle = [(min(along) + max(along) + 1) / 2 for along in zip(*points)]
    holding = [(top, left) for top in window_starts(SIZE[0], CROP, STRIDE) for left in window_starts(SIZE[1], CROP, STRIDE)
               if all(top <= y < top + CROP and left <= x < left + CROP for y, x in points)]
    return min(holding, key=lambda corner: sum(abs(start + CROP / 2 - m) for start, m in zip(corner, middle)))


def normalised_window(segmentor, inputs):
    """``(1, 3, 80, 80)``: cut out, normalised, padded by hand."""
    top, left = window_by_hand()
    rgb = inputs[[2, 1, 0], top:top + CROP, left:left + CROP].float()
    mean, std = (value.view(3, 1, 1) for value in (segmentor.data_preprocessor.mean, segmentor.data_preprocessor.std))
    return F.pad((rgb - mean) / std, (6, 7, 6, 7))[None]


@torch.no_grad()
def last_block_by_hand(segmentor, window):
    """q, k, v of the last block, ``(H, T, d)`` arrays, and the patches after block L // 2, from open_clip's own blocks."""
    x, _ = segmentor.tower.embed(window)
    blocks = segmentor.tower.visual.transformer.resblocks
    for index, block in enumerate(blocks[:-1]):
        x = block(x)
        if index + 1 == len(blocks) // 2:
            middle = x[0, 1:].double().numpy()
    y = blocks[-1].ln_1(x)[0].double().numpy()
    attention = blocks[-1].attn
    weight, bias = attention.in_proj_weight.double().numpy(), attention.in_proj_bias.double().numpy()
    width, heads = y.shape[1], attention.num_heads
    parts = [y @ weight[i * width:(i + 1) * width].T + bias[i * width:(i + 1) * width] for i in range(3)]
    return [part.reshape(len(y), heads, -1).transpose(1, 0, 2) for part in parts], middle


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def product(a, b):
    return a @ b.transpose(0, 2, 1) / a.shape[-1] ** 0.5


def similarity_by_hand(middle, temperature):
    unit = middle / np.linalg.norm(middle, axis=1, keepdims=True)
    return unit @ unit.T / temperature


def test_the_window_is_the_most_central_one_that_holds_the_points(inspection, inputs):
    top, left = window_by_hand()
    assert (top, left) != (0, 0)
    expected = np.zeros((80, 80, 3), np.uint8)
    for y, x in np.ndindex(CROP, CROP):
        expected[y + 6, x + 6] = inputs[:, top + y, left + x].numpy()[::-1]
    assert np.array_equal(inspection.image, expected) and inspection.grid_size == (5, 5)
    for point, (row, column) in zip(POINTS, inspection.patches):
        y, x = in_network(point)
        assert PATCH * row <= y - top + 6 < PATCH * (row + 1) and PATCH * column <= x - left + 6 < PATCH * (column + 1)


def test_attention_is_that_of_numpy(segmentor, inspection, inputs):
    (q, k, v), middle = last_block_by_hand(segmentor, normalised_window(segmentor, inputs))
    bias = np.pad(2.0 * similarity_by_hand(middle, 0.7), ((1, 0), (1, 0)))
    expected = {
        'Vanilla': softmax(product(q, k)), 'SegEarth': sum(softmax(product(x, x)) for x in (q, k, v)) / 3,
        'MaskCLIP': np.eye(26)[None],
        AS_CONFIGURED: softmax(product(k, k) / (1 + np.exp(-product(q, q))) + bias)}
    found = inspection.attention(['Vanilla', 'SegEarth', 'MaskCLIP'])
    assert list(found) == list(expected)
    for name, weights in expected.items():
        mean = weights.mean(axis=0)
        for index, (row, column) in enumerate(inspection.patches):
            patch = mean[1 + 5 * row + column, 1:].reshape(5, 5)
            np.testing.assert_allclose(found[name][index], patch, atol=1e-6, rtol=1e-4)


def test_attention_knows_names_in_any_case(inspection):
    assert list(inspection.attention(['naclip'])) == ['naclip', AS_CONFIGURED]
    with pytest.raises(ValueError, match=r"attention type='NACLP' is unknown; known: ClearCLIP"):
        inspection.attention(['NACLP'])


@pytest.mark.parametrize(('cfg', 'temperature'), [(FULL, 0.7), ({}, 1.0)], ids=['on', 'off'])
def test_similarity_is_that_of_numpy(build, inputs, cfg, temperature):
    segmentor = build(**cfg)
    inspection = WindowInspection(segmentor, inputs, POINTS, ORI)
    _, middle = last_block_by_hand(segmentor, normalised_window(segmentor, inputs))
    expected = similarity_by_hand(middle, temperature)
    for found, (row, column) in zip(inspection.similarity(), inspection.patches):
        np.testing.assert_allclose(found, expected[5 * row + column].reshape(5, 5), atol=1e-5)


@pytest.mark.parametrize(('cfg', 'top_k'), [(FULL, 7), ({}, 30)], ids=['on', 'off'])
def test_outliers_are_those_of_numpy(build, inputs, cfg, top_k):
    segmentor = build(**cfg)
    scores, replaced, detector = WindowInspection(segmentor, inputs, POINTS, ORI).outliers()
    (q, k, _), _ = last_block_by_hand(segmentor, normalised_window(segmentor, inputs))
    attn = softmax(product(q, k)).mean(axis=0)
    expected = np.array([attn[0, 1 + i] / (attn[1 + i, 1 + i] + 1e-8) for i in range(25)])
    np.testing.assert_allclose(scores.ravel(), expected, rtol=1e-4)
    assert detector == 'cls_ratio'
    assert set(replaced.ravel().nonzero()[0]) == set((-expected).argsort()[:top_k])


def test_the_detector_is_named(build, inputs):
    segmentor = build(apply_outlier_suppression=True, outlier_suppression_cfg=dict(detector='norm', top_k=2))
    scores, replaced, detector = WindowInspection(segmentor, inputs, POINTS, ORI).outliers()
    tokens = segmentor.tokens(normalised_window(segmentor, inputs)).patches[0]
    np.testing.assert_allclose(scores.ravel(), np.linalg.norm(tokens.numpy(), axis=1), rtol=1e-4)
    assert detector == 'norm' and replaced.sum() == 2


def patches_and_cls(segmentor, window):
    features = segmentor.extract_feat(window)
    return features.patches[0].double().numpy(), features.cls_token[0].double().numpy()


def cosines(patches, cls_token):
    return patches @ cls_token / np.linalg.norm(patches, axis=1) / np.linalg.norm(cls_token)


def test_clusters_are_those_of_scikit_learn(build, segmentor, inspection, inputs):
    before, _ = patches_and_cls(build(**{**FULL, 'apply_ctd': False}), normalised_window(segmentor, inputs))
    unit = before / np.linalg.norm(before, axis=1, keepdims=True)
    expected = DBSCAN(eps=0.6, min_samples=3).fit(unit)
    found = inspection.clusters().ravel()
    assert len(set(expected.labels_)) > 2
    core = expected.core_sample_indices_
    assert np.array_equal(found[core][:, None] == found[core], expected.labels_[core][:, None] == expected.labels_[core])
    assert np.array_equal(found < 0, expected.labels_ < 0)


def test_cls_similarity_is_before_and_after_debiasing_alone(build, segmentor, inspection, inputs):
    window = normalised_window(segmentor, inputs)
    for found, factor in zip(inspection.cls_similarity(), (0, 0.4)):
        expected = cosines(*patches_and_cls(build(**{**FULL, 'apply_ctd': False, 'global_debias_factor': factor}), window))
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)


def test_modules_that_are_off_are_shown_with_their_defaults(build, inputs):
    segmentor = build()
    inspection = WindowInspection(segmentor, inputs, POINTS, ORI)
    patches, cls_token = patches_and_cls(segmentor, normalised_window(segmentor, inputs))
    before = cosines(patches, cls_token)
    found = inspection.cls_similarity()
    np.testing.assert_allclose(found[0].ravel(), before, atol=1e-5)
    np.testing.assert_allclose(found[1].ravel(), cosines(patches - 0.2 * before[:, None] * cls_token, cls_token), atol=1e-5)
    unit = patches / np.linalg.norm(patches, axis=1, keepdims=True)
    assert np.array_equal(inspection.clusters().ravel() < 0, DBSCAN(eps=1.1, min_samples=11).fit(unit).labels_ < 0)
    assert not any(inspection.is_on(kind) for kind in (CTD, GlobalDebias, OutlierSuppression))


def test_the_model_is_left_as_it_was(segmentor, inputs):
    encoder = segmentor.image_encoder
    before = encoder.attend, encoder.similarity, encoder.__dict__.keys()
    window = normalised_window(segmentor, inputs)
    expected = segmentor.extract_feat(window).patches
    WindowInspection(segmentor, inputs, POINTS, ORI)
    assert (encoder.attend, encoder.similarity, encoder.__dict__.keys()) == before
    assert torch.equal(segmentor.extract_feat(window).patches, expected)


@pytest.mark.parametrize(('slide_crop', 'pad_mode', 'shape'), [(0, 'center', (96, 144, 3)), (0, 'none', (80, 128, 3)),
                                                               (CROP, 'none', (64, 64, 3))])
def test_the_image_lies_exactly_under_the_patches(build, inputs, slide_crop, pad_mode, shape):
    segmentor = build(slide_crop=slide_crop, slide_stride=41 if slide_crop else 1, pad_mode=pad_mode)
    inspection = WindowInspection(segmentor, inputs, [(100, 200)], ORI)
    assert inspection.image.shape == shape and inspection.grid_size == (shape[0] // 16, shape[1] // 16)
    assert inspection.outliers()[0].shape == inspection.grid_size


def test_the_middle_of_an_enlarged_image_is_in_the_middle_patch(build, inputs):
    assert WindowInspection(build(slide_crop=0), inputs, [(2, 3)], (5, 7)).patches == [(2, 4)]  # of 6 x 9


@pytest.mark.parametrize('point', [(-1, 0), (178, 0), (0, 393)])
def test_a_point_outside_the_image_is_refused(segmentor, inputs, point):
    with pytest.raises(ValueError, match=f'the point {point[0]},{point[1]} .* 178 rows and 393 columns'):
        WindowInspection(segmentor, inputs, [(5, 5), point], ORI)


def test_points_that_no_window_holds_are_refused(build, segmentor, inputs):
    with pytest.raises(ValueError, match=r'a window takes 134 x 201 pixels.*model\.windows\.crop=0'):
        WindowInspection(segmentor, inputs, [(5, 5), (5, 390)], ORI)
    assert WindowInspection(build(slide_crop=0), inputs, [(5, 5), (5, 390)], ORI).patches == [(0, 0), (0, 8)]


def dense_by_hand(segmentor, inputs, size):
    """Scores of all names: windows upsampled, summed, divided by their count, resized."""
    image = segmentor.data_preprocessor(dict(inputs=[inputs]))['inputs'][0]
    total, count = torch.zeros(1, len(segmentor.vocabulary.all_names), *SIZE), torch.zeros(SIZE)
    for top in window_starts(SIZE[0], CROP, STRIDE):
        for left in window_starts(SIZE[1], CROP, STRIDE):
            here = slice(top, top + CROP), slice(left, left + CROP)
            patches = segmentor.extract_feat(F.pad(image[(slice(None), *here)], (6, 7, 6, 7))[None]).patches
            scores = F.normalize(patches, dim=-1)[0] @ segmentor.text_embeddings.t()
            dense = F.interpolate(scores.t().reshape(1, -1, 5, 5), size=(80, 80), mode='bilinear')
            total[(slice(None), slice(None), *here)] += dense[..., 6:-7, 6:-7]
            count[here] += 1
    return F.interpolate(total / count, size=size, mode='bilinear')[0]


@torch.no_grad()
def test_scores_are_those_of_a_loop_and_decide_the_labels(segmentor, inputs):
    red, grass, lawn, sea = dense_by_hand(segmentor, inputs, ORI)
    expected = torch.stack([red, torch.maximum(grass, lawn), sea]).numpy()
    found = class_scores(segmentor, inputs, ORI, [2, 0, 1])
    np.testing.assert_allclose(found, expected[[2, 0, 1]], atol=1e-5)
    labels = predicted_labels(segmentor, inputs, ORI)
    assert labels.shape == ORI
    assert (labels == expected.argmax(axis=0)).mean() > 0.999 and len(np.unique(labels)) > 1
    assert class_scores(segmentor, inputs, (17, 19), [1]).shape == (1, 17, 19)


def test_scores_are_refined_as_labels_are(build, inputs):
    segmentor = build(**FULL, refine=dict(type='PAMR', num_iter=2))
    scores = class_scores(segmentor, inputs, SIZE, [0, 1, 2])
    assert not np.allclose(scores, class_scores(build(**FULL), inputs, SIZE, [0, 1, 2]), atol=1e-3)
    assert np.array_equal(scores.argmax(axis=0), predicted_labels(segmentor, inputs, SIZE))


def test_labels_that_are_not_finite_are_refused_and_explained(build, inputs):
    broken = build()
    with torch.no_grad():
        broken.tower.visual.proj[3, 5] = torch.nan
    with pytest.raises(FloatingPointError, match=r'^the image: the weight visual\.proj of the image tower is not finite$'):
        predicted_labels(broken, inputs, ORI)
