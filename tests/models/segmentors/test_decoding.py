"""The steps between patch scores and labels, as the segmentor's switches ask."""
import pytest
import torch
from mmseg.structures import SegDataSample
from packaging.version import Version
from torch.nn import functional as F

from ovseg.inference.decode import label_map
from ovseg.models.refiners import PAMR


def sample(**metainfo):
    return SegDataSample(metainfo=metainfo)


def labels_of(segmentor, image, **metainfo):
    return segmentor.predict([image], [sample(**metainfo)])[0].pred_sem_seg.data[0]


@pytest.mark.parametrize('cfg', [
    dict(), dict(prob_thd=0.5, bg_idx=2), dict(prob_thd=0.5, refine=dict(type='PAMR', num_iter=2, dilations=[1, 3])),
    dict(cls_token_lambda=-0.3), dict(decode_memory_mb=1e-6), dict(prob_thd=0.4, decode_memory_mb=0.02)], ids=str)
@pytest.mark.parametrize('metainfo', [
    dict(ori_shape=(89, 149)), dict(ori_shape=(61, 67), flip=True, flip_direction='diagonal')], ids=str)
def test_labels_without_probabilities_equal_those_with_them(build, cfg, metainfo):
    image = torch.randn(3, 97, 131)
    expected = labels_of(build(with_seg_logits=True, **cfg), image, **metainfo)
    assert len(expected.unique()) > 1
    assert (labels_of(build(with_seg_logits=False, **cfg), image, **metainfo) == expected).float().mean() > 0.9999


def test_refinement_works_on_the_scores_of_every_name(build):
    image = torch.randn(3, 71, 53)
    plain, refined = build(logit_scale=1), build(logit_scale=1, refine=dict(type='PAMR', num_iter=3, dilations=(1, 2)))
    names = ['red panda', 'grass', 'lawn', 'sea']
    plain.set_classes(names)
    resized = F.interpolate(image[None], size=(61, 67), mode='bilinear', align_corners=False)[0]
    probabilities, = (result.seg_logits.data for result in plain.predict([image], [sample(ori_shape=(61, 67))]))
    scores = PAMR(3, (1, 2)).of_image(resized)(probabilities.log())  # log-probabilities are the scores up to one map, the
    refined.set_classes(names)                                       # same for all names, which changes no softmax
    found, = refined.predict([image], [sample(ori_shape=(61, 67))])
    assert (found.seg_logits.data - probabilities).abs().max() > 1e-3
    torch.testing.assert_close(found.seg_logits.data.log().diff(dim=0), scores.diff(dim=0), atol=1e-4, rtol=1e-3)


def test_the_score_of_the_cls_token_is_added_to_its_windows_patches(build):
    image = torch.randn(3, 61, 59)
    plain, shifted = (build(logit_scale=1, slide_crop=0, cls_token_lambda=weight) for weight in (0, -0.3))
    padded = F.pad(image, (2, 3, 1, 2))  # to 64 x 64, as the segmentor pads
    cls_token = F.normalize(plain.extract_feat(padded[None]).cls_token[0], dim=-1)
    added = -0.3 * plain.text_embeddings @ cls_token
    before, after = (segmentor.predict([image])[0].seg_logits.data for segmentor in (plain, shifted))
    queries_before = torch.stack([before[0], before[2]]).log().diff(dim=0)  # classes with one name each
    queries_after = torch.stack([after[0], after[2]]).log().diff(dim=0)
    torch.testing.assert_close(queries_after - queries_before, (added[3] - added[0]).expand(1, 61, 59), atol=1e-4, rtol=1e-3)


def test_small_classes_give_their_pixels_away(build):
    image = torch.randn(3, 97, 131)
    probabilities = build().predict([image])[0].seg_logits.data
    labels = labels_of(build(with_seg_logits=False, area_thd=0.6), image)
    assert torch.equal(labels, label_map(probabilities, area_thd=0.6))
    assert not torch.equal(labels, probabilities.argmax(0))


FP16 = pytest.param('fp16', torch.float16, marks=pytest.mark.skipif(
    Version(torch.__version__) < Version('2.3'), reason='older torch has no float16 convolution on the CPU'))


@pytest.mark.parametrize(('precision', 'dtype'), [FP16, ('bf16', torch.bfloat16)])
def test_half_precision_computes_in_it_and_scores_in_float32(build, precision, dtype):
    images = [torch.randn(3, 97, 131), torch.randn(3, 71, 53)]
    full, half = build(), build(precision=precision, apply_outlier_suppression=False)
    assert {parameter.dtype for parameter in half.tower.parameters()} == {dtype}
    assert half.text_embeddings.dtype == torch.float32
    for a, b in zip(full.predict(images), half.predict(images)):
        assert b.seg_logits.data.dtype == torch.float32
        assert (a.pred_sem_seg.data == b.pred_sem_seg.data).float().mean() > 0.9
        torch.testing.assert_close(a.seg_logits.data, b.seg_logits.data, atol=0.1, rtol=0)


def test_all_modules_work_in_half_precision(build):
    segmentor = build(precision='bf16', apply_similarity_enhancement=True, apply_self_attn_enhancement=True,
                      apply_outlier_suppression=True, global_debias_factor=0.2, apply_ctd=True)
    assert segmentor.predict([torch.randn(3, 97, 131)])[0].seg_logits.data.isfinite().all()


def test_windows_per_pass_can_be_chosen_by_the_machine(build):
    images = [torch.randn(3, 97, 131), torch.randn(3, 71, 53)]
    for a, b in zip(build().predict(images), build(window_batch_size='auto').predict(images)):
        assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data)


def test_a_large_vocabulary_takes_no_dense_scores(build):
    segmentor = build(with_seg_logits=False, decode_memory_mb=1, name_path=[f'thing {n}' for n in range(211)],
                      prompt_templates=['{}'])
    assert labels_of(segmentor, torch.randn(3, 71, 53)).max() > 1
