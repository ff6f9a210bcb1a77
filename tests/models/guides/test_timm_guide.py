import re
from dataclasses import replace

import pytest
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors.torch import save_file

from ovseg.models.guides import TimmGuide, timm_guide
from tests.evil_checkpoints import EVIL
from tests.models.guides.conftest import MODELS, SIZES, reference_model

DINO = dict(model=MODELS['dino'][0], pretrained=None, model_cfg=SIZES)


def guide_of(kind, path):
    name, model_cfg = MODELS[kind]
    return TimmGuide(name, str(path), model_cfg=model_cfg)


def original_dinov2(state):
    return {**state, 'mask_token': torch.zeros(1, 24)}


def original_dinov3(state):
    renamed = {re.sub('gamma_([12])', r'ls\1.gamma', key).replace('reg_token', 'storage_tokens'): value
               for key, value in state.items()}
    others = {'mask_token': torch.zeros(1, 24), 'rope_embed.periods': torch.ones(3), 'local_cls_norm.weight': torch.ones(24)}
    return {**renamed, **others}


def original_sam(state):
    renamed = {f'image_encoder.{key}'.replace('mlp.fc', 'mlp.lin'): value for key, value in state.items()}
    return {**renamed, 'mask_decoder.iou_token.weight': torch.zeros(1, 24)}


def under(prefix, **others):
    return lambda state: {**{f'{prefix}{key}': value for key, value in state.items()}, **others}


HEAD = torch.zeros(2, 24)
FILES = {  # kind of model, and what the file of its weights holds
    'timm': ('dino', dict), 'timm of DINOv3': ('dinov3', dict), 'timm of SAM': ('sam', dict),
    'state_dict': ('dino', lambda state: dict(state_dict=state, epoch=3)),
    'DINO student and teacher': ('dino', under('teacher.backbone.', **{'student.backbone.x': HEAD, 'teacher.head.bias': HEAD})),
    'DINO training': ('dino', lambda state: dict(student={'x': HEAD}, epoch=7, teacher=under(
        'module.backbone.', **{'module.head.last_layer.weight': HEAD})(state))),
    'DINO teacher': ('dino', lambda state: dict(teacher=under('backbone.', **{'head.mlp.0.weight': HEAD})(state))),
    'a classifier': ('dino', lambda state: {**state, 'head.weight': HEAD}),
    'MAE': ('mae', lambda state: dict(model=state)),
    'MAE with its decoder': ('mae', lambda state: dict(model={**state, 'decoder_pos_embed': HEAD, 'mask_token': HEAD})),
    'DINOv2': ('dinov2', original_dinov2), 'DINOv3': ('dinov3', original_dinov3), 'SAM': ('sam', original_sam)}


@pytest.mark.parametrize('file', FILES)
def test_files_of_timm_and_of_the_original_repositories_are_read(file, tmp_path, monkeypatch):
    kind, write = FILES[file]
    expected = reference_model(kind).state_dict()
    torch.save(write(expected), tmp_path / 'weights.pth')
    monkeypatch.setattr(torch, 'load', None)
    found = guide_of(kind, tmp_path / 'weights.pth').load().model.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_safetensors_are_read(tmp_path):
    expected = reference_model('dino').state_dict()
    save_file(expected, tmp_path / 'model.safetensors')
    found = guide_of('dino', tmp_path / 'model.safetensors').load().model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def without(*keys):
    return lambda state: {key: value for key, value in state.items() if key not in keys}


@pytest.mark.parametrize(('write', 'message'), [
    (without('norm.weight'), 'Missing key(s) in state_dict: "norm.weight"'),
    (under('', **{'blocks.3.norm1.weight': torch.ones(24)}), 'Unexpected key(s) in state_dict: "blocks.3.norm1.weight"'),
    (under('', cls_token=torch.ones(1, 1, 23)), 'size mismatch for cls_token'),
    (under('', cls_token=torch.ones(1, 1, 24, dtype=torch.int64)), "'cls_token' is of the type torch.int64"),
    (under('', cls_token=torch.full((1, 1, 24), torch.nan)), "'cls_token' holds NaN"),
    (under('teacher.head.'), 'Missing key(s)'), (under('', pos_embed=torch.ones(3)), ''), (lambda state: [3], 'not a dict'),
    (lambda state: dict(model=dict(model=state)), 'not everything in it is a named tensor')])
def test_other_weights_are_refused_by_the_name_of_their_file(write, message, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(write(reference_model('dino').state_dict()), path)
    with pytest.raises(ValueError) as caught:
        guide_of('dino', path).load()
    first = f'{path} does not hold the weights of vit_small_patch8_224.dino: '
    assert str(caught.value).startswith(first) and message in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('name', EVIL)
def test_nothing_in_a_file_is_executed(name, tmp_path):
    path, target = tmp_path / 'weights.pth', tmp_path / 'target'
    EVIL[name](path, target, reference_model('dino').state_dict())
    with pytest.raises(ValueError, match='does not hold the weights of'):
        guide_of('dino', path).load()
    assert not target.exists()


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"TimmGuide pretrained='{tmp_path}/no.pth': there is no file "):
        guide_of('dino', tmp_path / 'no.pth').load()


