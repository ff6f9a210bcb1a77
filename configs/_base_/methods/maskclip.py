# MaskCLIP: each token keeps its own value; residual and MLP stay, as in the authors' code for ViT.
method = dict(
    image_encoder=dict(attention=dict(type='MaskCLIP'), ignore_residual=False),
    windows=dict(pad_mode='none'))
