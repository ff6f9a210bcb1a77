# CLIP ViT-L/14 trained on DFN-2B, with QuickGELU.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-L-14-quickgelu', pretrained='dfn2b'))
