import pytest

from ovseg.apis.reading import Reading


@pytest.mark.parametrize('crop', [224, None])
def test_the_defaults_are_right(crop):
    Reading().check(crop)
    Reading(tile=224, overlap=223, bands=[7], bit_depth=12, nodata=-3.4028234663852886e+38).check(crop)


@pytest.mark.parametrize('options, message', [
    (dict(tile=223), r'tile=223 must be an integer >= 224 \(the side of the windows'),
    (dict(tile=512, overlap=512), r'overlap=512 must be an integer from 0 to 511 \(less than tile\)'),
    (dict(overlap=-1), 'overlap=-1 must be'), (dict(bands=()), r'bands=\(\) must be one band'),
    (dict(bands=(1, 0, 2)), 'bands=0 must be an integer >= 1'), (dict(bands='123'), "bands='123' must be one band"),
    (dict(bit_depth=0), 'bit_depth=0 must be'), (dict(bit_depth=33), 'bit_depth=33 must be'),
    (dict(nodata=float('nan')), 'nodata=nan must be a finite number'), (dict(nodata='0'), "nodata='0' must be"),
    (dict(nodata=True), 'nodata=True must be')])
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Reading(**options).check(224)
