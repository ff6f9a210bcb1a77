# python tools/test.py configs/proxyclip/proxyclip_vit-b16_cityscapes.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/proxyclip.py', '../_base_/datasets/cityscapes_448.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='cityscapes_sclip'),
    windows=dict(crop=224, stride=112))
