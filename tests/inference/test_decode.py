import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transformer import QuickGELU, VisionTransformer
from torch.nn import functional as F

from ovseg.inference import decode
from ovseg.inference.decode import (
    _first_max,
    axis_strips,
    best_texts,
    bilinear_taps,
    class_probabilities,
    label_map,
    merge_windows,
)
from ovseg.inference.windows import WindowLayout
from tests.bound_encoder import BoundEncoder

LOOPS = runpy.run_path(str(Path(__file__).parents[1] / 'window_loops.py'))
loop_merge = LOOPS['loop_merge']


def index_and_probability(*args, **options):
    best = best_texts(*args, **options)
    return best.index, best.probability()


@st.composite
def geometries(draw):
    patch = draw(st.sampled_from([(2, 2), (5, 5), (3, 7), (7, 2)]))
    pad_mode = draw(st.sampled_from(['center', 'none']))
    least = max(patch) if pad_mode == 'none' else 1
    size = draw(st.integers(least, 71)), draw(st.integers(least, 71))
    crop = draw(st.one_of(st.just(0), st.integers(max(least, 3), 59)))
    stride = draw(st.integers(-(-crop // 4), crop)) if crop else draw(st.integers(0, 5))
    return size, crop, stride, patch, pad_mode, (draw(st.integers(1, 61)), draw(st.integers(1, 61)))


@settings(max_examples=150, deadline=None)
@given(geometries(), st.integers(0, 2 ** 32 - 1))
def test_merge_equals_the_straightforward_loop(geometry, seed):
    size, crop, stride, patch, pad_mode, out_size = geometry
    layout = WindowLayout.plan(size, crop, stride, patch, pad_mode)
    scores = torch.randn(len(layout), layout.rows.cells * layout.cols.cells, 3, generator=torch.Generator().manual_seed(seed))
    merged = merge_windows(scores, layout, out_size)
    torch.testing.assert_close(merged, loop_merge(scores, *geometry), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('size', 'crop', 'stride', 'out_size'), [
    ((1, 1), 0, 0, (1, 1)), ((1, 1), 224, 112, (5, 7)), ((40, 3000), 224, 112, (40, 3000)), ((3000, 40), 0, 0, (53, 11)),
    ((337, 449), 224, 112, (500, 667)), ((337, 449), 224, 224, (101, 61)), ((449, 337), 0, 0, (449, 337))])
@pytest.mark.parametrize('patch', [(16, 16), (14, 14)])
def test_merge_of_usual_and_odd_images(size, crop, stride, out_size, patch):
    layout = WindowLayout.plan(size, crop, stride, patch)
    scores = torch.randn(len(layout), layout.rows.cells * layout.cols.cells, 2)
    expected = loop_merge(scores, size, crop, stride, patch, 'center', out_size)
    torch.testing.assert_close(merge_windows(scores, layout, out_size), expected, atol=1e-5, rtol=1e-5)


def test_equal_scores_stay_equal_under_any_overlap():
    layout = WindowLayout.plan((53, 101), 23, 11, (5, 7), 'center')
    merged = merge_windows(torch.full((len(layout), 5 * 4, 2), 0.37), layout, (61, 97))
    torch.testing.assert_close(merged, torch.full((2, 61, 97), 0.37))


def test_half_precision_scores_are_merged_in_float32():
    layout = WindowLayout.plan((23, 41), 13, 7, (5, 5), 'center')
    scores = torch.randn(len(layout), 9, 2).bfloat16()
    merged = merge_windows(scores, layout, (29, 31))
    assert merged.dtype == torch.float32
    expected = loop_merge(scores.float(), (23, 41), 13, 7, (5, 5), 'center', (29, 31))
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('size', 'out_size'), [(1, 5), (7, 3), (3, 7), (11, 11), (60013, 59999)])
def test_bilinear_taps_interpolate_along_one_axis(size, out_size):
    values = torch.randn(size).double()
    wanted = torch.arange(0, out_size, 1 + out_size // 50).flip(0)
    expected = torch.empty(len(wanted), dtype=torch.float64)
    for place, index in enumerate(wanted.tolist()):
        position = min(max((index + 0.5) * size / out_size - 0.5, 0), size - 1)
        low = int(position)
        high = min(low + 1, size - 1)
        expected[place] = values[low] + (position - low) * (values[high] - values[low])
    taps, weights = bilinear_taps(size, wanted, out_size)
    torch.testing.assert_close((values[taps] * weights).sum(1), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize('length', [1, 7, 640, 10 ** 6])
def test_strips_are_the_whole_matrix_whatever_their_length(length):
    layout = WindowLayout.plan((5, 97), 31, 17, (5, 5))
    cells = torch.eye(len(layout.cols.order)).unflatten(0, (len(layout), -1))
    expected = loop_merge(cells, (5, 97), 31, 17, (5, 5), 'center', (5, 101))[:, 0].t()[:, layout.cols.order]
    found = torch.zeros_like(expected)
    for outputs, band, operator in axis_strips(layout.cols, 101, length, torch.device('cpu')):
        assert operator[:, [0, -1]].any(dim=0).all()
        found[outputs, band] = operator
    torch.testing.assert_close(found, expected)


def test_strips_grow_with_the_side_not_with_its_square():
    def numbers(side):
        axis = WindowLayout.plan((1, side), 224, 112, (16, 16)).cols
        return sum(strip.operator.numel() for strip in axis_strips(axis, side, 640, torch.device('cpu')))

    assert numbers(16_000) < 2.1 * numbers(8_000) < 2.1 * 100 * 8_000


def loop_class_probabilities(scores, class_of_text, num_classes, logit_scale):
    queries, height, width = scores.shape
    probabilities = torch.zeros(num_classes, height, width)
    for y in range(height):
        for x in range(width):
            weights = [math.exp(logit_scale * scores[q, y, x].item()) for q in range(queries)]
            for q in range(queries):
                k = class_of_text[q]
                probabilities[k, y, x] = max(probabilities[k, y, x].item(), weights[q] / sum(weights))
    return probabilities


@pytest.mark.parametrize(('class_of_text', 'num_classes'), [
    ([0, 1, 2], 3),
    ([0, 0, 1, 2, 2, 2], 3),
    ([0, 0, 0, 0], 1),
], ids=['no synonyms', 'synonyms', 'one class'])
def test_class_probabilities_equal_the_loop(class_of_text, num_classes):
    scores = torch.randn(len(class_of_text), 5, 7)
    found = class_probabilities(scores, torch.tensor(class_of_text), num_classes, 3.7)
    torch.testing.assert_close(found, loop_class_probabilities(scores, class_of_text, num_classes, 3.7))


def test_a_class_takes_its_best_synonym_not_their_sum():
    scores = torch.tensor([0.3, 0.3, 0.5]).log().view(3, 1, 1)
    found = class_probabilities(scores, torch.tensor([0, 0, 1]), 2, 1.0)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, 0.5]) / 1.1)


def test_scores_are_left_as_they_were():
    scores = torch.randn(4, 3, 5)
    before = scores.clone()
    label_map(class_probabilities(scores, torch.tensor([0, 0, 1, 2]), 3, 40), 0.9, 1)
    assert torch.equal(scores, before)


@pytest.mark.parametrize(('prob_thd', 'bg_idx'), [(0.0, 0), (0.3, 0), (0.5, 2), (1.0, 1)])
def test_label_map_equals_the_loop(prob_thd, bg_idx):
    probabilities = torch.rand(5, 11, 13)
    expected = torch.empty(11, 13, dtype=torch.int64)
    for y in range(11):
        for x in range(13):
            best = max(range(5), key=lambda k: probabilities[k, y, x].item())
            expected[y, x] = bg_idx if probabilities[best, y, x] < prob_thd else best
    labels = label_map(probabilities, prob_thd, bg_idx)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, expected)


