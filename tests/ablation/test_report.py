import csv
import re

import matplotlib.image
import pytest

from ovseg.ablation.axes import Axes
from ovseg.ablation.plots import line_axes, lines_along
from ovseg.ablation.report import COLUMNS, csv_table, latex, latex_table, markdown_table, notes_on, terminal_table, write_report
from ovseg.ablation.results import read_results
from ovseg.ablation.settings import all_settings

AXES = Axes(['apply_ctd'], {'model.logit_scale': [30, 50]})


@pytest.fixture
def benchmarks(finish, demo, tmp_path):
    """The demo, and the demo without its similarity map, as if it were another benchmark."""
    other = tmp_path / 'other_tiny-clip_demo.py'
    other.write_text(f"_base_ = ['{demo}']\nmodel = dict(post_processors=['CTD'], windows=dict(crop=0))\n")
    settings = all_settings([demo, str(other)], AXES, {})
    finish(settings)
    return read_results(settings, tmp_path)


def test_csv_has_a_line_for_each_row_with_its_command(benchmarks):
    lines = list(csv.DictReader(csv_table(benchmarks).splitlines()))
    assert tuple(lines[0]) == COLUMNS
    assert [(line['benchmark'], line['setting']) for line in lines] == [
        ('gated', 'baseline'), ('gated', '+ apply_ctd'), ('gated', 'logit_scale=30'), ('gated', 'logit_scale=50'),
        ('other', 'baseline'), ('other', '- apply_ctd'), ('other', 'logit_scale=30'), ('other', 'logit_scale=50')]
    for line, result in zip(lines, (result for rows in benchmarks for result in rows)):
        assert float(line['mIoU']) == result.metrics['mIoU']
        assert float(line['delta_mIoU']) == pytest.approx(result.delta, abs=0.005001)
        assert line['command'] == result.setting.command and line['images'] == '7' and line['limit'] == ''
        assert (line['class_list'], line['class_count'], line['name_count']) == ('custom', '5', '5')
        assert (line['templates'], line['template_count'], line['background_words']) == ('plain', '1', '')
        assert re.fullmatch('[0-9a-f]{64}', line['class_list_sha256'])
    assert lines[1]['command'].endswith('gated_tiny-clip_demo.py --cfg-options model.apply_ctd=True')


def test_markdown_has_a_row_for_each_setting_and_four_columns_for_each_benchmark(benchmarks):
    text = markdown_table(benchmarks, ['a note.'])
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line.startswith('|')]
    assert {len(line) for line in cells} == {9}
    assert cells[0] == ['setting', 'gated mIoU', 'Δ', '95% interval', 'changed area', 'other mIoU', 'Δ', '95% interval',
                        'changed area']
    assert [line[0] for line in cells[2:]] == ['baseline', '+ apply_ctd', 'logit_scale=30', 'logit_scale=50', '- apply_ctd']
    assert cells[2][2:5] == [''] * 3 and cells[3][5:] == [''] * 4 and cells[6][1:5] == [''] * 4
    first = benchmarks[0][1]
    assert cells[3][1:4] == [f'{first.metrics["mIoU"]:.2f}', f'{first.delta:+.2f}', f'[{first.low:+.2f}, {first.high:+.2f}]']
    assert 'a note.' in text and text.count('    ovseg test') == 8


def test_markdown_and_latex_name_the_words_of_each_row(benchmarks):
    benchmarks[0][1].words.update(background_words=['zebra', 'sea'])
    words = 'custom (5 classes, 5 names, '
    for text, mark in ((markdown_table(benchmarks, []), '- '), (latex_table(benchmarks, []), '% ')):
        lines = [line for line in text.splitlines() if 'sha256' in line]
        assert len(lines) == 8 and lines[0].startswith(f'{mark}baseline: {words}sha256 ')
        assert lines[1].startswith(f'{mark}+ apply_ctd: {words}2 of them automatic background words, sha256 ')
        assert lines[1].endswith('templates plain (1); background words: zebra, sea') and lines[0].endswith('plain (1)')


