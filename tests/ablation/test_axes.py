import pytest

from ovseg.ablation.axes import Axes, Axis, Step, as_read, as_written, axes_of, chains, parse_grid, read_axes
from ovseg.ablation.choices import SWITCHES


def axis(*names, optional=False):
    return Axis([Step(name, {name: 1}, {}) for name in names], optional)


A, B, K = axis('a', optional=True), axis('b', optional=True), axis('k5', 'k7', 'k11')


@pytest.mark.parametrize('combine, expected', [
    ('one-at-a-time', ['', 'a', 'k5', 'k7', 'k11', 'b']),
    ('cumulative', ['', 'a', 'a k5', 'a k7', 'a k11', 'a k11 b']),
    ('full', ['', 'k5', 'k5 b', 'k7', 'k7 b', 'k11', 'k11 b', 'a k5', 'a k5 b', 'a k7', 'a k7 b', 'a k11', 'a k11 b'])])
def test_rows_of_switch_grid_switch(combine, expected):
    assert [' '.join(step.name for step in chain) for chain in chains([A, K, B], combine)] == expected


@pytest.mark.parametrize('combine, expected', [('one-at-a-time', ['', 'a', 'b']), ('cumulative', ['', 'a', 'ab']),
                                               ('full', ['', 'b', 'a', 'ab'])])
def test_rows_of_two_switches(combine, expected):
    assert [''.join(step.name for step in chain) for chain in chains([A, B], combine)] == expected


@pytest.mark.parametrize('combine', ['one-at-a-time', 'cumulative', 'full'])
def test_without_axes_there_is_the_config_alone(combine):
    assert chains([], combine) == [()]


def test_a_switch_is_flipped_from_where_the_config_has_it():
    model = dict(post_processors=['CTD'], image_encoder=dict(ignore_residual=False))
    steps = {switch: found.steps[0] for switch, found in zip(SWITCHES, axes_of(Axes(toggle=SWITCHES), model))}
    assert steps['apply_ctd'] == ('- apply_ctd', {'model.apply_ctd': False}, {})
    assert steps['apply_outlier_suppression'] == ('+ apply_outlier_suppression', {'model.apply_outlier_suppression': True}, {})
    assert steps['ignore_residual'].options == {'model.ignore_residual': True}


def test_ignore_residual_is_on_by_default():
    found, = axes_of(Axes(toggle=['ignore_residual']), {})
    assert found.steps[0].options == {'model.ignore_residual': False}


@pytest.mark.parametrize('now, name, then', [(0.3, '-', 0), (0, '+', 0.2)])
def test_the_debias_factor_goes_to_0_or_to_its_documented_value(now, name, then):
    found, = axes_of(Axes(toggle=['global_debias_factor']), dict(post_processors=[dict(type='GlobalDebias', factor=now)]))
    assert found.steps[0][:2] == (f'{name} global_debias_factor', {'model.global_debias_factor': then})


def test_steps_of_a_grid_are_called_by_the_last_part_of_the_key_unless_two_end_alike():
    grid = {'model.ctd_cfg.eps': [0.5], 'model.a.factor': [2], 'model.b.factor': [True]}
    names = [found.steps[0].name for found in axes_of(Axes(grid=grid), {})]
    assert names == ['eps=0.5', 'model.a.factor=2', 'model.b.factor=True']


def test_a_dict_in_a_grid_becomes_keys():
    step = axes_of(Axes(grid={'model.decoder.refiner': [dict(type='PAMR', num_iter=3)]}), {})[0].steps[0]
    assert step.options == {'model.decoder.refiner.type': 'PAMR', 'model.decoder.refiner.num_iter': 3}
    assert step.values == {'model.decoder.refiner': dict(type='PAMR', num_iter=3)}


@pytest.mark.parametrize('value', [5, 0.1, 1e-7, True, False, None, 'SCLIP', [1, 2], [3], [], (1, 2), [[1, 2], [3]],
                                   ['a', (0.5,)]])
def test_values_are_read_as_they_are_written(value):
    text, = as_written('model.key', value).values()
    assert as_read(f'model.key={text}') == value


@pytest.mark.parametrize('value', ['1e-3', 'two words', 'a,b', [dict(type='CTD')], 'None', '(1)'])
def test_values_that_a_command_line_cannot_hold_are_refused(value):
    with pytest.raises(ValueError, match=r'model\.key=.* cannot be given on a command line'):
        as_written('model.key', value)


