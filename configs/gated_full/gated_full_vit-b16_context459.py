# python tools/test.py configs/gated_full/gated_full_vit-b16_context459.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/gated_full.py', '../_base_/datasets/context459.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='context459'))
