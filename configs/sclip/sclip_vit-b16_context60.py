# python tools/test.py configs/sclip/sclip_vit-b16_context60.py
# 30.4 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/sclip.py', '../_base_/datasets/context60.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='context60_sclip'),
    decoder=dict(logit_scale=50, prob_thd=0.1))
