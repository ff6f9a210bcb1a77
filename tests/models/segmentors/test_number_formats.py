"""Inference mode, half precision, and what is no number."""
import pytest
import torch


def test_gradients_flow_after_a_prediction_in_inference_mode(build):
    live = build(apply_outlier_suppression=True)
    image = torch.randn(1, 3, 59, 83)
    with torch.inference_mode():
        live.predict(image)
    live.encode_decode(image.requires_grad_())[0, 1].sum().backward()
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize('with_seg_logits', [False, True])
def test_a_model_in_half_precision_decodes_in_single(build, with_seg_logits):
    live = build(with_seg_logits=with_seg_logits)
    image = torch.randn(3, 71, 53)
    expected, = live.predict([image])
    found, = live.bfloat16().predict([image])
    assert (found.pred_sem_seg.data == expected.pred_sem_seg.data).float().mean() > 0.9
    if with_seg_logits:
        assert found.seg_logits.data.dtype == torch.float32


@pytest.mark.parametrize('with_seg_logits', [False, True])
def test_what_is_no_number_is_neither_a_class_nor_background(build, with_seg_logits):
    live = build(prob_thd=0.01, bg_idx=2, with_seg_logits=with_seg_logits)
    found, = live.predict([torch.full((3, 71, 53), torch.nan)])
    assert (found.pred_sem_seg.data == 255).all()
