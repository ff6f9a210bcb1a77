# The embedded tiny CLIP, trained on drawn scenes: works offline, knows 16 class names.
model = dict(
    type='CLIPSegmentor',
    clip=dict(name='ovseg-tiny-clip', pretrained='embedded'),
    vocabulary=dict(templates='imagenet80'),
    decoder=dict(logit_scale=40),
    windows=dict(crop=224, stride=112))
