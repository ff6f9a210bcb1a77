# MaskCLIP: each token keeps its own value; residual and MLP stay, as in the authors' code for ViT.
method = dict(model_type='MaskCLIP', ignore_residual=False, pad_mode='none')
