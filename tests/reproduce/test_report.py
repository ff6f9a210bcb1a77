from dataclasses import replace
from pathlib import Path

from ovseg.reproduce.measure import Measurement
from ovseg.reproduce.presets import Preset
from ovseg.reproduce.report import markdown_report

NACLIP = Preset('naclip/naclip_vit-b16_voc20', Path('x.py'), 79.7, 'published')
DEMO = Preset('demo/gated', Path('y.py'), 58.38, 'measured with ovseg')
WHOLE = Measurement(1449, 1449, 79.41, 0., 'voc20_sclip, 20 classes, 0123456789ab', 73.4, 107.)


def cells(report):
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in report.splitlines() if line.startswith('|')]


def test_a_row_has_published_measured_difference_and_verdict():
    heads, _, row = cells(markdown_report([(NACLIP, WHOLE)], {}, {}))
    assert heads == ['preset', 'published', 'measured', 'difference', 'verdict', 'images', 'class list', 'time']
    assert row == ['naclip/naclip_vit-b16_voc20', '79.7', '79.41', '-0.29', 'within tolerance', '1449 of 1449',
                   'voc20_sclip, 20 classes, 0123456789ab', '73 s']


def test_a_sample_shows_its_error_and_the_note_on_it():
    sample = replace(WHOLE, images=100, score=86.9, error=2.345, seconds=None)
    report = markdown_report([(NACLIP, sample)], {}, {})
    assert cells(report)[2][2:] == ['86.90 ± 2.35', '+7.20', 'outside', '100 of 1449', WHOLE.class_list, 'earlier run']
    assert 'bootstrap' in report and 'bootstrap' not in markdown_report([(NACLIP, WHOLE)], {}, {})


def test_scores_that_are_not_published_are_marked_and_missing_ones_have_no_difference():
    rows = cells(markdown_report([(DEMO, replace(WHOLE, score=58.38)), (replace(NACLIP, score=None), WHOLE)], {}, {}))
    assert [row[1:5] for row in rows[2:]] == [['58.38 (measured with ovseg)', '58.38', '+0.00', 'within tolerance'],
                                              ['–', '79.41', '–', 'no published score']]


def test_what_was_not_measured_changed_options_and_the_environment_are_listed():
    report = markdown_report([(NACLIP, 'its data is missing')], {'torch': '2.1'}, {'model.logit_scale': 50})
    assert cells(report)[2][1:5] == ['79.7', '–', '–', 'not measured']
    assert '\n- `naclip/naclip_vit-b16_voc20`: its data is missing\n' in report
    assert '\n- `model.logit_scale=50`\n' in report and report.endswith('\n- torch: 2.1\n')
