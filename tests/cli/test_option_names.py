import pytest

from ovseg.cli.option_names import option_names, with_options

ARGUMENTS = ('background', 'batch_size', 'max_pixels', 'out_dir', 'threshold', 'tile')


@pytest.mark.parametrize(('text', 'expected'), [
    ("threshold=0.3 needs a background, for instance background='sky'",
     "--threshold=0.3 needs a background, for instance --background='sky'"),
    ('tile=3 must be 7 or more', '--tile=3 must be 7 or more'),
    ('overlap=9 (less than tile)', 'overlap=9 (less than tile)'),
    ('Lower batch_size or model.windows.batch_size', 'Lower --batch-size or model.windows.batch_size'),
    ('max_pixels=5: raise max_pixels', '--max-pixels=5: raise --max-pixels'),
    ("cannot write into out_dir='/a/tile=3'", "cannot write into --out='/a/tile=3'"),
    ('--tile=3, subtile=3, x.tile=3, my_max_pixels', '--tile=3, subtile=3, x.tile=3, my_max_pixels')])
def test_arguments_become_options(text, expected):
    assert with_options(text, ARGUMENTS) == expected


def test_names_of_files_are_left_alone():
    text = 'tile=3: there is no image or folder /x/my max_pixels=3 a.jpg, max_pixels=5'
    expected = '--tile=3: there is no image or folder /x/my max_pixels=3 a.jpg, --max-pixels=5'
    assert with_options(text, ARGUMENTS, ['', 'a', 'my max_pixels=3 a.jpg']) == expected
    with pytest.raises(OSError, match=r'^there is no image b tile=3$'), option_names(ARGUMENTS, ['b tile=3']):
        raise OSError('there is no image b tile=3')


def test_only_errors_that_name_an_argument_change():
    with pytest.raises(ValueError, match=r'^--tile=3$') as caught, option_names(ARGUMENTS):
        raise MemoryError('tile=3')
    assert type(caught.value.__cause__) is MemoryError
    with pytest.raises(MemoryError, match=r'^nothing$'), option_names(ARGUMENTS):
        raise MemoryError('nothing')
    with pytest.raises(KeyError), option_names(ARGUMENTS):
        raise KeyError('tile=3')
