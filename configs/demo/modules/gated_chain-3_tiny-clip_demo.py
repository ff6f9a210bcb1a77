# Gated attention and the chain up to global debiasing.
# python tools/test.py configs/demo/modules/gated_chain-3_tiny-clip_demo.py
_base_ = ['../gated_tiny-clip_demo.py']
model = dict(
    apply_self_attn_enhancement=True,
    self_attn_enhancement_cfg=dict(enhancement_strength=0.1, min_self_attn_threshold=0.15, mode='feature'),
    apply_outlier_suppression=True,
    outlier_suppression_cfg=dict(top_k=30),
    global_debias_factor=0.2)
