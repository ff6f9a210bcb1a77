import inspect
import logging
import runpy
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image

from ovseg.apis import OVSegInferencer
from ovseg.apis.model_config import load_config
from ovseg.apis.reading import Reading
from ovseg.models import CLIPSegmentor
from ovseg.models.regions.npz_regions import write_regions
from ovseg.models.segmentors.switches import nested_model
from ovseg.models.towers import loading
from ovseg.resources import configs_dir

EVIL = runpy.run_path(str(Path(__file__).parents[1] / 'evil_checkpoints.py'), run_name='evil')['EVIL']
WORDS = ['zebra', 'ladybug; beetle', 'snow']


@contextmanager
def encoded(inferencer):
    """Collects the prompts that are encoded inside: their number per forward pass."""
    counts = []
    hook = inferencer.model.text_encoder.register_forward_pre_hook(lambda module, args: counts.append(len(args[0])))
    yield counts
    hook.remove()


def segmentor_labels(inferencer, images, **switches):
    """Labels of a segmentor built anew, with its own words and thresholds, by BGR images in their own size."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(nested_model(inferencer.cfg.model, switches, replace=True)).eval()
    inputs = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]
    with torch.no_grad():
        samples = model.test_step(dict(inputs=inputs, data_samples=[SegDataSample() for _ in images]))
    return [sample.pred_sem_seg.data[0].numpy() for sample in samples]


def test_labels_are_those_of_the_runner(tmp_path):
    cfg = load_config('gated_tiny-clip', None, {
        'model.prompt_templates': ['a photo of {}.'], 'test_dataloader.num_workers': 0, 'test_dataloader.dataset.indices': 2,
        'work_dir': str(tmp_path / 'logs'), 'log_level': 'ERROR',
        'custom_hooks': [dict(type='LabelMapHook', out_dir=str(tmp_path / 'labels'))]})
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(2048, 181), keep_ratio=True))
    runner = Runner.from_cfg(cfg)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mmengine and mmseg warn about their own defaults
        runner.test()
    paths = [runner.test_dataloader.dataset.get_data_info(index)['img_path'] for index in range(2)]
    expected = [np.array(Image.open(path)) for path in sorted((tmp_path / 'labels').glob('*.png'))]
    found = OVSegInferencer(cfg, device='cpu')(paths, batch_size=2)['predictions']
    assert len(expected) == 2 and expected[0].shape == (256, 608)
    assert len({*np.unique(expected[0]), *np.unique(expected[1])}) > 2
    for got, wanted in zip(found, expected):
        np.testing.assert_array_equal(got, wanted)


def test_all_kinds_of_input_give_the_same_labels(inferencer, noise, tmp_path):
    Image.fromarray(noise()[..., ::-1]).save(tmp_path / 'a.png')
    expected, = segmentor_labels(inferencer, [noise()], name_path=WORDS)
    for images in (tmp_path / 'a.png', str(tmp_path / 'a.png'), (tmp_path / 'a.png').as_uri(), noise(), tmp_path,
                   Image.open(tmp_path / 'a.png'), [noise()], (image for image in [noise()])):
        result = inferencer(images, WORDS)
        assert len(result['predictions']) == 1 and result['visualization'] == []
        np.testing.assert_array_equal(result['predictions'][0], expected)


METHODS = [path.stem[:-len('_demo')] for path in sorted((configs_dir() / 'demo').glob('*_tiny-clip_demo.py'))]


@pytest.mark.parametrize('method', METHODS)
def test_every_method_by_name_with_paths_arrays_and_pil_images(build, noise, tmp_path, method):
    Image.fromarray(noise()[..., ::-1]).save(tmp_path / 'a.png')
    inferencer = build(method)
    expected, = segmentor_labels(inferencer, [noise()], name_path=WORDS)
    result = inferencer([tmp_path / 'a.png', noise(), Image.open(tmp_path / 'a.png')], WORDS, batch_size=2)
    for found in result['predictions']:
        np.testing.assert_array_equal(found, expected)


def test_region_maps_are_found_by_the_path_of_an_image_and_an_array_has_none(build, noise, tmp_path):
    Image.fromarray(noise()[..., ::-1]).save(tmp_path / 'a.png')
    write_regions(tmp_path / 'a.npz', np.arange(61 * 83).reshape(61, 83) // 700)
    inferencer = build('corrclip_tiny-clip', cfg_options={'model.image_encoder.regions.type': 'NpzRegions',
                                                          'model.image_encoder.regions.root': str(tmp_path)})
    for source in (tmp_path / 'a.png', str(tmp_path / 'a.png'), (tmp_path / 'a.png').as_uri()):
        assert inferencer(source, WORDS)['predictions'][0].shape == (61, 83)
    for source in (noise(), Image.open(tmp_path / 'a.png')):
        with pytest.raises(ValueError, match=r'^NpzRegions finds region maps by img_path, and the image has none'):
            inferencer(source, WORDS)


@pytest.mark.parametrize('batch_size', [2, 7])
def test_batches_of_images_of_different_sizes(inferencer, noise, batch_size):
    images = [noise(61, 83), noise(37, 29, seed=1), noise(47, 101, seed=2)]
    found = inferencer(images, WORDS, batch_size=batch_size)['predictions']
    for got, wanted in zip(found, segmentor_labels(inferencer, images, name_path=WORDS)):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == np.uint8


def test_background_and_threshold(inferencer, scene):
    image = np.asarray(Image.open(scene(3)))[-131:, :173, ::-1]
    for threshold in (None, 0.4):
        got = inferencer(image, WORDS, background='grass, water', threshold=threshold)
        wanted, = segmentor_labels(inferencer, [image], name_path=['grass, water', *WORDS], prob_thd=threshold or 0, bg_idx=0)
        np.testing.assert_array_equal(got['predictions'][0], wanted)
        for index, name in enumerate(['background', 'zebra', 'ladybug', 'snow']):
            assert got['areas'][0].get(name, 0) == pytest.approx((wanted == index).mean())


def test_only_new_names_are_encoded(build, noise):
    inferencer = build(templates=('one {}.', 'two {}!', 'my {}'))
    with encoded(inferencer) as counts:
        inferencer(noise(), ['lynx', 'moss; lichen'])
        assert sum(counts) == 3 * 3
        inferencer(noise(), ['lynx', 'moss; lichen'])
        inferencer(noise(), ['moss', 'lynx'], background='lichen', threshold=0.5)
        assert sum(counts) == 3 * 3
        inferencer(noise(), ['lynx', 'fern'])
        assert sum(counts) == 3 * 4


def test_the_names_of_the_config_come_back(inferencer, scene):
    image = np.asarray(Image.open(scene(3)))[-131:, :173, ::-1]
    before = inferencer(image)
    inferencer(image, WORDS, background='sand', threshold=0.9)
    after = inferencer(image)
    np.testing.assert_array_equal(before['predictions'][0], after['predictions'][0])
    assert before['areas'] == after['areas']


def test_five_hundred_names_and_names_of_all_kinds(inferencer, noise):
    words = ['猫 🐈', '犬', '🌲', 'a very long name ' * 20, *(f'word {index}' for index in range(500))]
    result = inferencer(noise(), words, return_vis=True)
    assert result['predictions'][0].dtype == np.uint16
    wanted, = segmentor_labels(inferencer, [noise()], name_path=words)
    np.testing.assert_array_equal(result['predictions'][0], wanted)
    assert set(result['areas'][0]) == {' '.join(words[index].split()) for index in np.unique(wanted)}


def test_without_a_model_the_tiny_clip_serves_and_says_so(monkeypatch):
    lines = []
    monkeypatch.setattr('ovseg.apis.ovseg_inferencer.print_log', lambda message, logger: lines.append(message))
    inferencer = OVSegInferencer(device='cpu')
    assert inferencer.cfg.model.clip.name == 'ovseg-tiny-clip'
    assert len(lines) == 1
    assert 'It knows 16 class names (grass, water, brick,' in lines[0] and "OVSegInferencer('gated_vit-b16')" in lines[0]
    OVSegInferencer('gated_tiny-clip', device='cpu')
    assert len(lines) == 1


def test_a_real_model_without_its_weights_is_an_error(monkeypatch):
    def no_network(tag):
        raise OSError('no network')
    monkeypatch.setattr(loading, 'download_pretrained', no_network)
    with pytest.raises(FileNotFoundError, match='ViT-B-16'):
        OVSegInferencer('gated_vit-b16')


def test_weights_of_ones_own(tmp_path, build, noise):
    torch.manual_seed(3)
    clip = open_clip.create_model('ovseg-tiny-clip')
    torch.save(clip.state_dict(), tmp_path / 'mine.pt')
    inferencer = build(weights=tmp_path / 'mine.pt')
    expected, = segmentor_labels(inferencer, [noise()], name_path=WORDS, pretrained=str(tmp_path / 'mine.pt'))
    np.testing.assert_array_equal(inferencer(noise(), WORDS)['predictions'][0], expected)


@pytest.mark.parametrize('name', ['zip', 'legacy'])
def test_weights_run_no_code(tmp_path, build, name):
    EVIL[name](tmp_path / 'evil.pt', tmp_path / 'executed', {'a': torch.zeros(3)})
    with pytest.raises(ValueError, match=f'{tmp_path / "evil.pt"} '):
        build(weights=tmp_path / 'evil.pt')
    assert not (tmp_path / 'executed').exists()


def test_settings_reach_the_model_and_nothing_is_halved_unasked(build):
    inferencer = build(cfg_options={'model.image_encoder.precision': 'bf16', 'model.apply_ctd': True})
    assert inferencer.model.tower.visual.proj.dtype == torch.bfloat16
    assert [type(module).__name__ for module in inferencer.model.post_processors.modules] == ['CTD']
    assert build().model.tower.visual.proj.dtype == torch.float32


def test_the_device_is_the_best_there_is(monkeypatch):
    monkeypatch.setattr('ovseg.apis.ovseg_inferencer.get_device', lambda: 'meta')
    with pytest.raises(ValueError, match="device='meta' cannot be used"):
        OVSegInferencer('gated_tiny-clip')


@pytest.mark.parametrize('device, reason', [
    ('nonsense', 'Expected one of cpu'), ('', 'must not be empty'), ('meta', 'no data'), (7.5, 'float')])
def test_a_device_that_cannot_be_used_is_named_before_anything_is_loaded(monkeypatch, device, reason):
    monkeypatch.setattr('ovseg.apis.ovseg_inferencer.load_config', pytest.fail)
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used: .*{reason}") as caught:
        OVSegInferencer('gated_tiny-clip', device=device)
    assert '\n' not in str(caught.value)


def test_too_little_memory_of_a_gpu_is_said_with_what_helps(build, noise, tmp_path, monkeypatch):
    inferencer, test_step = build(), CLIPSegmentor.test_step

    def full(self, data):
        if data['inputs'][0].shape[1] == 61:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 7 GiB.\nand so on')
        return test_step(self, data)
    monkeypatch.setattr(CLIPSegmentor, 'test_step', full)
    with pytest.raises(MemoryError, match=r'83 x 61 pixels: the GPU .* Lower batch_size .* 7 GiB\.\)$'):
        inferencer([noise(37, 29), noise(61, 83)], ['zebra', 'snow'], out_dir=tmp_path)
    assert [path.name for path in (tmp_path / 'pred').iterdir()] == ['000000.png']


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_gpu_labels_are_the_same(inferencer, scene):
    on_gpu = OVSegInferencer('gated_tiny-clip', cfg_options={'model.prompt_templates': ['a photo of {}.']})
    assert on_gpu.model.tower.visual.proj.is_cuda
    for number in range(3):
        equal = on_gpu(scene(number))['predictions'][0] == inferencer(scene(number))['predictions'][0]
        assert equal.mean() > 0.999


def test_another_model_is_refused():
    cfg = load_config('gated_tiny-clip', None, {})
    cfg.model = dict(type='EncoderDecoder', backbone=dict(type='ResNetV1c', depth=18), decode_head=dict(
        type='FCNHead', in_channels=512, in_index=3, channels=7, num_classes=3, norm_cfg=dict(type='BN')))
    with warnings.catch_warnings(), pytest.raises(ValueError, match='is a EncoderDecoder; class names need a CLIPSegmentor'):
        warnings.simplefilter('ignore')
        OVSegInferencer(cfg, device='cpu')


@pytest.mark.parametrize('kwargs, error, message', [
    (dict(batch_size=0), ValueError, 'batch_size=0 must be an integer >= 1'),
    (dict(threshold=0.5), ValueError, 'needs a background'), (dict(classes=[]), ValueError, 'has no classes'),
    (dict(images='missing.png'), FileNotFoundError, 'missing.png'),
    (dict(images=7), TypeError, 'this is int')])
def test_wrong_arguments_are_refused_at_once(inferencer, noise, kwargs, error, message):
    with pytest.raises(error, match=message):
        inferencer.stream(**{**dict(images=noise(), classes=WORDS), **kwargs})


@pytest.mark.parametrize('key', ['model.type', 'test_dataloader.dataset.pipeline.1.type'])
def test_unknown_types_are_refused(key):
    with pytest.raises(ValueError, match=r'gated_tiny-clip_demo\.py: Foo is not in the mmseg::'):
        OVSegInferencer('gated_tiny-clip', device='cpu', cfg_options={key: 'Foo'})


def test_a_limit_that_is_no_integer_is_refused():
    with pytest.raises(ValueError, match=r'max_pixels=1\.5 must be an integer >= 1'):
        OVSegInferencer('gated_tiny-clip', max_pixels=1.5)


def test_large_images_are_refused_in_their_own_size_and_in_that_of_the_network(build, noise):
    inferencer = build(max_pixels=5 * 31 * 43)
    assert inferencer(noise(31, 43), WORDS)['predictions'][0].shape == (31, 43)
    with pytest.raises(ValueError, match=r'of 44 x 31 pixels would reach the network with 44 x 31 .* 5th of max_pixels=6665'):
        inferencer(noise(31, 44), WORDS)
    with pytest.raises(ValueError, match='101 x 67 pixels is too large: 101 x 67 pixels, and max_pixels=6665'):
        inferencer(noise(67, 101), WORDS)


def test_an_image_that_cannot_be_resized_is_named(build, noise):
    cfg = load_config('gated_tiny-clip', None, {})
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(199, 61), keep_ratio=True))
    with pytest.raises(ValueError, match='ndarray of 1009 x 1 pixels cannot be resized'):
        build(cfg)(noise(1, 1009), WORDS)


@pytest.mark.parametrize('size', [(1, 1), (1, 97), (17, 16)])
def test_tiny_images(inferencer, noise, size):
    result = inferencer(noise(*size), WORDS, return_vis=True)
    assert result['predictions'][0].shape == size
    assert result['visualization'][0].shape[0] > size[0]


def test_both_ways_take_the_same_arguments(inferencer, noise, monkeypatch):
    of_stream = inspect.signature(OVSegInferencer.stream).parameters
    own = [one for one in inspect.signature(OVSegInferencer.__call__).parameters.values() if one.kind != one.VAR_KEYWORD]
    assert all(of_stream[one.name] == one for one in own)
    with pytest.raises(TypeError, match='batchsize'):
        inferencer(noise(), ['zebra'], batchsize=2)
    given = {one.name: object() for one in of_stream.values() if one.kind == one.KEYWORD_ONLY}
    taken = []
    monkeypatch.setattr(OVSegInferencer, 'stream', lambda self, *args, **options: taken.append((args, options)) or iter(()))
    inferencer('images', 'classes', **given)
    assert taken == [(('images', 'classes'), given)]


VARIANTS = [
    {'model.apply_ctd': True, 'model.ctd_cfg': dict(eps=0.8, min_samples=3)},
    {'model.model_type': 'NACLIP', 'model.apply_similarity_enhancement': False},
    {'model.windows.crop': 97, 'model.windows.stride': 61},
    {'model.vocabulary.names': ['zebra', 'ladybug; beetle', 'snow'], 'model.decoder.prob_thd': 0.4},
    {'model.decoder.refiner': dict(type='PAMR', num_iter=2)},
    {'test_dataloader.dataset.pipeline': [dict(type='Resize', scale=(211, 97), keep_ratio=True), dict(type='PackSegInputs')]}]


def parameters(model):
    return {name: id(parameter) for name, parameter in model.named_parameters()}


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_a_variant_is_a_fresh_inferencer_with_the_weights_of_the_first(build, scene, monkeypatch, options):
    fresh, first = build(cfg_options=options), build()
    image = np.asarray(Image.open(scene(3)))[-131:, :173, ::-1]
    before = first(image)['predictions'][0]
    assert len(np.unique(before)) > 2
    monkeypatch.setattr(loading, 'load_clip', pytest.fail)
    variant = first.variant(options)
    assert len(parameters(first.model)) > 50 and parameters(variant.model) == parameters(first.model)
    assert variant.cfg.model == fresh.cfg.model and variant.model.cfg is variant.cfg and not variant.model.training
    for words in ({}, dict(classes=['snow', 'sand', 'grass'], background='brick', threshold=0.3), {}):
        got, expected = variant(image, **words), fresh(image, **words)
        np.testing.assert_array_equal(got['predictions'][0], expected['predictions'][0])
        assert got['areas'] == expected['areas']
    np.testing.assert_array_equal(first(image)['predictions'][0], before)


def test_variants_of_variants_and_their_names_do_not_disturb_each_other(build, noise):
    first = build()
    second = first.variant({'model.apply_ctd': True})
    third = second.variant({'model.apply_outlier_suppression': True})
    assert [len(each.model.post_processors.modules) for each in (first, second, third)] == [0, 1, 2]
    expected = first(noise())['predictions'][0]
    third(noise(), WORDS, background='sky', threshold=0.9)
    assert first.model.class_names == second.model.class_names != third.model.class_names
    np.testing.assert_array_equal(first(noise())['predictions'][0], expected)
    assert len(parameters(first.model).items() & parameters(third.model).items()) == len(parameters(first.model))


@pytest.mark.parametrize('options, message', [
    ({'model.clip.pretrained': 'mine.pt'}, r'model\.clip cannot be changed in a variant'),
    ({'model.clip_model': 'ViT-B-16'}, r'model\.clip cannot be changed in a variant'),
    ({'model.data_preprocessor': dict(type='OVSegDataPreProcessor')}, r'model\.data_preprocessor cannot be changed in a'),
    ({'model.init_cfg': dict(type='Pretrained')}, r'model\.init_cfg cannot be changed in a variant'),
    ({'model.aply_ctd': True}, r'model\.aply_ctd cannot be changed in a variant, which may have others of vocabulary, imag'),
    ({'model.decoder.prob_thd': 7}, r'decoder\.prob_thd=7 must be in \[0, 1\]'),
    ({'model.windows.crop': 5, 'model.windows.stride': 5}, r'windows\.crop=5 .*patch'),
    ({'model.decoder.refiner': 'PAMRR'}, 'PAMRR'),
    ({'test_dataloader.dataset.pipeline.1.type': 'Foo'}, r'gated_tiny-clip_demo\.py.*Foo'),
    ({'nodel.x': 5}, 'nodel')], ids=str)
def test_what_a_variant_cannot_have_is_refused(inferencer, options, message):
    before = inferencer.cfg.to_dict()
    with pytest.raises(ValueError, match=message) as caught:
        inferencer.variant(options)
    assert '\n' not in str(caught.value) and inferencer.cfg.to_dict() == before


def test_a_model_of_ones_own_class_stays_one(build, scene, monkeypatch):
    class Mirrored(CLIPSegmentor):
        def predict(self, inputs, data_samples=None):
            return super().predict([image.flip(-1) for image in inputs], data_samples)
    monkeypatch.setitem(MODELS.module_dict, 'Mirrored', Mirrored)
    cfg = load_config('gated_tiny-clip', None, {})
    cfg.model.type = 'Mirrored'
    image = np.asarray(Image.open(scene(3)))[-131:, :173, ::-1]
    mirrored, expected = build(cfg), build()(image[:, ::-1], ['grass', *WORDS])['predictions'][0]
    for each in (mirrored, mirrored.variant({'model.decoder.logit_scale': 41})):
        np.testing.assert_array_equal(each(image, ['grass', *WORDS])['predictions'][0], expected)


def test_names_that_clip_cuts_are_warned_of_once_in_every_call(inferencer, noise):
    cuts, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: cuts.append('too few for a prompt of' in record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        for calls in (1, 2):
            inferencer([noise(), noise(67, 71)], ['snow', 'zebra ' * 90], show_progress=False)
            assert sum(cuts) == calls
    finally:
        logger.removeHandler(handler)


def test_stored_region_maps_are_found_by_the_path_of_an_image(noise, tmp_path):
    write_regions(tmp_path / 'a.npz', np.arange(61 * 83).reshape(61, 83) % 7)
    Image.fromarray(noise()).save(tmp_path / 'a.png')
    encoder = dict(type='CorrCLIPEncoder', guide='CLIPGuide', regions=dict(type='NpzRegions', root=str(tmp_path)))
    inferencer = OVSegInferencer(cfg_options={'model.image_encoder': encoder}, device='cpu')
    assert len(inferencer(tmp_path / 'a.png', ['cat', 'dog'])['predictions']) == 1
    with pytest.raises(ValueError, match='NpzRegions finds region maps by img_path, and the image has none'):
        inferencer(noise(), ['cat', 'dog'])


@pytest.mark.parametrize('bands', [2, np.array(2), '321'])
def test_bands_that_are_no_sequence_are_refused(inferencer, noise, bands):
    with pytest.raises(ValueError, match=r'^bands=.* must be one band, for grey, or three, for red, green and blue$'):
        inferencer.stream(noise(37, 29), ['zebra'], bands=bands)


def test_bands_can_be_an_array(inferencer):
    call = inferencer.call(['zebra'], None, None, 1, False, Reading(bands=np.array([3, 2, 1])), 0, None)
    assert call.reading.bands == (3, 2, 1)
