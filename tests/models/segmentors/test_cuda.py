"""Properties that only a CUDA device can show."""
import warnings

import pytest
import torch

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')]

ALL_MODULES = dict(apply_similarity_enhancement=True, apply_self_attn_enhancement=True, apply_outlier_suppression=True,
                   global_debias_factor=0.2, apply_ctd=True)


@pytest.mark.parametrize('cfg', [dict(), ALL_MODULES, dict(prob_thd=0.4), dict(precision='fp16'),
                                 dict(refine=dict(type='PAMR', num_iter=2))], ids=str)
def test_a_batch_waits_once_for_the_device(build, cfg):
    segmentor = build(with_seg_logits=False, **cfg).cuda()
    images = [torch.randint(256, size, dtype=torch.uint8).pin_memory() for size in ((3, 97, 131), (3, 71, 53))]
    segmentor.test_step(dict(inputs=images))  # text embeddings and the geometries' constants are made once
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter('always')
            segmentor.test_step(dict(inputs=images))
    finally:
        torch.cuda.set_sync_debug_mode('default')
    waits = [warning for warning in noted if 'synchronizing' in str(warning.message)]
    assert len(waits) == 1  # to hear whether all patches are finite


@pytest.mark.parametrize('cfg', [dict(), ALL_MODULES, dict(prob_thd=0.4, window_batch_size='auto')], ids=str)
def test_labels_equal_those_of_the_cpu(build, cfg):
    segmentor = build(with_seg_logits=False, **cfg)
    images = [torch.randn(3, 97, 131), torch.randn(3, 71, 53)]
    expected = segmentor.predict(images)
    found = segmentor.cuda().predict([image.cuda() for image in images])
    for a, b in zip(expected, found):
        assert (a.pred_sem_seg.data == b.pred_sem_seg.data.cpu()).float().mean() > 0.99
