# python tools/test.py configs/resclip/resclip_vit-b16_voc21.py
# Not yet measured on real weights. The numbers of image_encoder were tuned by the authors for this data set.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/resclip.py', '../_base_/datasets/voc21.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    image_encoder=dict(_base_.method.image_encoder, temp_thd=0.5, rcs_weights=(2.0, 0.3), sfr_weights=(2.2, 0.7)),
    vocabulary=dict(names='voc21_sclip'),
    decoder=dict(prob_thd=0.1),
    windows=dict(_base_.method.windows, crop=0))
