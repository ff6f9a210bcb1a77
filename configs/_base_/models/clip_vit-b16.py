# OpenAI's CLIP ViT-B/16, the field's standard model.
model = dict(
    type='CLIPSegmentor',
    clip_model='ViT-B-16-quickgelu',
    pretrained='openai',
    prompt_templates='imagenet80',
    logit_scale=40,
    slide_crop=224,
    slide_stride=112)
