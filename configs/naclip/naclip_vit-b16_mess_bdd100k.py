# python tools/test.py configs/naclip/naclip_vit-b16_mess_bdd100k.py
# Not yet measured on real weights.
_base_ = ['../_base_/models/clip_vit-b16.py', '../_base_/methods/naclip.py', '../_base_/datasets/mess_bdd100k.py',
          '../_base_/default_runtime.py']
model = dict(_base_.method, **_base_.protocol)
