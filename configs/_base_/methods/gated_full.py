# Ours with all four post-processors, at their documented defaults.
method = dict(
    model_type='Gated',
    ignore_residual=True,
    apply_similarity_enhancement=True,
    apply_self_attn_enhancement=True,
    self_attn_enhancement_cfg=dict(enhancement_strength=0.1, min_self_attn_threshold=0.15, mode='feature'),
    apply_outlier_suppression=True,
    outlier_suppression_cfg=dict(top_k=30),
    global_debias_factor=0.2,
    apply_ctd=True)
