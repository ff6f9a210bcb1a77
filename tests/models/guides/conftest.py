import pytest
import timm
import torch

ROWS, COLUMNS = 3, 5
SIZES = dict(embed_dim=24, depth=3, num_heads=2)
MODELS = {  # timm's name and a small size of it; a head of DINOv3 has a multiple of 4 channels
    'dino': ('vit_small_patch8_224.dino', SIZES),
    'dinov2': ('vit_small_patch14_dinov2.lvd142m', {**SIZES, 'img_size': 70}),
    'dinov2-reg': ('vit_small_patch14_reg4_dinov2.lvd142m', {**SIZES, 'img_size': 70}),
    'dinov3': ('vit_small_patch16_dinov3.lvd1689m', SIZES),
    'dinov3-bias': ('vit_small_patch16_dinov3_qkvb.lvd1689m', SIZES),
    'eva02': ('eva02_tiny_patch14_224', SIZES),
    'mae': ('vit_base_patch16_224.mae', SIZES),
    'sam': ('samvit_base_patch16.sa1b', {**SIZES, 'img_size': 112, 'window_size': 2, 'global_attn_indexes': (2,)}),
    'sam-windowed': ('samvit_base_patch16.sa1b', {**SIZES, 'img_size': 112, 'window_size': 2, 'global_attn_indexes': (1,)})}
PATCHES = {'dino': 8, 'dinov2': 14, 'dinov2-reg': 14, 'eva02': 14}


def reference_model(kind):
    """timm's own model with random weights everywhere: norms of 1, biases of 0 and a LayerScale of 1e-5 would hide mistakes."""
    name, model_cfg = MODELS[kind]
    fixed = {} if kind.startswith('sam') else dict(dynamic_img_size=True)
    model = timm.create_model(name, num_classes=0, **fixed, **model_cfg).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture(scope='session', params=MODELS)
def kind(request):
    return request.param


@pytest.fixture
def rgb(kind):
    patch = PATCHES.get(kind, 16)
    return torch.rand(2, 3, ROWS * patch, COLUMNS * patch)
