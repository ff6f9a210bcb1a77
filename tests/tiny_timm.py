"""CLIPs of open_clip with ViTs of timm as image towers, of the real classes and tiny."""
from functools import partial
from unittest import mock

import open_clip
import timm
import torch

E, GRID = 13, (3, 5)
SIGLIP_TEXT = dict(context_length=11, vocab_size=53, width=22, heads=2, layers=2, no_causal_mask=True, pool_type='last',
                   proj_bias=True)
_VIT = dict(img_size=(21, 35), patch_size=7, embed_dim=22, num_heads=2, depth=3)
_EVA = dict(_VIT, embed_dim=24)  # rotary position embeddings need heads of a multiple of 4
_PE = dict(_EVA, attn_pool_num_heads=3, ref_feat_shape=(2, 2))
_SIGLIP = dict(timm_pool='map', timm_proj='none')
_TOKEN = dict(timm_pool='token', timm_proj=None)
_POOL = dict(timm_pool='map', timm_proj=None)
TOWERS = {  # settings of open_clip, and of timm
    'SigLIP': (dict(_SIGLIP, timm_model_name='vit_base_patch16_siglip_224'), _VIT),
    'SigLIP2': (dict(_SIGLIP, timm_model_name='vit_giantopt_patch16_siglip_256'), dict(_VIT, num_heads=11, qk_norm=True)),
    'PE-Core': (dict(_POOL, timm_model_name='vit_pe_core_base_patch16_224'), _PE),
    'PE-Core-bigG': (dict(_POOL, timm_model_name='vit_pe_core_gigantic_patch14_448'), _PE),
    'EVA01': (dict(_TOKEN, timm_model_name='eva_giant_patch14_224'), _EVA),
    'EVA02': (dict(_TOKEN, timm_model_name='eva02_base_patch16_clip_224'), dict(_EVA, ref_feat_shape=(2, 2))),
    'EVA02 with LayerScale': (dict(_TOKEN, timm_model_name='eva02_base_patch16_clip_224', timm_proj='linear'),
                              dict(_EVA, init_values=0.3)),
    'EVA02-E': (dict(_TOKEN, timm_model_name='eva02_enormous_patch14_clip_224'), _EVA),
    'MobileCLIP2-L': (dict(_TOKEN, timm_model_name='vit_large_patch14_clip_224', timm_drop_path=0.1),
                      dict(_VIT, init_values=0.3)),
    'MobileCLIP-B': (dict(_TOKEN, timm_model_name='vit_base_mci_224'), dict(img_size=(48, 80), depth=2, mlp_ratio=0.25))}
WITHOUT_CLS = ('SigLIP', 'SigLIP2', 'PE-Core-bigG')


def small_timm(**settings):
    """A context in which timm builds its models with other settings."""
    create = timm.create_model
    return mock.patch.object(timm, 'create_model', lambda name, **given: create(name, **{**given, **settings}))


def tiny_clip(kind, **settings):
    """A random model of open_clip with the image tower ``kind``; ``settings`` are timm's."""
    vision, small = TOWERS[kind]
    amount = 0.02 if kind == 'MobileCLIP-B' else 0.2  # timm fixes its width, 768
    with small_timm(**small, **settings):
        model = open_clip.CustomTextCLIP(E, vision, SIGLIP_TEXT, init_logit_bias=-10.)
    noise = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # biases of 0, norms of 1 and a LayerScale of 1e-5 would hide mistakes
        for parameter in model.parameters():
            parameter.add_(noise(parameter.shape) * amount)
        for name, buffer in model.named_buffers():
            if name.endswith(('running_mean', 'running_var')):
                buffer.add_(noise(buffer.shape).abs() * amount)
    return model.eval()
