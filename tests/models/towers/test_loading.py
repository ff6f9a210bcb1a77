import logging
import pickle
import runpy
import zipfile
from collections import OrderedDict
from pathlib import Path

import open_clip
import pytest
import torch
from mmengine.logging import MMLogger
from open_clip.push_to_hf_hub import save_for_hf
from safetensors.torch import load_file, save_file
from torch import nn

from ovseg.models.towers import load_clip, tiny_clip

pytestmark = pytest.mark.filterwarnings('ignore:.torch.jit:FutureWarning')

EVIL = runpy.run_path(str(Path(__file__).parents[2] / 'evil_checkpoints.py'), run_name='evil')['EVIL']

CONFIG = dict(embed_dim=13, vision_cfg=dict(layers=2, width=22, head_width=11, image_size=21, patch_size=7),
              text_cfg=dict(context_length=11, vocab_size=53, width=34, heads=2, layers=3))
GELU, QUICK = 'toy-vit', 'toy-vit-quickgelu'
MISMATCHED = {'toy-narrow-vision': dict(vision_cfg=dict(CONFIG['vision_cfg'], width=33)),
              'toy-narrow-text': dict(text_cfg=dict(CONFIG['text_cfg'], width=26)),
              'toy-larger-image': dict(vision_cfg=dict(CONFIG['vision_cfg'], image_size=35)),
              'toy-longer-text': dict(text_cfg=dict(CONFIG['text_cfg'], context_length=19)),
              'toy-deeper': dict(vision_cfg=dict(CONFIG['vision_cfg'], layers=3)),
              'toy-other-space': dict(embed_dim=17)}

OTHERS = {'toy-two-towers': dict(custom_text=True), 'toy-hub-text': dict(text_cfg=dict(hf_model_name='owner/text')),
          'toy-vector-scale': dict(nonscalar_logit_scale=True)}


@pytest.fixture(scope='module', autouse=True)
def _toy_models(register_models):
    models = {GELU: {}, QUICK: dict(quick_gelu=True), **MISMATCHED, **OTHERS}
    register_models({name: {**CONFIG, **changes} for name, changes in models.items()})


@pytest.fixture
def state():
    """Weights of the toy model, as halves so that archives in fp16 hold them exactly."""
    return {key: torch.randn_like(value).half().float() for key, value in open_clip.create_model(GELU).state_dict().items()}


def assert_holds(clip, state):
    got = {**clip.text_encoder.clip.state_dict(),
           **{f'visual.{key}': value for key, value in clip.image_tower.visual.state_dict().items()}}
    assert got.keys() == state.keys()
    assert all(value.dtype == torch.float32 and torch.equal(value, state[key]) for key, value in got.items())


def save_jit(state, path):
    """An archive as OpenAI's: TorchScript in fp16 with three integers that are no weights."""
    root = nn.Module()
    integers = dict(input_resolution=torch.tensor(21), context_length=torch.tensor(11), vocab_size=torch.tensor(53))
    for key, value in {**{key: value.half() for key, value in state.items()}, **integers}.items():
        *folders, leaf = key.split('.')
        node = root
        for folder in folders:
            if folder not in node._modules:
                node.add_module(folder, nn.Module())
            node = node._modules[folder]
        node.register_buffer(leaf, value)
    torch.jit.script(root).save(str(path))


def save_hub_folder(name, folder, **options):
    model = open_clip.create_model(name)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.visual.image_mean, model.visual.image_std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    tokenizer = type('Tokenizer', (), dict(save_pretrained=lambda self, folder: None))()
    save_for_hf(model, tokenizer, open_clip.get_model_config(name), str(folder), **options)
    return model.state_dict()


@pytest.mark.parametrize('suffix', ['.pt', '.bin', '.pth'])
def test_plain_state_dict(tmp_path, state, suffix):
    path = tmp_path / f'weights{suffix}'
    torch.save(state, path)
    assert_holds(load_clip(GELU, str(path)), state)


def test_training_checkpoint_of_a_parallel_model(tmp_path, state):
    path = tmp_path / 'epoch_3.pt'
    torch.save(dict(epoch=3, name='run', state_dict={f'module.{key}': value for key, value in state.items()},
                    optimizer=dict(state={}, param_groups=[dict(lr=0.1)])), path)
    assert_holds(load_clip(GELU, str(path)), state)


