# python tools/test.py configs/corrclip/corrclip_vit-b16_coco_stuff164k.py
# 31.6 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16-metaclip.py', '../_base_/methods/corrclip.py', '../_base_/datasets/coco_stuff164k.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='coco_stuff_corrclip'),
    image_encoder=dict(
        _base_.method.image_encoder,
        regions=dict(type='NpzRegions', root='{{$DATA_ROOT:data}}/region_masks/coco')))
