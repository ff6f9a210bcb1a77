# The embedded tiny CLIP, trained on drawn scenes: works offline, knows 16 words.
model = dict(
    type='CLIPSegmentor',
    clip_model='ovseg-tiny-clip',
    pretrained='embedded',
    prompt_templates='imagenet80',
    logit_scale=40,
    slide_crop=224,
    slide_stride=112)
