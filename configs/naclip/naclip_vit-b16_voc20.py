# python tools/test.py configs/naclip/naclip_vit-b16_voc20.py
# 79.7 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/naclip.py', '../_base_/datasets/voc20.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='voc20_sclip'),
    windows=dict(_base_.method.windows, crop=0))
