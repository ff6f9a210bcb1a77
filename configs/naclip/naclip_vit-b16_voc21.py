# python tools/test.py configs/naclip/naclip_vit-b16_voc21.py
# 58.9 mIoU published; not yet measured here on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/naclip.py', '../_base_/datasets/voc21.py',
          '../_base_/default_runtime.py']
model = dict(
    _base_.method,
    vocabulary=dict(names='voc21_sclip'),
    decoder=dict(prob_thd=0.1),
    windows=dict(_base_.method.windows, crop=0))
