# python tools/test.py configs/naclip/naclip-pamr_vit-b16_coco_stuff164k.py
# 25.69 mIoU published; not yet measured here on real weights.
_base_ = ['naclip_vit-b16_coco_stuff164k.py']
model = dict(decoder=dict(refiner=dict(type='PAMR', num_iter=10, dilations=(8, 16))))
