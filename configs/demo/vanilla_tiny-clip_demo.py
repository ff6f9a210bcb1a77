# Unmodified CLIP: its own attention, residual and MLP in the last block.
# python tools/test.py configs/demo/vanilla_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(name_path='demo_scenes', model_type='Vanilla', ignore_residual=False)
