# OpenAI's CLIP ViT-B/32: a coarse grid of 7 x 7 patches per window, and fast.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-B-32-quickgelu'))
