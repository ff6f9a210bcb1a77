# CorrCLIP, version 1: attention inside of merged regions by DINO ViT-B/8's queries and keys, three branches, vote of regions.
# The leaves name the region maps.
method = dict(
    image_encoder=dict(
        type='CorrCLIPEncoder', guide=dict(type='TimmGuide', model='vit_base_patch8_224.dino', features='qk')),
    windows=dict(crop=336, stride=112, pad_mode='center'))
