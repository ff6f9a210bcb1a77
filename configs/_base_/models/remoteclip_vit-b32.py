# RemoteCLIP's ViT-B/32, with plain GELU as its authors load it; put its file there, or name another in clip.pretrained.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-B-32', pretrained='checkpoints/RemoteCLIP-ViT-B-32.pt'))
