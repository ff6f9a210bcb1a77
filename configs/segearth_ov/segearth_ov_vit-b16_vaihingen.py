# python tools/test.py configs/segearth_ov/segearth_ov_vit-b16_vaihingen.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/segearth_ov.py', '../_base_/datasets/vaihingen.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=_base_.protocol.vocabulary,
             decoder=dict(_base_.method.decoder, **_base_.protocol.decoder))
