# python tools/test.py configs/clearclip/clearclip_vit-b16_cityscapes.py
# 30.0 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/clearclip.py', '../_base_/datasets/cityscapes_448.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='cityscapes_sclip'),
    windows=dict(_base_.method.windows, crop=224))
