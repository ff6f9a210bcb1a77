# python tools/test.py configs/gated/gated_vit-b16_whu_sat_ii.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/gated.py', '../_base_/datasets/whu_sat_ii.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, **_base_.protocol)
