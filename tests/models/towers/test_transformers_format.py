import json
import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.utils import EntryNotFoundError
from safetensors.torch import load_file, save_file

from ovseg.models import hub
from ovseg.models.towers import load_clip, loading
from ovseg.models.towers.transformers_format import open_clip_state

DATA = Path(__file__).parents[2] / 'data' / 'transformers_clip'
MAKE = runpy.run_path(str(DATA / 'make.py'), run_name='make')
CONFIG = MAKE['OPEN_CLIP']
GELU, QUICK = 'toy-hf', 'toy-hf-quickgelu'
PARTS = ('vision', 'text')


def changed(part, **changes):
    return {**CONFIG, part: {**CONFIG[part], **changes}}


# the models that the checkpoint is not, the key of config.json that says so, and its value there and in the model
OTHERS = {
    'toy-space': (dict(CONFIG, embed_dim=17), 'projection_dim', 13, 17),
    'toy-image': (changed('vision_cfg', image_size=35), 'vision_config.image_size', 21, 35),
    'toy-patch': (changed('vision_cfg', patch_size=3), 'vision_config.patch_size', 7, 3),
    'toy-vision-width': (changed('vision_cfg', width=15), 'vision_config.hidden_size', 10, 15),
    'toy-vision-depth': (changed('vision_cfg', layers=5), 'vision_config.num_hidden_layers', 3, 5),
    'toy-vision-heads': (changed('vision_cfg', head_width=2), 'vision_config.num_attention_heads', 2, 5),
    'toy-vision-eps': (changed('vision_cfg', norm_kwargs=dict(eps=1e-6)), 'vision_config.layer_norm_eps', 1e-5, 1e-6),
    'toy-resnet': (changed('vision_cfg', layers=[1, 2, 3, 1]), 'vision_config.num_hidden_layers', 3, [1, 2, 3, 1]),
    'toy-words': (changed('text_cfg', vocab_size=59), 'text_config.vocab_size', 53, 59),
    'toy-context': (changed('text_cfg', context_length=19), 'text_config.max_position_embeddings', 11, 19),
    'toy-text-width': (changed('text_cfg', width=21), 'text_config.hidden_size', 14, 21),
    'toy-text-depth': (changed('text_cfg', layers=3), 'text_config.num_hidden_layers', 2, 3),
    'toy-text-heads': (changed('text_cfg', heads=2), 'text_config.num_attention_heads', 7, 2),
    'toy-text-eps': (changed('text_cfg', norm_kwargs=dict(eps=1e-6)), 'text_config.layer_norm_eps', 1e-5, 1e-6)}
STRANGE = {'toy-last': changed('text_cfg', pool_type='last'), 'toy-not-causal': changed('text_cfg', no_causal_mask=True)}


@pytest.fixture(scope='module', autouse=True)
def _toy_models(register_models):
    configs = {GELU: CONFIG, **{name: config for name, (config, *_) in OTHERS.items()}, **STRANGE,
               'toy-two-towers': dict(CONFIG, custom_text=True), 'toy-large-words': changed('text_cfg', vocab_size=49408)}
    register_models({**configs, **{f'{name}-quickgelu': dict(config, quick_gelu=True) for name, config in configs.items()}})


@pytest.fixture
def folder(tmp_path):
    """A copy of the checkpoint in ``tests/data``."""
    return Path(shutil.copytree(DATA, tmp_path / 'a clip', ignore=shutil.ignore_patterns('make.py', 'expected.npz')))


def edit(file, **changes):
    """Change settings by dotted names; ... removes one."""
    content = json.loads(file.read_text())
    for name, value in changes.items():
        *parts, key = name.split('.')
        place = content
        for part in parts:
            place = place[part]
        if value is ...:
            del place[key]
        else:
            place[key] = value
    file.write_text(json.dumps(content))


def image_embeddings(clip, images):
    """CLIP's own forward pass, by the interface of the image tower."""
    x, _ = clip.image_tower.embed(torch.from_numpy(images))
    for block in clip.image_tower.blocks:
        x = block(x)
    return clip.image_tower.project(x[:, 0])


def assert_computes(clip, images, ids, expected_images, expected_texts):
    with torch.no_grad():
        found = image_embeddings(clip, images), clip.text_encoder.clip.encode_text(torch.from_numpy(ids))
    for got, expected in zip(found, (expected_images, expected_texts)):
        assert got.std(dim=0).mean() > 0.1  # the inputs' embeddings differ
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-5)


