# GeoRSCLIP's ViT-H/14, with plain GELU; put its file there, or name another in clip.pretrained.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-H-14', pretrained='checkpoints/RS5M_ViT-H-14.pt'))
