# CLIP ViT-L/14 trained on MetaCLIP's 2.5 billion pairs, with QuickGELU.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-L-14-quickgelu', pretrained='metaclip_fullcc'))