def test_a_probability_equal_to_the_threshold_keeps_its_label():
    assert label_map(torch.tensor([[[0.25]], [[0.5]]]), prob_thd=0.5).item() == 1
    assert label_map(torch.tensor([[[0.25]], [[0.5]]]), prob_thd=0.5001).item() == 0


@pytest.mark.parametrize(('area_thd', 'bg_idx'), [(0.0, 0), (0.1, 0), (0.3, 0), (0.25, 2), (1.0, 1)])
def test_small_classes_are_emptied_as_in_the_published_loop(area_thd, bg_idx):
    probabilities = torch.rand(5, 7, 11).mul(torch.tensor([1.0, 1.2, 0.9, 1.1, 1.0]).view(5, 1, 1))
    before = probabilities.clone()
    first = [[max(range(5), key=lambda k: before[k, y, x].item()) for x in range(11)] for y in range(7)]
    areas = [sum(row.count(k) for row in first) if k != bg_idx else 0 for k in range(5)]
    kept = [k == bg_idx or areas[k] > area_thd * sum(areas) for k in range(5)]
    expected = torch.empty(7, 11, dtype=torch.int64)
    for y in range(7):
        for x in range(11):
            weighted = [before[k, y, x].item() * kept[k] for k in range(5)]
            best = max(range(5), key=lambda k: weighted[k])
            expected[y, x] = bg_idx if weighted[best] < 0.4 else best
    assert torch.equal(label_map(probabilities, 0.4, bg_idx, area_thd), expected)
    assert torch.equal(probabilities, before)


