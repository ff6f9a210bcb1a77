# python tools/test.py configs/naclip/naclip_vit-b16_coco_object.py
# 33.2 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/naclip.py', '../_base_/datasets/coco_object.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='coco_object_sclip'), decoder=dict(prob_thd=0.1))
