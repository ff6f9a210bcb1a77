# python tools/test.py configs/proxyclip/proxyclip_vit-b16_voc20.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/proxyclip.py', '../_base_/datasets/voc20.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='voc20_clearclip'))
