# The full method: gated attention and every module, with the numbers of the specification.
# python tools/test.py configs/demo/gated_full_tiny-clip_demo.py
_base_ = ['gated_tiny-clip_demo.py']
model = dict(
    apply_self_attn_enhancement=True,
    self_attn_enhancement_cfg=dict(enhancement_strength=0.1, min_self_attn_threshold=0.15, mode='feature'),
    apply_outlier_suppression=True,
    outlier_suppression_cfg=dict(top_k=30),
    global_debias_factor=0.2,
    apply_ctd=True)
