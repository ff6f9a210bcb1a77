# python tools/test.py configs/scclip/scclip_vit-b16_ade20k.py
# 20.1 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/scclip.py', '../_base_/datasets/ade20k.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='ade20k_sclip'))