def test_half_precision_state_dict_becomes_float32(tmp_path, state):
    path = tmp_path / 'half.pt'
    torch.save({key: value.half() for key, value in state.items()}, path)
    assert_holds(load_clip(GELU, str(path)), state)


def test_safetensors(tmp_path, state):
    path = tmp_path / 'weights.safetensors'
    save_file(state, path)
    assert_holds(load_clip(GELU, str(path)), state)


@pytest.mark.parametrize(('name', 'saved_shape', 'shape'), [(GELU, (1,), ()), ('toy-vector-scale', (), (1,))])
def test_logit_scale_may_be_a_scalar_or_a_vector_of_one(tmp_path, state, name, saved_shape, shape):
    torch.save({**state, 'logit_scale': state['logit_scale'].reshape(saved_shape)}, tmp_path / 'weights.pt')
    clip = load_clip(name, str(tmp_path / 'weights.pt'))
    assert_holds(clip, {**state, 'logit_scale': state['logit_scale'].reshape(shape)})


def renamed_for_a_text_tower(state):
    text = ('transformer.', 'token_embedding.', 'positional_embedding', 'ln_final.', 'text_projection')
    return {f'text.{key}' if key.startswith(text) else key: value for key, value in state.items()}


@pytest.mark.parametrize('rename', [dict, renamed_for_a_text_tower], ids=['as one tower', 'as two towers'])
def test_model_with_a_text_tower_of_its_own(tmp_path, state, rename):
    torch.save(rename(state), tmp_path / 'weights.pt')
    assert_holds(load_clip('toy-two-towers', str(tmp_path / 'weights.pt')), renamed_for_a_text_tower(state))


def test_no_text_tower_is_downloaded_where_the_checkpoint_has_one(tmp_path, state, monkeypatch):
    downloads = []

    def text_encoder(name, pretrained, **kwargs):
        downloads.append(pretrained)
        tower = nn.Linear(3, 5)
        tower.context_length, tower.vocab_size = 11, 53
        return tower

    monkeypatch.setattr(open_clip.model, 'HFTextEncoder', text_encoder)
    torch.save(state, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match=r'does not hold the weights of toy-hub-text'):
        load_clip('toy-hub-text', str(tmp_path / 'weights.pt'))
    assert downloads == [False]


@pytest.mark.parametrize('safe', [True, False], ids=['safetensors', 'bin'])
@pytest.mark.parametrize('name', [GELU, QUICK])
def test_hub_folder(tmp_path, name, safe):
    state = save_hub_folder(name, tmp_path / 'hub', safe_serialization=safe)
    assert_holds(load_clip(name, str(tmp_path / 'hub')), state)


def test_file_inside_a_hub_folder(tmp_path):
    state = save_hub_folder(GELU, tmp_path)
    assert_holds(load_clip(GELU, str(tmp_path / 'open_clip_model.safetensors')), state)


def test_settings_of_a_hub_folder_are_not_those_of_another_file_in_it(tmp_path, state):
    save_hub_folder(GELU, tmp_path)
    torch.save(state, tmp_path / 'mine.pt')
    clip = load_clip(QUICK, str(tmp_path / 'mine.pt'))
    assert_holds(clip, state)
    assert clip.mean[0] == pytest.approx(0.481, abs=1e-3)