def test_weights_of_a_tag_come_from_the_hub(tmp_path, monkeypatch):
    expected, asked = reference_model('dino').state_dict(), []
    save_file(expected, tmp_path / 'model.safetensors')
    monkeypatch.setattr(timm_guide, 'hf_hub_download', lambda *args: asked.append(args) or tmp_path / 'model.safetensors')
    found = TimmGuide(**{**DINO, 'pretrained': True}).load().model.state_dict()
    assert asked == [('timm/vit_small_patch8_224.dino', 'model.safetensors')]
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_download_that_fails_says_what_is_needed(monkeypatch):
    def fail(*args):
        raise OSError('no network')
    monkeypatch.setattr('ovseg.models.hub.unreachable', lambda: '')
    monkeypatch.setattr(timm_guide, 'hf_hub_download', fail)
    with pytest.raises(FileNotFoundError) as caught:
        TimmGuide('vit_small_patch16_224.dino').load()
    for text in ('vit_small_patch16_224.dino (87 MB)', 'model.safetensors of timm/vit_small_patch16_224.dino',
                 f'looked in: {HF_HUB_CACHE}\n', 'no network',
                 "timm.create_model('vit_small_patch16_224.dino', pretrained=True)", 'set pretrained=/path/to/file'):
        assert text in str(caught.value)


def test_a_model_without_weights_says_so():
    with pytest.raises(ValueError, match='timm has no weights of vit_base_patch16_plus_240'):
        TimmGuide('vit_base_patch16_plus_240', model_cfg=SIZES).load()


def test_random_weights_are_warned_of(monkeypatch):
    records = []
    monkeypatch.setattr(timm_guide, 'print_log', lambda *args: records.append(args))
    TimmGuide(**DINO).load()
    (message, _, level), = records
    assert message.startswith('TimmGuide pretrained=None: vit_small_patch8_224.dino runs with random weights') and level == 30


def test_checking_reads_no_weights_and_builds_no_model(monkeypatch):
    monkeypatch.setattr(timm_guide, 'read_state_dict', None)
    monkeypatch.setattr(timm_guide, 'hf_hub_download', None)
    built = []
    build = timm_guide.build_vit
    monkeypatch.setattr(timm_guide, 'build_vit', lambda *args: built.append(build(*args)) or built[-1])
    guide = TimmGuide('vit_giant_patch14_reg4_dinov2.lvd142m', features='v')
    assert (guide.patch_size, guide.width, guide.heads) == ((14, 14), 1536, 24)
    assert all(parameter.is_meta for parameter in built[0].parameters())


@pytest.mark.parametrize(('change', 'equal'), [
    ({}, True), (dict(model_cfg={**SIZES}), True), (dict(model_cfg={**SIZES, 'depth': 2}), False), (dict(features='q'), False),
    (dict(precision='bf16'), False), (dict(model='vit_small_patch16_224.dino'), False),
    (dict(pretrained='x.pth'), False)], ids=str)
def test_guides_of_equal_settings_are_equal(change, equal):
    first, second = TimmGuide(**DINO), TimmGuide(**{**DINO, **change})
    assert (first == second) is equal
    assert not equal or hash(first) == hash(second)


def test_precision_is_that_of_the_weights():
    for precision, dtype in dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16).items():
        network = TimmGuide(**DINO, precision=precision).load()
        assert {parameter.dtype for parameter in network.parameters()} == {dtype}


def test_memory_of_a_window_grows_with_it_and_with_precision():
    guide = TimmGuide('vit_base_patch8_224.dino', features='k')
    patches = 28 * 42
    assert guide.bytes_per_window((224, 336)) == 4 * (patches * 14 * 768 + 12 * patches ** 2)
    assert replace(guide, precision='fp16').bytes_per_window((224, 336)) * 2 == guide.bytes_per_window((224, 336))


@pytest.mark.parametrize(('cfg', 'message'), [
    (dict(model='vit_base_patch8_225.dino'), "TimmGuide model='vit_base_patch8_225.dino' is not a timm model; did you mean '"),
    (dict(model='hf-hub:timm/vit_base_patch8_224.dino'), 'is not a timm model'), (dict(model=3), 'model=3 is not a'),
    (dict(model='resnet50'), "TimmGuide model='resnet50' must be a ViT of timm's vision_transformer, eva, vision"),
    (dict(model='vit_small_patch8_224.dinoo'), 'Invalid pretrained tag (dinoo)'),
    (dict(features='queries'), "TimmGuide features='queries' is unknown; known: tokens, q, k, v, qk"),
    (dict(precision='fp8'), "TimmGuide precision='fp8' is unknown; known: fp32, fp16, bf16"),
    (dict(pretrained=False), 'TimmGuide pretrained=False must be True, a path, or None'),
    (dict(pretrained=''), "pretrained=''"),
    (dict(pretrained=3), 'pretrained=3'), (dict(model_cfg=[3]), 'TimmGuide model_cfg=[3] must be a dict'),
    (dict(model_cfg=dict(depht=2)), "TimmGuide model_cfg has no key 'depht'; did you mean 'depth'?"),
    (dict(model_cfg=dict(checkpoint_path='x')), "TimmGuide model_cfg has no key 'checkpoint_path'"),
    (dict(model_cfg=dict(pretrained=True)), "TimmGuide model_cfg has no key 'pretrained'"),
    (dict(model_cfg=dict(num_classes=3)), "TimmGuide model_cfg has no key 'num_classes'"),
    (dict(model_cfg=dict(num_heads=5)), 'dim should be divisible by num_heads'),
    (dict(model_cfg=dict(embed_dim='x')), 'TimmGuide model=vit_small_patch8_224.dino, model_cfg='),
    (dict(model='eva02_base_patch16_clip_224', model_cfg=dict(use_post_norm=True)), 'blocks of the type EvaBlockPostNorm'),
    (dict(model='vit_small_patch16_18x2_224'), 'blocks of the type ParallelThingsBlock')], ids=str)
def test_settings_that_cannot_be_are_refused(cfg, message):
    with pytest.raises(ValueError) as caught:
        TimmGuide(**{**DINO, **cfg})
    assert message in str(caught.value) and '\n' not in str(caught.value)
