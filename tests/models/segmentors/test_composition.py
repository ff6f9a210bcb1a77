"""Every dense encoder with every other component, on the tiny CLIP."""
import copy
import pickle
from functools import cache
from itertools import product

import pytest
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample

from ovseg.apis.image_sources import read_image
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.models import CLIPSegmentor
from ovseg.models.segmentors import CLIPSegTTAModel
from ovseg.models.towers import load_clip, loading
from ovseg.registry import DENSE_ENCODERS, POST_PROCESSORS, REFINERS, UPSAMPLERS
from ovseg.resources import configs_dir

CLIP = dict(name='ovseg-tiny-clip', pretrained='embedded')
WORDS = dict(names=['grass', 'snow, ice', 'ladybug', 'gravel', 'sky'], templates=['a {}.'])
WINDOWS = dict(crop=67, stride=41, batch_size=4)
SIZES = ((71, 97), (61, 101), (71, 97))
CONFIGS = {path.stem[:-len('_tiny-clip_demo')]: Config.fromfile(path).model.to_dict()
           for path in sorted((configs_dir() / 'demo').glob('*_tiny-clip_demo.py'))}


def small(config):
    """The config of a component for windows of a few patches."""
    return {key: 3 if key in ('neighbours', 'top_k') else value for key, value in config.items()}


def configured(*keys):
    """The configs of components in the demo's, by type."""
    found = [config for model in CONFIGS.values() for key in keys for config in model.get(key, []) or []]
    return {config['type']: small(config) for config in found}


def own(registry):
    """The types that a registry has of ovseg, and not of other tests."""
    return sorted(name for name, module in registry.module_dict.items() if module.__module__.startswith('ovseg.'))


ENCODERS = {config.get('type', 'LastBlockEncoder'): config
            for config in (small(model['image_encoder']) for model in CONFIGS.values())}
MODULES = configured('post_processors')
METHODS = {name: {key: model[key] for key in ('image_encoder', 'post_processors', 'decoder') if key in model}
           for name, model in CONFIGS.items()}


@cache
def clip():
    return load_clip(**CLIP)


def build(**components):
    post_processors = [small(module) for module in components.pop('post_processors', [])]
    return CLIPSegmentor(**{**dict(clip=clip(), vocabulary=WORDS, windows=WINDOWS, post_processors=post_processors),
                            **components}).eval()


def method(name, **components):
    """The segmentor of a method with other components; the settings of its decoder stay."""
    cfg = METHODS[name]
    decoder = {**cfg.get('decoder', {}), **components.pop('decoder', {})}
    return build(**{**cfg, **components, 'decoder': decoder})


@pytest.fixture(scope='module')
def images():
    scenes = [read_image(DEMO_SCENES / 'images' / f'{number:03d}.jpg', 10 ** 6)[::5, ::5] for number in (6, 2, 12)]
    corners = [scene[:height, :width].transpose(2, 0, 1).copy() for scene, (height, width) in zip(scenes, SIZES)]
    return list(build().data_preprocessor(dict(inputs=[torch.from_numpy(corner) for corner in corners]))['inputs'])


@torch.no_grad()
def labels(segmentor, images):
    return [sample.pred_sem_seg.data[0] for sample in segmentor.predict(images)]


def check_labels(segmentor, image):
    found, = labels(segmentor, [image])
    assert found.shape == image.shape[1:] and found.dtype == torch.int64
    assert found.min() >= 0 and found.max() < len(WORDS['names'])
    assert found.unique().numel() > 1


@pytest.fixture
def read(monkeypatch):
    """The CLIPs whose weights are read."""
    loaded = []
    monkeypatch.setattr(loading, 'load_clip', lambda *args, **kwargs: loaded.append(args) or pytest.fail('weights are read'))
    return loaded


def test_the_demo_has_every_type():
    assert sorted(ENCODERS) == own(DENSE_ENCODERS)
    assert sorted(MODULES) == own(POST_PROCESSORS)


def fits(encoder, module):
    """True if a dense encoder gives the outputs that a post-processor needs."""
    given = DENSE_ENCODERS.get(encoder)
    needs = POST_PROCESSORS.get(module)(**{key: value for key, value in MODULES[module].items() if key != 'type'})
    return given.gives_attention >= needs.needs_attention and given.gives_cls >= needs.needs_cls


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
@pytest.mark.parametrize(('encoder', 'module'), list(product(ENCODERS, MODULES)))
def test_a_post_processor_runs_or_is_refused_by_name_before_weights_are_read(encoder, module, precision, images, request):
    cfg = dict(image_encoder=dict(ENCODERS[encoder], precision=precision), post_processors=[MODULES[module]])
    if fits(encoder, module):
        check_labels(build(**cfg), images[0])
        return
    request.getfixturevalue('read')
    with pytest.raises(ValueError, match=rf'^post_processors: {module} needs the .* of the image encoder, and {encoder} gives'):
        build(clip=CLIP, **cfg)


def test_guided_encoders_refuse_what_reads_the_attention_of_the_clip():
    refused = {(encoder, module) for encoder, module in product(ENCODERS, MODULES) if not fits(encoder, module)}
    assert refused == set(product(('ProxyCLIPEncoder', 'CorrCLIPEncoder'), ('OutlierSuppression', 'SelfAttnEnhancement')))