def test_hub_folder_s_normalisation_is_used(tmp_path):
    save_hub_folder(GELU, tmp_path)
    clip = load_clip(GELU, str(tmp_path))
    assert (clip.mean, clip.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_openai_archive(tmp_path, state):
    save_jit(state, tmp_path / 'ViT.pt')
    clip = load_clip(QUICK, str(tmp_path / 'ViT.pt'))
    assert_holds(clip, state)
    assert not any(isinstance(module, torch.jit.ScriptModule) for part in (clip.image_tower, clip.text_encoder)
                   for module in part.modules())


def test_home_folder_is_expanded(tmp_path, state, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save(state, tmp_path / 'weights.pt')
    assert_holds(load_clip(GELU, '~/weights.pt'), state)


@pytest.mark.parametrize(('name', 'activation'), [(GELU, nn.GELU), (QUICK, open_clip.transformer.QuickGELU)])
def test_model_computes_the_activation_of_its_name(tmp_path, state, name, activation):
    torch.save(state, tmp_path / 'weights.pt')
    clip = load_clip(name, str(tmp_path / 'weights.pt'))
    blocks = [*clip.image_tower.blocks, *clip.text_encoder.clip.transformer.resblocks]
    assert len(blocks) == 5 and all(type(block.mlp.gelu) is activation for block in blocks)


def test_openai_archive_gets_quickgelu_s_activation(tmp_path, state):
    save_jit(state, tmp_path / 'ViT.pt')
    clip = load_clip(QUICK, str(tmp_path / 'ViT.pt'))
    assert type(clip.image_tower.blocks[0].mlp.gelu) is open_clip.transformer.QuickGELU


def test_tokenizer_and_normalisation(tmp_path, state):
    torch.save(state, tmp_path / 'weights.pt')
    clip = load_clip(GELU, str(tmp_path / 'weights.pt'))
    assert clip.text_encoder.tokenizer(['a cat', 'mud']).shape == (2, 11)
    assert clip.mean == pytest.approx((0.481, 0.458, 0.408), abs=1e-3)
    assert clip.std == pytest.approx((0.269, 0.261, 0.276), abs=1e-3)


def test_tag_downloads_checks_and_brings_its_normalisation(tmp_path, state, monkeypatch):
    torch.save(state, tmp_path / 'weights.pt')
    tags = {GELU: dict(mine=dict(url='https://host/weights.pt', mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.7)))}
    monkeypatch.setattr(open_clip.pretrained, '_PRETRAINED', tags)
    monkeypatch.setattr('ovseg.models.towers.loading.download_pretrained', lambda tag: str(tmp_path / 'weights.pt'))
    clip = load_clip(GELU, 'mine')
    assert_holds(clip, state)
    assert (clip.mean, clip.std) == ((0.5, 0.4, 0.3), (0.2, 0.1, 0.7))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize('suffix', ['.pt', '.bin', '.safetensors', '.weights'])
@pytest.mark.parametrize('save', [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))], ids=['zip', 'raw'])
def test_a_pickle_is_not_executed(tmp_path, state, save, suffix):
    path, target = tmp_path / f'weights{suffix}', tmp_path / 'executed'
    save(dict(state_dict=state, extra=Bomb(target)), path)
    with pytest.raises(ValueError, match=r'does not hold the weights of toy-vit'):
        load_clip(GELU, str(path))
    assert not target.exists()


@pytest.mark.parametrize('name', EVIL)
def test_no_checkpoint_runs_code(tmp_path, state, name):
    path, target = tmp_path / 'evil.pt', tmp_path / 'executed'
    EVIL[name](path, target, state)
    with pytest.raises(ValueError, match=r'evil\.pt does not hold the weights of .*: (it cannot be read|not every)'):
        load_clip(QUICK, str(path))
    assert not target.exists()


class Disguise:
    """Unpickles to an OrderedDict, but makes the restricted unpickler of weights fail with a TypeError."""

    def __reduce__(self):
        return OrderedDict, (), (None, {})


def test_a_pickle_is_not_executed_where_torch_load_is_unrestricted_by_default(tmp_path, state, monkeypatch):
    path, target, load = tmp_path / 'weights.pt', tmp_path / 'executed', torch.load
    torch.save(dict(first=Disguise(), second=Bomb(target), state_dict=state), path)
    # the default of torch before 2.6
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: load(*args, **{'weights_only': False, **kwargs}))
    with pytest.raises(ValueError, match=r'does not hold the weights of toy-vit'):
        load_clip(GELU, str(path))
    assert not target.exists()


def test_a_pickle_that_poses_as_an_openai_archive_is_not_executed(tmp_path, state):
    path, target = tmp_path / 'ViT.pt', tmp_path / 'executed'
    torch.save(dict(state_dict=state, extra=Bomb(target)), path)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('ViT/code/__torch__.py', '')
    with pytest.raises(ValueError, match=r'does not hold the weights of toy-vit-quickgelu'):
        load_clip(QUICK, str(path))
    assert not target.exists()


@pytest.mark.parametrize('save', [torch.save, save_file, save_jit], ids=['pt', 'safetensors', 'jit'])
@pytest.mark.parametrize('name', MISMATCHED)
def test_weights_of_another_shape(tmp_path, state, name, save, monkeypatch):
    path = tmp_path / ('weights.safetensors' if save is save_file else 'weights.pt')
    save(state, path)
    if save is save_jit:
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS[name], 'quick_gelu', True)
    with pytest.raises(ValueError, match=f'{path.name} does not hold the weights of {name}'):
        load_clip(name, str(path))