def assert_computes_what_transformers_computed(clip):
    with np.load(DATA / 'expected.npz') as golden:
        assert_computes(clip, *(golden[key] for key in ('images', 'ids', 'image_embeddings', 'text_embeddings')))


# --- a checkpoint of transformers 5, with the embeddings that transformers computed


def test_embeddings_are_those_of_transformers(folder):
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder)))


def test_the_weights_file_of_the_folder_may_be_named(folder):
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder / 'model.safetensors')))


def test_a_model_with_a_text_tower_of_its_own(folder):
    assert_computes_what_transformers_computed(load_clip('toy-two-towers-quickgelu', str(folder)))


@pytest.mark.parametrize('name', ['pytorch_model.bin', 'mine.pt'])
def test_a_pickle_with_position_ids_as_old_releases_saved_it(folder, name):
    state = load_file(folder / 'model.safetensors')
    (folder / 'model.safetensors').unlink()
    torch.save({**state, 'vision_model.embeddings.position_ids': torch.arange(10)[None],
                'text_model.embeddings.position_ids': torch.arange(11)[None]}, folder / name)
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder / name)))


def test_text_embeddings_through_the_text_encoder(folder):
    with np.load(DATA / 'expected.npz') as golden:
        ids, expected = torch.from_numpy(golden['ids']), torch.from_numpy(golden['text_embeddings'])
    encoder = load_clip(QUICK, str(folder)).text_encoder
    encoder.cache = False
    encoder.tokenizer = lambda texts, length=11: torch.stack([ids[int(text) if text else 1] for text in texts])
    rows = encoder.encode(['0', '1', '2', '3', '4'], ['{}'])
    torch.testing.assert_close(rows, expected / expected.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-5)


def test_open_clip_s_own_file_in_the_folder_comes_first(folder):
    state = open_clip_state(load_file(folder / 'model.safetensors'))
    save_file({key: torch.full_like(value, 0.5).contiguous() for key, value in state.items()},
              folder / 'open_clip_model.safetensors')
    assert (load_clip(QUICK, str(folder)).image_tower.visual.proj == 0.5).all()


def test_settings_that_are_defaults_may_be_left_out(folder):
    edit(folder / 'config.json', **{f'{part}_config.{key}': ... for part in PARTS for key in ('hidden_act', 'layer_norm_eps')})
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder)))


def test_of_two_settings_of_an_old_file_the_one_that_transformers_takes(folder):
    config = json.loads((folder / 'config.json').read_text())
    edit(folder / 'config.json', vision_config_dict=config['vision_config'], text_config_dict=config['text_config'],
         vision_config=dict(hidden_size=64), text_config=None)
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder)))


def test_the_eos_token_of_old_files(folder):
    edit(folder / 'config.json', **{'text_config.eos_token_id': 2})
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder)))


# --- mean and deviation


def test_normalisation_of_the_folder(folder):
    clip = load_clip(QUICK, str(folder))
    assert (clip.mean, clip.std) == (tuple(MAKE['MEAN']), tuple(MAKE['STD']))


def test_normalisation_as_a_processor_saves_it_since_transformers_5(folder):
    (folder / 'processor_config.json').write_text(json.dumps(dict(image_processor=dict(image_mean=[.1, .2, .3],
                                                                                       image_std=[.4, .5, .6]))))
    clip = load_clip(QUICK, str(folder))
    assert (clip.mean, clip.std) == ((.1, .2, .3), (.4, .5, .6))


def test_openai_s_normalisation_where_the_folder_has_none(folder):
    (folder / 'preprocessor_config.json').unlink()
    clip = load_clip(QUICK, str(folder))
    assert (clip.mean, clip.std) == (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


@pytest.mark.parametrize(('file', 'content', 'message'), [
    ('preprocessor_config.json', dict(image_mean=[.5, .5]), 'image_mean must be three numbers from 0 to 1'),
    ('preprocessor_config.json', dict(image_std=[.5, 0, .5]), r'image_std must be three numbers from 0 \(not itself\) to 1'),
    ('processor_config.json', dict(image_processor=[]), 'image_processor must be an object')])
def test_a_wrong_normalisation(folder, file, content, message):
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f'^{folder / file}: {message}$'):
        load_clip(QUICK, str(folder))