@pytest.mark.parametrize('size', [(5, 12_011), (12_011, 5)])
def test_no_strip_of_a_thin_image_needs_all_cells(monkeypatch, size):
    strips = []

    def recorded(axis, out_size, length, device):
        strips.extend(axis_strips(axis, out_size, length, device))
        return axis_strips(axis, out_size, length, device)

    monkeypatch.setattr(decode, 'axis_strips', recorded)
    layout = WindowLayout.plan(size, 224, 112, (16, 16))
    patches = torch.randn(len(layout), layout.rows.cells * layout.cols.cells, 3)
    index_and_probability(patches, torch.randn(2, 3), layout, size)
    assert max(strip.operator.shape[1] for strip in strips) < 120


# ---- without all dense scores at once ----------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(geometries(), st.integers(1, 23), st.sampled_from([1e-6, 0.02, 0.05, 256]), st.integers(0, 2 ** 32 - 1))
def test_best_texts_equal_the_straightforward_loop(geometry, num_queries, memory_mb, seed):
    size, crop, stride, patch, pad_mode, out_size = geometry
    generator = torch.Generator().manual_seed(seed)
    layout = WindowLayout.plan(size, crop, stride, patch, pad_mode)
    patches = torch.randn(len(layout), layout.rows.cells * layout.cols.cells, 7, generator=generator)
    queries = torch.randn(num_queries, 7, generator=generator)
    dense = loop_merge(patches @ queries.t(), *geometry)
    index, probability = index_and_probability(patches, queries, layout, out_size, 3.7, True, memory_mb)
    assert index.dtype == torch.int64
    chosen = dense.gather(0, index.unsqueeze(0))[0]
    torch.testing.assert_close(chosen, dense.amax(0), atol=1e-4, rtol=1e-5)  # scores of up to 20: two may be equal to rounding
    torch.testing.assert_close(probability, (3.7 * dense).softmax(0).amax(0), atol=1e-4, rtol=1e-3)
    assert (index == dense.argmax(0)).float().mean() > 0.99 or (dense.topk(min(2, num_queries), 0)[0].diff(dim=0) > -1e-4).any()
    of_scores, of_score = index_and_probability(patches @ queries.t(), None, layout, out_size, 3.7, True, memory_mb)
    torch.testing.assert_close(dense.gather(0, of_scores.unsqueeze(0))[0], chosen, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(of_score, probability, atol=1e-4, rtol=1e-3)


def test_labels_of_a_large_vocabulary_equal_the_loop_on_all_but_rounding():
    equal = total = 0
    for seed, (size, out_size) in enumerate([((61, 97), (101, 89)), ((97, 53), (53, 103)), ((71, 71), (113, 107))]):
        generator = torch.Generator().manual_seed(seed)
        geometry = size, 31, 17, (5, 5), 'center', out_size
        layout = WindowLayout.plan(*geometry[:5])
        patches = F.normalize(torch.randn(len(layout), 49, 31, generator=generator), dim=-1)
        queries = F.normalize(torch.randn(211, 31, generator=generator), dim=-1)
        index, _ = index_and_probability(patches, queries, layout, out_size, memory_mb=0.5)
        equal += (index == loop_merge(patches @ queries.t(), *geometry).argmax(0)).sum().item()
        total += index.numel()
    assert equal >= 0.99999 * total - 1


@pytest.mark.parametrize('memory_mb', [1e-6, 0.03, 256])
def test_the_first_of_equal_queries_is_taken(memory_mb):
    layout = WindowLayout.plan((23, 41), 13, 7, (5, 5))
    patches, query = torch.randn(len(layout), 9, 3), torch.randn(1, 3)
    index, probability = index_and_probability(patches, query.expand(11, 3), layout, (29, 31), 2.0, True, memory_mb)
    assert not index.any()
    torch.testing.assert_close(probability, torch.full((29, 31), 1 / 11))


def test_the_first_maximum_is_found_whatever_the_numbers():
    dense = torch.randint(-2, 3, (7, 11, 13), generator=torch.Generator().manual_seed(0)).float()
    dense[:, :, :3] *= 1e-44  # so small that only denormal numbers lie between
    dense[:, :, 3:5] *= 1e38
    dense[2, 5, 6] = torch.nan
    scores, index = _first_max(dense)
    for r in range(7):
        for w in range(13):
            column = dense[r, :, w].tolist()
            if (r, w) == (2, 6):
                assert scores[r, w].isnan() and index[r, w] == 0
            else:
                assert scores[r, w] == max(column) and index[r, w] == column.index(max(column))


@pytest.mark.parametrize('memory_mb', [1e-6, 0.03, 256])
def test_refinement_sees_the_dense_scores_of_each_query(memory_mb):
    layout = WindowLayout.plan((23, 41), 13, 7, (5, 5))
    patches, queries = torch.randn(len(layout), 9, 3), torch.randn(7, 3)
    dense = merge_windows(patches @ queries.t(), layout, (29, 31))
    expected = dense.flip(-1) - dense.roll(3, dims=1)
    index, probability = index_and_probability(patches, queries, layout, (29, 31), 2.0, True, memory_mb,
                                               lambda scores: scores.flip(-1) - scores.roll(3, dims=1))
    assert torch.equal(index, expected.argmax(0))
    torch.testing.assert_close(probability, (2 * expected).softmax(0).amax(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_patches_are_scored_in_the_queries_precision(dtype):
    layout = WindowLayout.plan((23, 41), 13, 7, (5, 5))
    patches, queries = torch.randn(len(layout), 9, 3).to(dtype), torch.randn(7, 3)
    index, _ = index_and_probability(patches, queries, layout, (29, 31))
    assert torch.equal(index, index_and_probability(patches.float(), queries, layout, (29, 31))[0])


def test_patches_and_queries_are_left_alone_contiguous_or_not():
    layout = WindowLayout.plan((23, 41), 13, 7, (5, 5))
    patches, queries = torch.randn(3, 9, len(layout)).permute(2, 1, 0), torch.randn(3, 7).t()
    copies = patches.clone(), queries.clone()
    found = index_and_probability(patches, queries, layout, (29, 31), 2.0, True)
    assert torch.equal(patches, copies[0]) and torch.equal(queries, copies[1])
    for a, b in zip(found, index_and_probability(patches.contiguous(), queries.contiguous(), layout, (29, 31), 2.0, True)):
        assert torch.equal(a, b)


@pytest.fixture(scope='module')
def goldens(goldens_dir):
    return {name: dict(np.load(goldens_dir / f'{name}.npz')) for name in ('vit_state', 'inputs', 'expected')}


SEGMENTATIONS = [f'{arch}/crop{crop}-stride{stride}-thd{thd}' for arch in ('reduced-naclip', 'vanilla-vanilla')
                 for crop, stride in ((64, 32), (0, 0)) for thd in ('0.0', '0.3')]


def test_all_published_segmentations_are_checked(goldens):
    keys = [f'segment/naclip-repo/{name}/pred' for name in SEGMENTATIONS]
    assert sorted(keys) == sorted(key for key in goldens['expected'] if key.startswith('segment/') and key.endswith('/pred'))


@pytest.mark.parametrize('name', SEGMENTATIONS)
def test_labels_and_probabilities_of_the_published_code(goldens, name):
    inputs = {key: torch.from_numpy(value) for key, value in goldens['inputs'].items()}
    visual = VisionTransformer(64, 16, 128, 4, 2, 4.0, output_dim=64, act_layer=QuickGELU)
    visual.load_state_dict({key: torch.from_numpy(value) for key, value in goldens['vit_state'].items()})
    architecture, setting = name.split('/')
    encoder = BoundEncoder(visual, 'NACLIP' if architecture == 'reduced-naclip' else 'Vanilla',
                               ignore_residual=architecture == 'reduced-naclip')
    crop, stride, threshold = re.findall(r'[\d.]+', setting)
    image = inputs['segment_image'][0]
    layout = WindowLayout.plan(tuple(image.shape[1:]), int(crop), int(stride), (16, 16), 'none')
    with torch.no_grad():
        embeddings = encoder.project(encoder.tokens(layout.cut(image))).patches
    scores = F.normalize(embeddings, dim=-1) @ inputs['query_features'].t()
    dense = merge_windows(scores, layout, tuple(inputs['segment_ori_shape'].tolist()))
    probabilities = class_probabilities(dense, inputs['query_idx'], 7, 40)
    expected = {kind: goldens['expected'][f'segment/naclip-repo/{name}/{kind}'] for kind in ('pred', 'probs')}
    relative = (probabilities / probabilities.sum(0)).numpy()
    np.testing.assert_allclose(relative, expected['probs'], atol=1e-4, rtol=0)
    labels = label_map(probabilities, float(threshold), bg_idx=0).numpy()
    assert (labels == expected['pred'][0]).mean() >= 0.9999
    best = best_texts(F.normalize(embeddings, dim=-1), inputs['query_features'], layout, labels.shape, 40, True)
    query, probability = best.index, best.probability()
    streamed = inputs['query_idx'][query].masked_fill_(probability < float(threshold), 0).numpy()
    assert (streamed == expected['pred'][0]).mean() >= 0.9999
