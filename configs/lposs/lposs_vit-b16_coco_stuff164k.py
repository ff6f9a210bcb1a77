# python tools/test.py configs/lposs/lposs_vit-b16_coco_stuff164k.py
# 25.9 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16-laion2b.py', '../_base_/methods/lposs.py', '../_base_/datasets/coco_stuff164k_448.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, vocabulary=dict(names='coco_stuff'))