# --- what is refused


@pytest.mark.parametrize('name', OTHERS)
def test_another_architecture(folder, name):
    _, key, given, wanted = OTHERS[name]
    with pytest.raises(ValueError) as raised:
        load_clip(f'{name}-quickgelu', str(folder))
    assert str(raised.value) == (f"{folder / 'config.json'}: {key}={given}, but clip.name='{name}-quickgelu' has {wanted}: "
                                 'choose the clip.name of that architecture')


@pytest.mark.parametrize('name', STRANGE)
def test_a_model_that_reads_texts_in_another_way(folder, name):
    with pytest.raises(ValueError, match=rf"config\.json: clip\.name='{name}' has other towers than transformers' CLIP"):
        load_clip(name, str(folder))


@pytest.mark.parametrize(('saved', 'asked', 'words'), [('gelu', QUICK, ('GELU', 'QuickGELU', GELU)),
                                                       ('quick_gelu', GELU, ('QuickGELU', 'GELU', QUICK))])
def test_another_activation(folder, saved, asked, words):
    edit(folder / 'config.json', **{f'{part}_config.hidden_act': saved for part in PARTS})
    with pytest.raises(ValueError, match=rf"model\.safetensors was trained with {words[0]}, but clip\.name='{asked}' computes "
                                         rf"{words[1]}: set clip\.name='{words[2]}'$"):
        load_clip(asked, str(folder))


@pytest.mark.parametrize(('changes', 'message'), [
    ({'model_type': 'siglip'}, r"model_type='siglip' must be 'clip'"), ({'model_type': 'bert'}, r"model_type='bert' must be"),
    ({'model_type': 'clip_vision_model'}, r"model_type='clip_vision_model' must be"),
    ({'model_type': []}, r'model_type=\[\] must be'),
    ({'vision_config': 5}, 'vision_config must be an object'), ({'text_config': []}, 'text_config must be an object'),
    ({'vision_config.hidden_act': 'gelu'}, r"vision_config\.hidden_act='gelu' and text_config\.hidden_act='quick_gelu' must"),
    ({'text_config.hidden_act': 'gelu_fast'}, r"text_config\.hidden_act='gelu_fast' is unknown; known: quick_gelu, gelu"),
    ({'text_config.hidden_act': None}, r'text_config\.hidden_act=None is unknown'),
    ({'text_config.eos_token_id': 7}, r'text_config\.eos_token_id=7 must be 52 or 2: '),
    ({'text_config.eos_token_id': ...}, r'text_config\.eos_token_id=49407 must be 52 or 2: '),
    ({'text_config.eos_token_id': [52]}, r'text_config\.eos_token_id=\[52\] must be'),
    ({'vision_config.hidden_size': '10'}, r"vision_config\.hidden_size='10', but clip\.name="),
    ({'vision_config.image_size': [21, 21]}, r'vision_config\.image_size=\[21, 21\], but clip\.name='),
    ({'projection_dim': ...}, r'projection_dim=512, but clip\.name=')], ids=str)
def test_a_config_of_another_kind(folder, changes, message):
    edit(folder / 'config.json', **changes)
    with pytest.raises(ValueError, match=f"^{folder / 'config.json'}: {message}") as raised:
        load_clip(QUICK, str(folder))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(('content', 'message'), [(b'{', 'is not valid JSON: '), (b'\xff', 'is not valid JSON: '),
                                                  (b'[]', 'must be a JSON object')])
@pytest.mark.parametrize('file', ['config.json', 'preprocessor_config.json', 'processor_config.json'])
def test_a_config_that_is_no_json(folder, file, content, message):
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=f'^{folder / file} {message}') as raised:
        load_clip(QUICK, str(folder))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(('key', 'named'), [
    ('vision_model.encoder.layers.1.self_attn.k_proj.weight', r'vision_model\.encoder\.layers\.1\.self_attn\.k_proj\.weight'),
    ('text_model.encoder.layers.0.self_attn.v_proj.bias', r'text_model\.encoder\.layers\.0\.self_attn\.v_proj\.bias'),
    ('vision_model.pre_layrnorm.bias', r'visual\.ln_pre\.bias'), ('text_projection.weight', 'text_projection'),
    ('logit_scale', 'logit_scale')])