@pytest.mark.parametrize('name', METHODS)
def test_thresholds_and_probabilities(name, images):
    plain, probable = (method(name, decoder=decoder) for decoder in ({}, dict(with_seg_logits=True)))
    expected, = labels(plain, images[:1])
    with torch.no_grad():
        found, = probable.predict(images[:1])
    best = found.seg_logits.data.max(dim=0)
    assert found.seg_logits.data.shape == (len(WORDS['names']), *SIZES[0])
    assert (found.pred_sem_seg.data[0] == expected).float().mean() > 0.999
    threshold = best.values.median().item()
    for decoder in (dict(prob_thd=threshold), dict(prob_thd=threshold, with_seg_logits=True)):
        below, = labels(method(name, decoder=dict(decoder, bg_idx=3)), images[:1])
        assert below.unique().numel() > 1 and (below == 3).float().mean() > (expected == 3).float().mean()
    shares = expected.flatten().bincount(minlength=len(WORDS['names']))
    shares[0] = 0
    kept, = labels(method(name, decoder=dict(area_thd=0.5)), images[:1])
    assert kept.unique().numel() <= 3


@pytest.mark.parametrize('refiner', own(REFINERS))
@pytest.mark.parametrize('name', METHODS)
def test_refiners(name, refiner, images):
    segmentor = method(name, decoder=dict(refiner=dict(type=refiner, num_iter=2)))
    check_labels(segmentor, images[0])


@pytest.mark.parametrize('upsampler', own(UPSAMPLERS))
@pytest.mark.parametrize('name', METHODS)
def test_upsamplers(name, upsampler, images, request):
    cfg = dict(image_encoder=METHODS[name]['image_encoder'], post_processors=METHODS[name].get('post_processors', []))
    if 'lposs' not in name:
        found, = labels(build(**cfg, upsampler=upsampler, windows=dict(crop=0)), [images[0][:, :41, :47]])
        assert found.shape == (41, 47) and found.min() >= 0 and found.max() < len(WORDS['names'])
        return
    request.getfixturevalue('read')
    with pytest.raises(ValueError, match=rf'^post_processors: LPOSS .*{upsampler}'):
        build(**cfg, clip=CLIP, upsampler=upsampler)


@pytest.mark.parametrize('name', METHODS)
def test_images_of_several_sizes_in_one_batch(name, images):
    segmentor = method(name)
    together = labels(segmentor.variant(windows=dict(WINDOWS, batch_size=64)), images)
    for image, found in zip(images, together):
        alone, = labels(segmentor.variant(windows=dict(WINDOWS, batch_size=1)), [image])
        assert (found == alone).float().mean() > 0.999


@pytest.mark.parametrize('name', METHODS)
def test_mirrored_versions_are_averaged(name, images):
    pixels = torch.randint(0, 256, (3, *SIZES[0]), dtype=torch.uint8)
    flips = [SegDataSample(metainfo=dict(ori_shape=SIZES[0], img_path='a.png', flip=flip,
                                         flip_direction='horizontal' if flip else None)) for flip in (False, True)]
    data = dict(inputs=[[pixels], [pixels.flip(-1)]], data_samples=[[sample] for sample in flips])
    with torch.no_grad():
        result, = CLIPSegTTAModel(module=method(name)).test_step(data)
    assert result.pred_sem_seg.data.shape == (1, *SIZES[0])
    assert result.seg_logits.data.shape == (len(WORDS['names']), *SIZES[0])


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],  # noqa: S301  its own
                         ids=['copied', 'pickled'])
@pytest.mark.parametrize('name', METHODS)
def test_duplicates_have_networks_of_their_own(name, duplicate, images):
    segmentor = method(name)
    expected, = labels(segmentor, images[:1])
    other = duplicate(segmentor)
    assert torch.equal(labels(other, images[:1])[0], expected)
    assert torch.equal(labels(other.variant(), images[:1])[0], expected)
    mine = {parameter.data_ptr() for parameter in segmentor.parameters()}
    for network in (other.tower, *other.networks.values()):
        assert all(parameter.data_ptr() not in mine for parameter in network.parameters())


@pytest.mark.parametrize('name', METHODS)
def test_variants_there_and_back(name, images, request):
    plain = build(image_encoder=ENCODERS['LastBlockEncoder'])
    before, = labels(plain, images[:1])
    expected, = labels(method(name), images[:1])
    request.getfixturevalue('read')
    given = {'post_processors': [], **METHODS[name]}
    given['post_processors'] = [small(module) for module in given['post_processors']]
    variant = plain.variant(**given)
    assert torch.equal(labels(variant, images[:1])[0], expected)
    back = variant.variant(image_encoder=ENCODERS['LastBlockEncoder'], post_processors=[], decoder={})
    assert torch.equal(labels(back, images[:1])[0], before)


@pytest.mark.parametrize('name', METHODS)
def test_other_class_names(name, images):
    segmentor = method(name)
    check_labels(segmentor, images[0])
    names = ['sky', 'sand; gravel', 'stone']
    segmentor.set_classes(names)
    fresh = method(name, vocabulary=dict(WORDS, names=names))
    assert torch.equal(labels(segmentor, images[:1])[0], labels(fresh, images[:1])[0])


@pytest.mark.parametrize('name', METHODS)
def test_a_model_in_half_precision(name, images):
    check_half(method(name), images[0])


@pytest.mark.parametrize('upsampler', own(UPSAMPLERS))
def test_upsamplers_in_half_precision(upsampler, images):
    check_half(method('vanilla', upsampler=upsampler, windows=dict(crop=0)), images[0][:, :41, :47])


def check_half(segmentor, image):
    """A segmentor whose weights are all in bf16, as by mmengine's ``bfloat16()``, has nearly the same labels."""
    expected, = labels(segmentor, [image])
    half, = labels(copy.deepcopy(segmentor).bfloat16(), [image])
    assert (half == expected).float().mean() > 0.9
