# GeoRSCLIP's ViT-B/32, with OpenAI's QuickGELU; put its file there, or name another in clip.pretrained.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-B-32-quickgelu', pretrained='checkpoints/RS5M_ViT-B-32.pt'))