def test_a_missing_key(folder, key, named):
    state = load_file(folder / 'model.safetensors')
    del state[key]
    save_file(state, folder / 'model.safetensors')
    with pytest.raises(ValueError, match=rf'model\.safetensors does not hold the weights of {QUICK}: .*{named}') as raised:
        load_clip(QUICK, str(folder))
    assert '\n' not in str(raised.value)


@pytest.mark.parametrize(('key', 'change', 'named'), [
    ('text_model.encoder.layers.0.self_attn.q_proj.weight', lambda value: value[:7].clone(), 'must have one shape and type'),
    ('vision_model.encoder.layers.2.self_attn.v_proj.bias', torch.Tensor.int, 'must have one shape and type'),
    ('visual_projection.weight', lambda value: value[None], 'dimension|2D'),
    ('visual_projection.weight', lambda value: value.t().contiguous(), 'size mismatch for visual.proj'),
    ('vision_model.embeddings.position_embedding.weight', lambda value: value[1:].clone(), 'visual.positional_embedding')])
def test_a_weight_of_another_shape_or_type(folder, key, change, named):
    state = load_file(folder / 'model.safetensors')
    save_file({**state, key: change(state[key])}, folder / 'model.safetensors')
    with pytest.raises(ValueError, match=rf'model\.safetensors does not hold the weights of {QUICK}: .*({named})') as raised:
        load_clip(QUICK, str(folder))
    assert '\n' not in str(raised.value)


def test_an_unknown_key_is_named(folder):
    state = load_file(folder / 'model.safetensors')
    save_file({**state, 'vision_model.head.probe': torch.ones(3)}, folder / 'model.safetensors')
    with pytest.raises(ValueError, match=r'does not hold the weights of .*vision_model\.head\.probe'):
        load_clip(QUICK, str(folder))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_a_pickle_is_not_executed(folder, tmp_path):
    state = load_file(folder / 'model.safetensors')
    (folder / 'model.safetensors').unlink()
    torch.save({**state, 'extra': Bomb(tmp_path / 'executed')}, folder / 'pytorch_model.bin')
    with pytest.raises(ValueError, match=r'pytorch_model\.bin does not hold the weights of'):
        load_clip(QUICK, str(folder))
    assert not (tmp_path / 'executed').exists()


def test_code_beside_the_weights_is_not_executed(folder, tmp_path):
    (folder / 'modeling.py').write_text(f'open({os.fspath(tmp_path / "executed")!r}, "w")')
    edit(folder / 'config.json', auto_map=dict(AutoModel='modeling.Model'), architectures=['Model'])
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder)))
    assert not (tmp_path / 'executed').exists()


def test_a_config_that_is_not_of_transformers_is_not_read(folder):
    state = open_clip_state(load_file(folder / 'model.safetensors'))
    save_file({key: value.contiguous() for key, value in state.items()}, folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps(dict(learning_rate=0.1)))
    assert_computes_what_transformers_computed(load_clip(QUICK, str(folder)))


# --- the hub


class Hub:
    """A repository with the files of a folder, and a cache into which they are copied."""

    def __init__(self, folder, cache, monkeypatch):
        self.folder, self.cache, self.asked = folder, cache, []
        cache.mkdir()
        monkeypatch.setattr(loading, 'snapshot_download', self.snapshot_download)
        monkeypatch.setattr(loading, 'hf_hub_download', self.hf_hub_download)

    def snapshot_download(self, repository, allow_patterns):
        for file in self.folder.iterdir():
            if file.name in allow_patterns:
                self.hf_hub_download(repository, file.name)
        return str(self.cache)

    def hf_hub_download(self, repository, file):
        self.asked.append((repository, file))
        if not (self.folder / file).exists():
            raise EntryNotFoundError('404')
        return shutil.copy(self.folder / file, self.cache)


def test_a_repository_on_the_hub(folder, tmp_path, monkeypatch):
    hub = Hub(folder, tmp_path / 'cache', monkeypatch)
    clip = load_clip(QUICK, 'hf-hub:owner/clip')
    assert_computes_what_transformers_computed(clip)
    assert clip.mean == tuple(MAKE['MEAN'])
    assert {repository for repository, _ in hub.asked} == {'owner/clip'}
    assert {file.name for file in hub.cache.iterdir()} == {'config.json', 'preprocessor_config.json', 'model.safetensors'}
    assert loading.weights_digest(QUICK, 'hf-hub:owner/clip') == loading.weights_digest(QUICK, str(folder))


