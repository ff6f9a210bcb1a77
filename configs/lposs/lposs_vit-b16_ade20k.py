# python tools/test.py configs/lposs/lposs_vit-b16_ade20k.py
# 21.8 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16-laion2b.py', '../_base_/methods/lposs.py', '../_base_/datasets/ade20k_448.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='ade20k'))
