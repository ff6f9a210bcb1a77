# CLIP ViT-L/14 trained on LAION-2B, with plain GELU.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-L-14', pretrained='laion2b_s32b_b82k'))
