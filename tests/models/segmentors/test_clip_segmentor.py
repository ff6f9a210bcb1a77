from dataclasses import replace

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from ovseg.models import CLIPSegmentor, DenseFeatures


def plain_text_embeddings(segmentor, names, templates):
    rows = []
    for name in names:
        total = 0
        for template in templates:
            embedding = segmentor.text_encoder.clip.encode_text(segmentor.text_encoder.tokenizer([template.format(name)]))[0]
            total = total + embedding / embedding.norm()
        rows.append(total / total.norm())
    return torch.stack(rows)


def plain_probabilities(patch_embeddings, image, queries, class_of_text, crop, stride, pad_mode, out_size, patch=16,
                        logit_scale=40):
    """One window at a time, on canvases: what the field's code does. ``patch_embeddings`` maps (3, h, w) to (N, E)."""
    height, width = image.shape[1:]
    crop_h, crop_w = (min(crop or side, side) for side in (height, width))
    rows, cols = (max(side - length + stride - 1, 0) // stride + 1 if crop else 1
                  for side, length in ((height, crop_h), (width, crop_w)))
    canvas, counts = torch.zeros(len(queries), height, width), torch.zeros(height, width)
    for row in range(rows):
        for col in range(cols):
            top, left = (min(index * stride + length, side) - length
                         for index, length, side in ((row, crop_h, height), (col, crop_w, width)))
            window = image[:, top:top + crop_h, left:left + crop_w]
            y, x = 0, 0
            if pad_mode == 'center':
                y, x = (-crop_h % patch) // 2, (-crop_w % patch) // 2
                window = F.pad(window, (x, -crop_w % patch - x, y, -crop_h % patch - y))
            h, w = window.shape[1] // patch, window.shape[2] // patch
            embeddings = patch_embeddings(window)
            scores = torch.stack([F.cosine_similarity(embeddings, query[None]) for query in queries]).view(1, -1, h, w)
            dense = F.interpolate(scores, size=window.shape[1:], mode='bilinear', align_corners=False)[0]
            canvas[:, top:top + crop_h, left:left + crop_w] += dense[:, y:y + crop_h, x:x + crop_w]
            counts[top:top + crop_h, left:left + crop_w] += 1
    dense = F.interpolate((canvas / counts)[None], size=out_size, mode='bilinear', align_corners=False)[0]
    probabilities = (dense * logit_scale).softmax(0)
    return torch.stack([probabilities[[q for q, k in enumerate(class_of_text) if k == index]].amax(0)
                        for index in range(max(class_of_text) + 1)])


def sample(**metainfo):
    return SegDataSample(metainfo=metainfo)


def probabilities_of(segmentor, image, **metainfo):
    result, = segmentor.predict([image], [sample(**metainfo)])
    return result.seg_logits.data


def pairs(first, second):
    assert len(first) == len(second)
    return zip(first, second)


def same_labels(found, expected):
    """Equal but for pixels whose two best classes differ by float noise."""
    return found.shape == expected.shape and (found == expected).float().mean() > 0.999


# ---- one image, many images ------------------------------------------------------------------------------------------


def test_a_batch_equals_each_image_alone(segmentor):
    batch = torch.randn(3, 3, 97, 131)
    for image, result in pairs(batch, segmentor.predict(batch)):
        alone, = segmentor.predict(image[None])
        torch.testing.assert_close(result.seg_logits.data, alone.seg_logits.data, atol=1e-5, rtol=1e-4)
        assert same_labels(result.pred_sem_seg.data, alone.pred_sem_seg.data)


def test_a_list_of_different_sizes_equals_each_image_alone(segmentor):
    images = [torch.randn(3, *size) for size in ((61, 97), (97, 61), (113, 127), (61, 97), (1, 1), (17, 5))]
    results = segmentor.predict(images)
    assert [tuple(result.pred_sem_seg.data.shape) for result in results] == [(1, *image.shape[1:]) for image in images]
    for image, result in pairs(images, results):
        alone, = segmentor.predict([image])
        torch.testing.assert_close(result.seg_logits.data, alone.seg_logits.data, atol=1e-5, rtol=1e-4)
        assert same_labels(result.pred_sem_seg.data, alone.pred_sem_seg.data)


