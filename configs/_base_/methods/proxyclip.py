# ProxyCLIP: values of the last block, attended by the final tokens of DINO ViT-B/8; no residual, no MLP.
# Other guides of the paper: 'vit_base_patch14_reg4_dinov2.lvd142m', 'vit_base_patch16_224.mae', 'samvit_base_patch16.sa1b'.
method = dict(
    image_encoder=dict(
        type='ProxyCLIPEncoder', guide=dict(type='TimmGuide', model='vit_base_patch8_224.dino'), beta=1.2, gamma=3.0),
    windows=dict(crop=336, stride=112, pad_mode='center'))
