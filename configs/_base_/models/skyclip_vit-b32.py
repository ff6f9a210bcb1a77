# SkyCLIP's ViT-B/32, trained from LAION-2B's with plain GELU; put its file there, or name another in clip.pretrained.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-B-32', pretrained='checkpoints/SkyCLIP_ViT_B32_top50pct/epoch_20.pt'))