def test_with_every_module_on_images_do_not_mix(build):
    segmentor = build(apply_similarity_enhancement=True, apply_self_attn_enhancement=True, apply_outlier_suppression=True,
                      outlier_suppression_cfg=dict(top_k=3), global_debias_factor=0.2, apply_ctd=True)
    images = [torch.randn(3, 61, 97), torch.randn(3, 97, 61)]
    for image, result in pairs(images, segmentor.predict(images)):
        alone = probabilities_of(segmentor, image)
        torch.testing.assert_close(result.seg_logits.data, alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('window_batch_size', [1, 2, 7, 1000])
def test_the_number_of_windows_per_pass_has_no_influence(segmentor, monkeypatch, window_batch_size):
    images = [torch.randn(3, 97, 131), torch.randn(3, 113, 71)]
    expected = segmentor.predict(images)
    sizes = []
    extract = segmentor.extract_feat
    monkeypatch.setattr(segmentor, 'embed', lambda windows: sizes.append(len(windows)) or extract(windows))
    monkeypatch.setattr(segmentor, 'windows', replace(segmentor.windows, batch_size=window_batch_size))
    for found, result in pairs(segmentor.predict(images), expected):
        torch.testing.assert_close(found.seg_logits.data, result.seg_logits.data, atol=1e-5, rtol=1e-4)
    assert max(sizes) <= window_batch_size
    assert sum(sizes) == 2 * 3 + 3 * 2


def test_a_non_contiguous_image_gives_the_same(segmentor):
    image = torch.randn(97, 71, 3).permute(2, 0, 1)
    assert not image.is_contiguous()
    torch.testing.assert_close(probabilities_of(segmentor, image), probabilities_of(segmentor, image.contiguous()))


@pytest.mark.parametrize('size', [(1, 1), (40, 3000), (3000, 40), (1, 97)])
def test_tiny_and_long_images(segmentor, size):
    result, = segmentor.predict([torch.randn(3, *size)])
    assert result.pred_sem_seg.data.shape == (1, *size)
    assert result.seg_logits.data.isfinite().all()


def test_images_are_left_alone(segmentor):
    image = torch.randn(3, 71, 97)
    before = image.clone()
    segmentor.predict([image])
    assert torch.equal(image, before)


# ---- the whole pipeline against a plain one --------------------------------------------------------------------------


@pytest.mark.parametrize(('cfg', 'size', 'out_size'), [
    (dict(), (97, 131), (89, 149)),
    (dict(slide_crop=0), (97, 131), (97, 131)),
    (dict(slide_crop=0, slide_stride=0), (40, 33), (79, 31)),
    (dict(slide_crop=64, slide_stride=64, pad_mode='none'), (97, 131), (101, 103)),
    (dict(slide_crop=67, slide_stride=41, pad_mode='none'), (97, 131), (53, 61)),
    (dict(slide_crop=67, slide_stride=67, pad_mode='center', logit_scale=3.7), (53, 201), (53, 201)),
    (dict(model_type='NACLIP', attention_cfg=dict(gaussian_std=3.)), (97, 73), (97, 73)),
    (dict(model_type='sclip', ignore_residual=False), (97, 73), (97, 73)),
    (dict(model_type='Gated', apply_similarity_enhancement=True), (97, 73), (97, 73)),
], ids=str)
def test_probabilities_equal_a_plain_pipeline(build, cfg, size, out_size):
    segmentor = build(**cfg)
    image = torch.randn(3, *size)
    queries = plain_text_embeddings(segmentor, ['red panda', 'grass', 'lawn', 'sea'], ['a {}.', 'my {}!'])
    setting = {**dict(slide_crop=67, slide_stride=41, pad_mode='center', logit_scale=40), **cfg}
    expected = plain_probabilities(lambda window: segmentor.extract_feat(window[None]).patches[0], image, queries, [0, 1, 1, 2],
                                   setting['slide_crop'], setting['slide_stride'], setting['pad_mode'], out_size,
                                   logit_scale=setting['logit_scale'])
    result, = segmentor.predict([image], [sample(ori_shape=out_size)])
    torch.testing.assert_close(result.seg_logits.data, expected, atol=1e-4, rtol=1e-3)
    assert same_labels(result.pred_sem_seg.data[0], expected.argmax(0))


def test_the_vanilla_switches_equal_open_clip_itself(build):
    segmentor = build(model_type='Vanilla', ignore_residual=False, slide_crop=224, slide_stride=112)
    visual = segmentor.tower.visual
    visual.output_tokens = True
    image = torch.randn(3, 251, 307)
    queries = plain_text_embeddings(segmentor, ['red panda', 'grass', 'lawn', 'sea'], ['a {}.', 'my {}!'])
    expected = plain_probabilities(lambda window: visual(window[None])[1][0] @ visual.proj, image, queries, [0, 1, 1, 2],
                                   224, 112, 'center', (251, 307))
    torch.testing.assert_close(probabilities_of(segmentor, image), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('switch', [
    dict(model_type='NACLIP'), dict(ignore_residual=False), dict(apply_similarity_enhancement=True), dict(slide_crop=0),
    dict(slide_stride=67), dict(pad_mode='none'), dict(logit_scale=4), dict(prompt_templates='plain'),
    dict(model_type='NACLIP', attention_cfg=dict(gaussian_std=0.5)), dict(apply_outlier_suppression=True),
    dict(global_debias_factor=0.5), dict(apply_ctd=True, ctd_cfg=dict(eps=1.7)),
    dict(global_debias_factor=0.5, cls_source='last_block'),
    dict(apply_similarity_enhancement=True, similarity_enhancement_cfg=dict(similarity_weight=7.))], ids=str)
def test_every_switch_has_an_effect(build, segmentor, switch):
    image = torch.randn(3, 97, 131)
    assert (probabilities_of(segmentor, image) - probabilities_of(build(**switch), image)).abs().max() > 1e-3


# ---- metadata --------------------------------------------------------------------------------------------------------


def test_without_samples_labels_have_input_size(segmentor):
    results = segmentor.predict(torch.randn(2, 3, 71, 53))
    assert all(isinstance(result, SegDataSample) for result in results)
    assert [tuple(result.pred_sem_seg.data.shape) for result in results] == [(1, 71, 53)] * 2
    assert results[0].pred_sem_seg.data.dtype == torch.int64


def test_samples_without_an_original_shape_have_input_size(segmentor):
    result, = segmentor.predict([torch.randn(3, 71, 53)], [sample(img_path='a.png')])
    assert result.pred_sem_seg.data.shape == (1, 71, 53)


def test_labels_have_the_original_shape_of_each_image(segmentor):
    samples = [sample(ori_shape=(29, 113), img_path='a.png'), sample(ori_shape=(101, 7, 3), img_path='b.png')]
    results = segmentor.predict([torch.randn(3, 71, 53), torch.randn(3, 41, 43)], samples)
    assert [tuple(result.pred_sem_seg.data.shape) for result in results] == [(1, 29, 113), (1, 101, 7)]
    assert [tuple(result.seg_logits.data.shape) for result in results] == [(3, 29, 113), (3, 101, 7)]
    assert [result.img_path for result in results] == ['a.png', 'b.png']


@pytest.mark.parametrize(('direction', 'axes'), [('horizontal', (1,)), ('vertical', (0,)), ('diagonal', (0, 1))])
def test_a_mirrored_image_is_mirrored_back(segmentor, direction, axes):
    image = torch.randn(3, 71, 53)
    plain, = segmentor.predict([image], [sample(ori_shape=(61, 67))])
    flipped, = segmentor.predict([image], [sample(ori_shape=(61, 67), flip=True, flip_direction=direction)])
    expected = torch.flip(plain.pred_sem_seg.data[0], axes)
    assert torch.equal(flipped.pred_sem_seg.data[0], expected)
    assert not torch.equal(flipped.pred_sem_seg.data, plain.pred_sem_seg.data)
    torch.testing.assert_close(flipped.seg_logits.data, plain.seg_logits.data.flip([axis + 1 for axis in axes]))


def test_an_image_that_was_not_mirrored_is_left_alone(segmentor):
    image = torch.randn(3, 71, 53)
    plain, = segmentor.predict([image])
    kept, = segmentor.predict([image], [sample(flip=False, flip_direction='horizontal')])
    assert torch.equal(kept.pred_sem_seg.data, plain.pred_sem_seg.data)


# ---- probabilities to labels -----------------------------------------------------------------------------------------


def test_class_probabilities_come_on_demand(build, segmentor):
    image = torch.randn(3, 71, 53)
    result, = segmentor.predict([image])
    assert torch.equal(result.seg_logits.data.argmax(0, keepdim=True), result.pred_sem_seg.data)
    silent, = build(with_seg_logits=False).predict([image])
    assert 'seg_logits' not in silent
    assert torch.equal(silent.pred_sem_seg.data, result.pred_sem_seg.data)


def test_probabilities_sum_to_one_without_synonyms(build):
    total = probabilities_of(build(name_path=['cat', 'dog', 'sea']), torch.randn(3, 71, 53)).sum(0)
    torch.testing.assert_close(total, torch.ones(71, 53))


@pytest.mark.parametrize('bg_idx', [0, 2])
def test_uncertain_pixels_become_background(build, segmentor, bg_idx):
    image = torch.randn(3, 97, 131)
    best, labels = probabilities_of(segmentor, image).max(0)
    threshold = best.median().item()
    result, = build(prob_thd=threshold, bg_idx=bg_idx).predict([image])
    expected = torch.where(best < threshold, torch.full_like(labels, bg_idx), labels)
    assert same_labels(result.pred_sem_seg.data[0], expected)
    assert not same_labels(expected, labels)


def test_a_threshold_of_one_leaves_only_background(build):
    result, = build(prob_thd=1.0, bg_idx=1).predict([torch.randn(3, 71, 53)])
    assert (result.pred_sem_seg.data == 1).all()


def test_a_synonym_can_only_raise_its_class_against_the_rest(build):
    image = torch.randn(3, 71, 53)
    one, both = (probabilities_of(build(name_path=names), image) for names in (['cat', 'dog'], ['cat, lynx', 'dog']))
    assert ((both[0] / both[1]) >= (one[0] / one[1]) * (1 - 1e-4)).all()
    assert (both[0] / both[1] > 1.001 * one[0] / one[1]).any()


# ---- vocabulary ------------------------------------------------------------------------------------------------------


def test_names_and_their_classes(segmentor):
    assert segmentor.class_names == ['red panda', 'grass', 'sea']
    assert segmentor.vocabulary.all_names == ['red panda', 'grass', 'lawn', 'sea']
    assert segmentor.class_of_text.tolist() == [0, 1, 1, 2]
    assert segmentor.out_channels == 3
    expected = plain_text_embeddings(segmentor, ['red panda', 'grass', 'lawn', 'sea'], ['a {}.', 'my {}!'])
    torch.testing.assert_close(segmentor.text_embeddings, expected, atol=1e-5, rtol=1e-4)


def test_a_live_model_learns_a_new_vocabulary(build):
    image = torch.randn(3, 71, 53)
    names = ['cat', 'dog', 'sea, ocean', 'sky', 'sand']
    live = build()
    live.predict([image])
    live.set_classes(names)
    assert live.out_channels == 5
    torch.testing.assert_close(probabilities_of(live, image), probabilities_of(build(name_path=names), image))


def test_other_weights_give_other_text_embeddings(build):
    live, other = build(), build()
    first = live.text_embeddings
    for parameter in other.parameters():
        parameter.data = parameter.data.flip(0)
    live.load_state_dict(other.state_dict())
    torch.testing.assert_close(live.text_embeddings, other.text_embeddings)
    assert (first - live.text_embeddings).abs().max() > 0.05


def test_a_similarity_that_is_off_is_said_to_do_nothing(build, monkeypatch):
    messages = []
    monkeypatch.setattr('ovseg.models.segmentors.switches.print_log', lambda message, logger: messages.append(message))
    for apply in (False, True):
        build(apply_similarity_enhancement=apply, similarity_enhancement_cfg=dict(temperature=2.0))
    assert messages == ["similarity_enhancement_cfg={'temperature': 2.0} has no effect: apply_similarity_enhancement is off"]


def test_a_bad_vocabulary_leaves_the_model_as_it_was(build):
    image = torch.randn(3, 71, 53)
    live = build(bg_idx=2)
    before = probabilities_of(live, image)
    for names in (['cat', 'dog'], ['cat', 'cat', 'dog'], []):
        with pytest.raises(ValueError, match=r'bg_idx=2|stands twice|no classes'):
            live.set_classes(names)
    torch.testing.assert_close(probabilities_of(live, image), before)
    assert live.class_names == ['red panda', 'grass', 'sea']


def test_one_class_is_enough(build):
    result, = build(name_path=['cat']).predict([torch.randn(3, 71, 53)])
    assert (result.pred_sem_seg.data == 0).all()


def test_class_lists_come_from_a_file_or_a_bundled_list(build, tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('cat\ndog, puppy\n')
    for given in (path, str(path)):
        assert build(name_path=given).vocabulary.all_names == ['cat', 'dog', 'puppy']
    assert build(name_path='demo_scenes').out_channels == 16


# ---- mmseg's interface -----------------------------------------------------------------------------------------------


def test_it_is_built_by_mmseg(build):
    with DefaultScope.overwrite_default_scope('mmseg'):
        built = MODELS.build(dict(type='CLIPSegmentor', clip_model='ovseg-tiny-clip', pretrained=None, name_path=['cat']))
    assert isinstance(built, CLIPSegmentor)


def test_mode_tensor_gives_class_probabilities_in_input_size(segmentor):
    batch = torch.randn(2, 3, 71, 53)
    probabilities = segmentor(batch, mode='tensor')
    assert probabilities.shape == (2, 3, 71, 53)
    for found, result in pairs(probabilities, segmentor.predict(batch)):
        torch.testing.assert_close(found, result.seg_logits.data, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(segmentor.encode_decode(batch), probabilities)


def test_mode_predict_gives_samples(segmentor):
    batch = torch.randn(2, 3, 71, 53)
    for found, result in pairs(segmentor(batch, mode='predict'), segmentor.predict(batch)):
        assert torch.equal(found.pred_sem_seg.data, result.pred_sem_seg.data)


def test_mode_loss_says_that_there_is_nothing_to_train(segmentor):
    with pytest.raises(NotImplementedError, match=r'training-free.*ovseg test'):
        segmentor(torch.randn(1, 3, 71, 53), [sample()], mode='loss')


def test_an_unknown_mode_is_refused(segmentor):
    with pytest.raises(RuntimeError, match='Invalid mode'):
        segmentor(torch.randn(1, 3, 71, 53), mode='guess')


def test_extract_feat_gives_embeddings(segmentor):
    features = segmentor.extract_feat(torch.randn(2, 3, 48, 80))
    assert isinstance(features, DenseFeatures)
    assert features.grid_size == (3, 5)
    assert (features.patches.shape, features.cls_token.shape) == ((2, 15, 128), (2, 128))


def test_everything_is_frozen_even_in_training_mode(build):
    segmentor = build()
    image = torch.randn(3, 71, 53)
    before = probabilities_of(segmentor, image)
    segmentor.train()
    assert sum(parameter.numel() for parameter in segmentor.parameters()) > 1e6
    assert not any(parameter.requires_grad for parameter in segmentor.parameters())
    for part in (segmentor.tower, segmentor.image_encoder, segmentor.text_encoder):
        assert not any(module.training for module in part.modules())
    torch.testing.assert_close(probabilities_of(segmentor, image), before)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_the_gpu_gives_what_the_cpu_gives(build):
    image = torch.randn(3, 97, 131)
    expected = probabilities_of(build(), image)
    found = probabilities_of(build().cuda(), image.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, atol=1e-2, rtol=1e-2)
