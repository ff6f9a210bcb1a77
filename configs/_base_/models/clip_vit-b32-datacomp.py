# CLIP ViT-B/32 trained on DataComp-1B, with plain GELU.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-B-32', pretrained='datacomp_xl_s13b_b90k'))
