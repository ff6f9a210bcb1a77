# python tools/test.py configs/segearth_ov/segearth_ov-jbu_vit-b16_ade20k.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/segearth_ov-jbu.py', '../_base_/datasets/ade20k_448.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='ade20k_sclip'))
