# SkyCLIP's ViT-L/14, trained from OpenAI's with QuickGELU; put its file there, or name another in clip.pretrained.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-L-14-quickgelu', pretrained='checkpoints/SkyCLIP_ViT_L14_top30pct/epoch_20.pt'))
