# OpenAI's CLIP ViT-L/14 trained at 336 pixels: windows of that size, 24 x 24 patches, so that no position is interpolated.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-L-14-336-quickgelu'), windows=dict(crop=336, stride=112))
