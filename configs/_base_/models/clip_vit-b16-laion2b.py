# CLIP ViT-B/16 trained on LAION-2B, with plain GELU.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-B-16', pretrained='laion2b_s34b_b88k'))
