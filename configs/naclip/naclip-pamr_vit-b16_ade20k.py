# python tools/test.py configs/naclip/naclip-pamr_vit-b16_ade20k.py
# 19.05 mIoU published; not yet measured here on real weights.
_base_ = ['naclip_vit-b16_ade20k.py']
model = dict(decoder=dict(refiner=dict(type='PAMR', num_iter=10, dilations=(8, 16))))
