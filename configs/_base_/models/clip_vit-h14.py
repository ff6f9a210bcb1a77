# OpenCLIP's ViT-H/14, trained on LAION-2B; OpenAI published none of this size.
_base_ = ['clip_vit-b16.py']
model = dict(clip=dict(name='ViT-H-14', pretrained='laion2b_s32b_b79k'))