def test_weights_of_a_repository_that_are_on_the_disk_are_not_asked_for_again(folder, tmp_path, monkeypatch):
    hub = Hub(folder, tmp_path / 'cache', monkeypatch)
    for _ in range(2):
        assert_computes_what_transformers_computed(load_clip(QUICK, 'hf-hub:owner/clip'))
    assert hub.asked.count(('owner/clip', 'model.safetensors')) == 1


def test_a_repository_of_another_activation(folder, tmp_path, monkeypatch):
    Hub(folder, tmp_path / 'cache', monkeypatch)
    with pytest.raises(ValueError, match=f"trained with QuickGELU, .*set clip.name='{QUICK}'"):
        load_clip(GELU, 'hf-hub:owner/clip')


def test_a_repository_without_weights(folder, tmp_path, monkeypatch):
    (folder / 'model.safetensors').rename(folder / 'model-00001-of-00002.safetensors')
    Hub(folder, tmp_path / 'cache', monkeypatch)
    monkeypatch.setattr(hub, 'unreachable', str)
    with pytest.raises(FileNotFoundError, match=r'owner/clip on the Hugging Face hub(?s:.*)the repository has none of '
                                                r'open_clip_model\.safetensors, .*, pytorch_model\.bin$'):
        load_clip(QUICK, 'hf-hub:owner/clip')


@pytest.mark.parametrize('error', [OSError, ValueError, EntryNotFoundError])
def test_a_repository_that_cannot_be_reached(monkeypatch, error):
    def unreachable(*args, **kwargs):
        raise error('no route to host')

    monkeypatch.setattr(loading, 'snapshot_download', unreachable)
    monkeypatch.setattr(hub, 'unreachable', str)
    with pytest.raises(FileNotFoundError) as raised:
        load_clip(QUICK, 'hf-hub:owner/clip')
    assert all(part in str(raised.value) for part in (
        "clip.pretrained='hf-hub:owner/clip'", f'looked in: {HF_HUB_CACHE}\n',
        "snapshot_download('owner/clip')", 'no route to host'))


# --- against transformers itself


@pytest.fixture
def transformers():
    return pytest.importorskip('transformers')


@pytest.mark.parametrize('safe', [True, False], ids=['safetensors', 'bin'])
@pytest.mark.parametrize('eos_token_id', [2, 52])
@pytest.mark.parametrize(('hidden_act', 'name'), [('quick_gelu', QUICK), ('gelu', GELU)])
@pytest.mark.usefixtures('transformers')
def test_embeddings_are_those_that_transformers_computes(tmp_path, hidden_act, name, eos_token_id, safe):
    model = MAKE['make_model'](hidden_act, eos_token_id, seed=5)
    model.save_pretrained(tmp_path)
    if not safe:
        (tmp_path / 'model.safetensors').unlink()
        torch.save(model.state_dict(), tmp_path / 'pytorch_model.bin')
    images, ids = MAKE['make_inputs'](seed=7)
    assert_computes(load_clip(name, str(tmp_path)), images, ids, *MAKE['embeddings'](model, images, ids))


def test_other_models_of_transformers(tmp_path, transformers):
    sizes = dict(hidden_size=14, intermediate_size=23, num_hidden_layers=2, num_attention_heads=7)
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=53, **sizes))
    vision = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(image_size=21, patch_size=7, **sizes))
    siglip = transformers.SiglipModel(transformers.SiglipConfig(
        vision_config=dict(image_size=21, patch_size=7, **sizes), text_config=dict(vocab_size=53, **sizes)))
    for model, kind in ((bert, 'bert'), (vision, 'clip_vision_model'), (siglip, 'siglip')):
        model.save_pretrained(tmp_path / kind)
        with pytest.raises(ValueError, match=f"^{tmp_path / kind / 'config.json'}: model_type='{kind}' must be 'clip'$"):
            load_clip(QUICK, str(tmp_path / kind))
        (tmp_path / kind / 'config.json').unlink()
        with pytest.raises(ValueError, match=r'model\.safetensors does not hold the weights of .*'):
            load_clip(QUICK, str(tmp_path / kind))
