# python tools/test.py configs/sclip/sclip_vit-b16_cityscapes.py
# 32.2 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/sclip.py', '../_base_/datasets/cityscapes.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='cityscapes_sclip'))
