# python tools/test.py configs/scclip/scclip_vit-b16_coco_object.py
# 37.7 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/scclip.py', '../_base_/datasets/coco_object.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='coco_object_sclip'), decoder=dict(logit_scale=55, prob_thd=0.35))
