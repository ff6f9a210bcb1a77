# python tools/test.py configs/scclip/scclip_vit-b16_voc21.py
# 64.6 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/scclip.py', '../_base_/datasets/voc21.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='voc21_sclip'), decoder=dict(logit_scale=50, prob_thd=0.15, area_thd=0.1))
