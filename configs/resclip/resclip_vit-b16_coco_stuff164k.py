# python tools/test.py configs/resclip/resclip_vit-b16_coco_stuff164k.py
# Not yet measured on real weights. The numbers of image_encoder were tuned by the authors for this data set.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/resclip.py', '../_base_/datasets/coco_stuff164k.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    image_encoder=dict(_base_.method.image_encoder, temp_thd=0.11, rcs_weights=(2.0, 0.4), sfr_weights=(1.8, 0.7)),
    vocabulary=dict(names='coco_stuff_sclip'))
