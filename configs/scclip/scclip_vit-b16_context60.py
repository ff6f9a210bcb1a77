# python tools/test.py configs/scclip/scclip_vit-b16_context60.py
# 36.8 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/scclip.py', '../_base_/datasets/context60.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='context60_sclip'), decoder=dict(prob_thd=0.15))
