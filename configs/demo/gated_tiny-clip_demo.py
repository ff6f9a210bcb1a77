# Gated QQ·KK attention and the mid-layer similarity map in the last block; no residual, no MLP.
# python tools/test.py configs/demo/gated_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(name_path='demo_scenes', model_type='Gated', ignore_residual=True, apply_similarity_enhancement=True)
