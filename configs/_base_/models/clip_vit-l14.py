# OpenAI's CLIP ViT-L/14. Windows of 224 pixels and steps of 112 are multiples of its patch.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-L-14-quickgelu'))
