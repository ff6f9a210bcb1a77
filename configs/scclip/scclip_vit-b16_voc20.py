# python tools/test.py configs/scclip/scclip_vit-b16_voc20.py
# 84.3 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/scclip.py', '../_base_/datasets/voc20.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='voc20_sclip'))
