# python tools/test.py configs/gated/gated_vit-l14-336_ade20k.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-l14-336.py', '../_base_/methods/gated.py', '../_base_/datasets/ade20k.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='ade20k_sclip'))
