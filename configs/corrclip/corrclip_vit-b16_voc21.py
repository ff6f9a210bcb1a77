# python tools/test.py configs/corrclip/corrclip_vit-b16_voc21.py
# 74.8 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16-metaclip.py', '../_base_/methods/corrclip.py', '../_base_/datasets/voc21.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='voc21_corrclip'),
    image_encoder=dict(
        _base_.method.image_encoder,
        regions=dict(type='NpzRegions', root='{{$DATA_ROOT:data}}/region_masks/voc')),
    decoder=dict(prob_thd=0.2))
