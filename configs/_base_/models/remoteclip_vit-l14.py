# RemoteCLIP's ViT-L/14, with plain GELU as its authors load it; put its file there, or name another in clip.pretrained.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-L-14', pretrained='checkpoints/RemoteCLIP-ViT-L-14.pt'))