def test_grid_of_the_command_line():
    assert parse_grid(['a.b=5,10,30', 'c=0.5', 'd=SCLIP,KK', 'e=[[1,2],[3]]', 'f=[True]']) == {
        'a.b': [5, 10, 30], 'c': [0.5], 'd': ['SCLIP', 'KK'], 'e': [[1, 2], [3]], 'f': [True]}


@pytest.mark.parametrize('items, message', [(['model.top_k'], 'grid key model.top_k has no values'),
                                            (['a=1', 'b=2', 'a=3'], 'grid key a is given twice'),
                                            (['a=[1,2'], r"grid: 'a=\[1,2': the brackets do not match"),
                                            (['a=traffic light,car'], 'spaces would be lost')])
def test_wrong_grid_of_the_command_line(items, message):
    with pytest.raises(ValueError, match=message):
        parse_grid(items)


@pytest.mark.parametrize('given, message', [
    ({}, 'nothing is varied'),
    (dict(toggle=['apply_cdt']), "toggle='apply_cdt' is unknown; known: .*apply_ctd"),
    (dict(toggle=['apply_ctd', 'apply_ctd']), 'toggle has apply_ctd twice'),
    (dict(toggle='apply_ctd'), "toggle='apply_ctd' must be a list"),
    (dict(toggle=[True]), 'must be a list of names'),
    (dict(grid={'a': []}), 'grid key a has no values'),
    (dict(grid={'a': 5}), 'grid key a has no values'),
    (dict(grid=parse_grid(['a='])), 'grid key a has no values'),
    (dict(grid=['a=5']), 'must name keys with their values'),
    (dict(grid={'test_dataloader.batch_size': [1, 2]}), 'batch_size must begin with model. or test_dataloader.'),
    (dict(grid={7: [1, 2]}), 'grid key 7 must begin with'),
    (dict(grid={'model.logit_scale': [40, 50, 40]}), r'grid key model\.logit_scale has 40 twice'),
    (dict(grid={'model.decoder.refiner': [dict(type='PAMR'), None, dict(type='PAMR')]}), r"has {'type': 'PAMR'} twice"),
    (dict(toggle=['apply_ctd'], grid={'model.apply_ctd': [True]}, combine='full'), 'apply_ctd cannot be combined with itself'),
    (dict(methods=['x.py'], combine='cumulative'), 'methods cannot be cumulated'),
    (dict(toggle=['apply_ctd'], combine='half'), "combine='half' is unknown; known: one-at-a-time, cumulative, full")])
def test_wrong_axes(given, message):
    with pytest.raises(ValueError, match=message):
        Axes(**given)


def test_a_switch_may_be_toggled_beside_its_values_and_the_pipeline_varied():
    Axes(['global_debias_factor'], {'model.global_debias_factor': [0.1, 0.3]})
    Axes(grid={'test_dataloader.dataset.pipeline.1.scale': [(2048, 336), (2048, 448)]})


def test_axes_of_a_file(tmp_path):
    (tmp_path / 'axes.yaml').write_text('toggle: [apply_ctd]\ngrid:\n  model.ctd_cfg.eps: [0.5, 0.7]\ncombine: full\n')
    assert read_axes(tmp_path / 'axes.yaml') == Axes(['apply_ctd'], {'model.ctd_cfg.eps': [0.5, 0.7]}, combine='full')


@pytest.mark.parametrize('text, message', [
    ('toggels: [apply_ctd]', "no key 'toggels'; did you mean 'toggle'"),
    ('- apply_ctd', 'must be a mapping'),
    ('toggle: [', 'while parsing .* line 1, column '),
    ('7: [apply_ctd]', "no key '7'"),
    ('toggle: [apply_cdt]', "'apply_cdt' is unknown"),
    ('', 'must be a mapping')])
def test_wrong_files_are_named(text, message, tmp_path):
    (tmp_path / 'axes.yaml').write_text(text)
    with pytest.raises(ValueError, match=rf'^axes file .*axes\.yaml: .*{message}'):
        read_axes(tmp_path / 'axes.yaml')


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r'axes file .*gone\.yaml: .*there is no axes file'):
        read_axes(tmp_path / 'gone.yaml')
