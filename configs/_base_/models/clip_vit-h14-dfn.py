# CLIP ViT-H/14 trained on DFN-5B, with QuickGELU.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-H-14-quickgelu', pretrained='dfn5b'))
