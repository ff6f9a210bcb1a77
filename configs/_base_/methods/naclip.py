# NACLIP: KK attention with a Gaussian neighbourhood, no residual, no MLP.
method = dict(model_type='NACLIP', attention_cfg=dict(gaussian_std=5.0), ignore_residual=True, pad_mode='none')
