# python tools/test.py configs/resclip/resclip_vit-b16_cityscapes.py
# Not yet measured on real weights. The numbers of image_encoder were tuned by the authors for this data set.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/resclip.py', '../_base_/datasets/cityscapes.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    image_encoder=dict(_base_.method.image_encoder, temp_thd=0.1, rcs_weights=(2.0, 0.2), sfr_weights=(2.1, 0.6)),
    vocabulary=dict(names='cityscapes_sclip'))
