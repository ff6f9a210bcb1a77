# Unmodified CLIP: its own attention, residual and MLP in the last block, every patch scored.
method = dict(model_type='Vanilla', ignore_residual=False, pad_mode='none')
