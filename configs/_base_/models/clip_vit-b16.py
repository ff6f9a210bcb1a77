# OpenAI's CLIP ViT-B/16, the field's standard model.
model = dict(
    type='CLIPSegmentor',
    clip=dict(name='ViT-B-16-quickgelu', pretrained='openai'),
    vocabulary=dict(templates='imagenet80'),
    decoder=dict(logit_scale=40),
    windows=dict(crop=224, stride=112))
