# python tools/test.py configs/lposs/lposs_vit-b16_cityscapes.py
# 37.3 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16-laion2b.py', '../_base_/methods/lposs.py', '../_base_/datasets/cityscapes_448.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='cityscapes'))