def test_latex_is_a_booktabs_table_of_equal_rows(benchmarks):
    text = latex_table(benchmarks, notes_on(benchmarks, 'full'))
    assert text.count('{') == text.count('}') and r'\begin{tabular}{lrrcrrrcr}' in text
    assert r'\cmidrule(lr){2-5} \cmidrule(lr){6-9}' in text and r'95\% interval' in text
    rows = [line for line in text.splitlines() if line.endswith(r'\\')]
    assert len(rows) == 2 + 5 and {line.count('&') for line in rows[1:]} == {8}
    row, = re.findall(r'^\+ apply\\_ctd & [\d.]+ & \$(.*)\$ & \$\[(.*), (.*)\]\$ &  &  &  &  &  \\\\$', text, re.M)
    first = benchmarks[0][1]
    assert row == tuple(f'{value:+.2f}' for value in (first.delta, first.low, first.high))
    order = [text.index(part) for part in (r'\toprule', 'gated', r'\midrule', 'baseline', r'\bottomrule', r'\end{table}')]
    assert order == sorted(order)


def test_latex_reads_no_letter_as_a_command():
    assert latex(r'a_b 5% & #1 $x$ {y} ~ ^ \z Δ') == (
        r'a\_b 5\% \& \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z $\Delta$')


def test_terminal_shows_every_row(benchmarks):
    table = terminal_table(benchmarks[1])
    assert list(table.columns[0].cells) == ['baseline', '- apply_ctd', 'logit_scale=30', 'logit_scale=50']
    assert str(table.title) == 'other, 7 images, custom'


@pytest.mark.parametrize('combine, count', [('full', 1), ('cumulative', 2)])
def test_notes_say_how_rows_are_built(combine, count, benchmarks):
    notes = notes_on(benchmarks, combine)
    assert len(notes) == count and '2000 resamples' in notes[0]


def test_a_part_of_the_data_set_is_said_to_be_one_everywhere(finish, demo, tmp_path):
    settings = all_settings([demo], AXES, {'test_dataloader.dataset.indices': 7})
    finish(settings)
    write_report(read_results(settings, tmp_path), 'one-at-a-time', tmp_path)
    texts = [(tmp_path / name).read_text() for name in ('table.csv', 'table.md', 'table.tex')]
    assert all('first 7 images only' in text for text in texts)
    assert 'test_dataloader.dataset.indices=7' in texts[0]


def test_files_are_written(benchmarks, tmp_path):
    files = write_report(benchmarks, 'one-at-a-time', tmp_path)
    assert [path.name for path in files] == ['table.csv', 'table.md', 'table.tex', 'delta_gated.png', 'delta_other.png',
                                             'line_model.logit_scale.png']
    for path in files[3:]:
        picture = matplotlib.image.imread(path)
        assert picture[..., :3].std() > 0.05
        edge = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
        assert all((line[..., :3] == 1).all() for line in edge)  # nothing runs out of the picture


def test_lines_of_a_numeric_axis(benchmarks):
    assert line_axes(benchmarks) == ['model.logit_scale']
    lines = lines_along('model.logit_scale', benchmarks)
    assert {name: [(value, result.setting.name) for value, result in line] for name, line in lines.items()} == {
        'gated': [(30, 'logit_scale=30'), (50, 'logit_scale=50')], 'other': [(30, 'logit_scale=30'), (50, 'logit_scale=50')]}


def test_a_line_for_each_combination_of_the_others(finish, demo, tmp_path):
    settings = all_settings([demo], Axes(['apply_ctd'], {'model.logit_scale': [50, 30]}, combine='full'), {})
    finish(settings)
    lines = lines_along('model.logit_scale', read_results(settings, tmp_path))
    assert {name: [value for value, _ in line] for name, line in lines.items()} == {'': [30, 50], '+ apply_ctd': [30, 50]}


@pytest.mark.parametrize('values', [['SCLIP', 'KK'], [True, False], [5]])
def test_names_switches_and_single_numbers_make_no_line(values, finish, demo, tmp_path):
    settings = all_settings([demo], Axes(grid={'model.model_type': values}), {})
    finish(settings)
    assert line_axes(read_results(settings, tmp_path)) == []