@pytest.mark.parametrize('dtype', [torch.int64, torch.bool])
def test_integers_where_floating_point_numbers_belong(tmp_path, state, dtype):
    state['visual.proj'] = state['visual.proj'].to(dtype)
    torch.save(state, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match=rf"weights\.pt does not hold .*: 'visual\.proj' is of the type {dtype}, but"):
        load_clip(GELU, str(tmp_path / 'weights.pt'))


def test_numbers_that_are_not_finite(tmp_path, state):
    state['visual.proj'][3, 5] = float('nan')
    torch.save(state, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match=r"weights\.pt does not hold the weights of toy-vit: 'visual\.proj' holds NaN"):
        load_clip(GELU, str(tmp_path / 'weights.pt'))


def test_a_message_has_one_line_even_where_nothing_fits(tmp_path):
    torch.save({'a\nb\x1b': torch.zeros(3)}, tmp_path / 'we\nights.pt')
    with pytest.raises(ValueError, match=r"we.nights\.pt' does not hold the weights of toy-vit: ") as raised:
        load_clip(GELU, str(tmp_path / 'we\nights.pt'))
    assert str(raised.value).isprintable() and len(str(raised.value)) < 1500


def test_a_broken_archive_with_code(tmp_path, state):
    save_jit(state, tmp_path / 'ViT.pt')
    content = (tmp_path / 'ViT.pt').read_bytes()
    for end in (len(content) - 10, len(content) // 2):
        (tmp_path / 'ViT.pt').write_bytes(content[:end])
        with pytest.raises(ValueError, match=r'ViT\.pt does not hold the weights of toy-vit-quickgelu: it cannot be read'):
            load_clip(QUICK, str(tmp_path / 'ViT.pt'))


def test_missing_and_unexpected_keys_are_named(tmp_path, state):
    state['visual.extra'] = state.pop('visual.proj')
    torch.save(state, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match=r'visual\.proj.*visual\.extra'):
        load_clip(GELU, str(tmp_path / 'weights.pt'))


def test_openai_archive_in_a_gelu_model(tmp_path, state):
    save_jit(state, tmp_path / 'ViT.pt')
    with pytest.raises(ValueError, match=r"ViT\.pt was trained with QuickGELU, but clip.name='toy-vit' computes GELU: "
                                         r"set clip.name='toy-vit-quickgelu'"):
        load_clip(GELU, str(tmp_path / 'ViT.pt'))


def test_openai_archive_in_a_model_without_quickgelu(tmp_path, state):
    save_jit(state, tmp_path / 'ViT.pt')
    with pytest.raises(ValueError, match=r"computes GELU, and there is no 'toy-deeper-quickgelu'$"):
        load_clip('toy-deeper', str(tmp_path / 'ViT.pt'))


@pytest.mark.parametrize(('saved', 'asked', 'words'), [(GELU, QUICK, ('GELU', 'QuickGELU')),
                                                       (QUICK, GELU, ('QuickGELU', 'GELU'))])
def test_hub_folder_of_the_other_activation(tmp_path, saved, asked, words):
    save_hub_folder(saved, tmp_path)
    with pytest.raises(ValueError, match=f"trained with {words[0]}, but clip.name='{asked}' computes {words[1]}: "
                                         f"set clip.name='{saved}'"):
        load_clip(asked, str(tmp_path))


def test_embedded_weights_are_the_file_in_the_package():
    assert_holds(load_clip('ovseg-tiny-clip', 'embedded'), load_file(tiny_clip.WEIGHTS_FILE))


def test_coca_models_are_refused(tmp_path, state):
    torch.save(state, tmp_path / 'weights.pt')
    with pytest.raises(ValueError, match=r"clip.name='coca_ViT-B-32' is a CoCa model.*choose a plain ViT"):
        load_clip('coca_ViT-B-32', str(tmp_path / 'weights.pt'))


def test_random_weights_come_with_a_warning():
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        clip = load_clip(GELU, None)
    finally:
        logger.removeHandler(handler)
    assert clip.image_tower.visual.proj.std() > 0
    assert [record.levelno for record in records] == [logging.WARNING]
    assert 'toy-vit runs with random weights' in records[0].getMessage()
