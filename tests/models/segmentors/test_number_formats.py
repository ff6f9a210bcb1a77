"""Inference mode, half precision, and what is no number."""
import pydoc

import pytest
import torch

from ovseg.models.dense import last_block_encoder


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


@pytest.mark.parametrize('cfg', [dict(with_seg_logits=False), dict(),
                                 dict(with_seg_logits=False, refine=dict(type='PAMR', num_iter=2))], ids=str)
def test_scores_are_float32_where_tf32_is_allowed(build, monkeypatch, cfg):
    """Chain, text embeddings and decoder run with the setting of torch's default; the setting itself stays."""
    live, found = build(global_debias_factor=0.2, **cfg), {}

    def noting(place, name):
        module, attribute = name.rsplit('.', 1)
        function = getattr(pydoc.locate(module), attribute)

        def note(*args, **kwargs):
            found[place] = torch.get_float32_matmul_precision()
            return function(*args, **kwargs)
        monkeypatch.setattr(name, note)

    noting('chain', 'ovseg.models.post_processors.global_debias.global_debias')
    noting('text', 'ovseg.models.text.text_encoder.functional_call')
    noting('columns', 'ovseg.inference.decode._merge_columns')
    noting('encoder', 'ovseg.models.dense.last_block_encoder.product')
    live.image_encoder.attend = lambda q, k, v, grid_size, bias: last_block_encoder.product(k, k).softmax(dim=-1)
    torch.set_float32_matmul_precision('high')
    try:
        live.predict([torch.randn(3, 71, 53)])
        assert found == dict(chain='highest', text='highest', columns='highest', encoder='high')
        assert torch.get_float32_matmul_precision() == 'high'
    finally:
        torch.set_float32_matmul_precision('highest')
