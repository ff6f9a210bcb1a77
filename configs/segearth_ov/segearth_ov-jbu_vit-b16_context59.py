# python tools/test.py configs/segearth_ov/segearth_ov-jbu_vit-b16_context59.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/segearth_ov-jbu.py', '../_base_/datasets/context59_448.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='context59_sclip'))
