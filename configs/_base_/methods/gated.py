# Ours: gated QQ x KK attention and the mid-layer similarity map; no residual, no MLP.
method = dict(model_type='Gated', ignore_residual=True, apply_similarity_enhancement=True)
