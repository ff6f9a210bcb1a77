# NACLIP: KK attention with a Gaussian neighbourhood, no residual, no MLP.
method = dict(
    image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=5.0), ignore_residual=True),
    windows=dict(pad_mode='none'))
