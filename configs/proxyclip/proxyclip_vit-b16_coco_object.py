# python tools/test.py configs/proxyclip/proxyclip_vit-b16_coco_object.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/proxyclip.py', '../_base_/datasets/coco_object.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='coco_object_proxyclip'),
    decoder=dict(prob_thd=0.25))
