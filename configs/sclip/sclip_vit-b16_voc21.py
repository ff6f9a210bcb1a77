# python tools/test.py configs/sclip/sclip_vit-b16_voc21.py
# 59.1 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/sclip.py', '../_base_/datasets/voc21.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='voc21_sclip'),
    decoder=dict(logit_scale=65, prob_thd=0.1, area_thd=0.1))
