import copy
import json

import numpy as np

from ovseg.apis.reading import Reading
from ovseg.apis.run_settings import differences, run_settings

LARGE = 80_000_000


def settings(inferencer, classes=('zebra', 'snow'), reading=None, **options):
    request = inferencer.request(list(classes), **options)
    return run_settings(inferencer.cfg, inferencer.model, request, reading or Reading(), LARGE)


def test_equal_calls_have_equal_settings_that_json_holds(inferencer):
    found = settings(inferencer)
    assert found == settings(inferencer) == json.loads(json.dumps(found))


def test_each_part_counts(inferencer, build):
    one = settings(inferencer)
    assert differences(one, settings(inferencer, ('zebra', 'snow; ice'))) == ['classes']
    assert differences(one, settings(inferencer, background='sky', threshold=0.3)) == ['classes', 'decoder.prob_thd']
    request = inferencer.request(['zebra', 'snow']).with_confidence(8, 0.3)
    other = run_settings(inferencer.cfg, inferencer.model, request, Reading(), LARGE)
    assert differences(one, other) == ['confidence_bits', 'decoder.reject', 'decoder.with_confidence']
    other = settings(inferencer, reading=Reading(tile=512, bands=(3, 2, 1)))
    assert differences(one, other) == ['reading.bands', 'reading.tile']
    assert differences(one, run_settings(inferencer.cfg, inferencer.model, inferencer.request(['zebra', 'snow']), Reading(),
                                         LARGE - 1)) == ['max_pixels']
    assert differences(one, settings(build(templates=('{}',)))) == ['model.vocabulary.templates', 'templates']
    changed = copy.deepcopy(inferencer.cfg)
    changed.test_dataloader.dataset.pipeline[0].imdecode_backend = 'pillow'
    other = run_settings(changed, inferencer.model, inferencer.request(['zebra', 'snow']), Reading(), LARGE)
    assert differences(one, other) == ['pipeline']
    other = build(cfg_options={'model.clip.pretrained': None})
    assert differences(one, settings(other)) == ['model.clip.pretrained', 'weights']


def test_differences_of_missing_settings():
    assert differences(dict(a=1, b=dict(c=2, d=3)), dict(b=dict(c=2), e=None)) == ['a', 'b.d']


def test_numbers_of_numpy_count_as_their_values(inferencer):
    plain = settings(inferencer, reading=Reading(bands=(3, 2, 1), nodata=9.0))
    assert settings(inferencer, reading=Reading(bands=tuple(np.array([3, 2, 1])), nodata=np.float32(9))) == plain
    other = settings(inferencer, reading=Reading(bands=tuple(np.array([3, 2, 5])), nodata=np.float32(7)))
    assert differences(plain, other) == ['reading.bands', 'reading.nodata']
