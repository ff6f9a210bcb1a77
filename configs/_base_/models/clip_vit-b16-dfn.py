# CLIP ViT-B/16 trained on DFN-2B, with QuickGELU.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-B-16-quickgelu', pretrained='dfn2b'))
