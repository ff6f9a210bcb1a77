"""Report of measured and expected scores, as Markdown."""
from typing import List, Mapping, Sequence, Tuple, Union

from ovseg.reproduce.measure import SEED, SIGMAS, TOLERANCE, Measurement, verdict
from ovseg.reproduce.mess import mess_tables
from ovseg.reproduce.presets import PUBLISHED, Preset
from ovseg.tables import markdown_table
from ovseg.utils import shown

HEADS = ('preset', 'published', 'measured', 'difference', 'verdict', 'images', 'class list', 'time')
NOTES = (
    f'Scores are mIoU in percent. The tolerance is {TOLERANCE} points: it covers the rounding of published scores, other '
    'versions of the libraries (image decoding, resize), and fp16 on a GPU against fp32; another class list, another resize or '
    'a wrong threshold changes a score by more.',
    '± is the standard error of a sample of the images: one image is drawn from each of as many equal stretches of the data '
    f'set (seed {SEED}), and the error is that of a bootstrap over images, corrected for a finite data set. A sample '
    f'is within tolerance up to {TOLERANCE} points plus {SIGMAS} standard errors. It does not cover the bias of a sample in '
    'which rare classes are absent: a sample shows that a set-up works, and does not replace the score.')

Outcome = Union[Measurement, str]  # a string: the reason why there is no measurement


def markdown_report(outcomes: Sequence[Tuple[Preset, Outcome]], environment: Mapping[str, str],
                    options: Mapping[str, object]) -> str:
    """The table, its notes, what could not be measured, and the environment.

    Args:
        outcomes: Presets with their measurement, or with the reason why there is none.
        environment: Versions and hardware, by name.
        options: Settings that were changed by dotted key.
    """
    table = markdown_table(HEADS, [_row(preset, outcome) for preset, outcome in outcomes])
    failures = [f'- `{preset.name}`: {outcome}' for preset, outcome in outcomes if isinstance(outcome, str)]
    changed = [f'- `{key}={shown(value)}`' for key, value in options.items()]
    sampled = any(isinstance(outcome, Measurement) and outcome.images < outcome.total for _, outcome in outcomes)
    paragraphs = ['## Reproduced scores', table.rstrip(), *NOTES[:2 if sampled else 1]]
    measured = {preset.name: outcome for preset, outcome in outcomes if isinstance(outcome, Measurement)}
    paragraphs += mess_tables({preset.name: getattr(measured.get(preset.name), 'score', None) for preset, _ in outcomes},
                              {name: outcome.total for name, outcome in measured.items()})
    for title, lines in (('Not measured:', failures), ('Options on the command line:', changed)):
        if lines:
            paragraphs += [title, '\n'.join(lines)]
    paragraphs += ['Environment:', '\n'.join(f'- {key}: {value}' for key, value in environment.items())]
    return '\n\n'.join(paragraphs) + '\n'


def _row(preset: Preset, outcome: Outcome) -> List[str]:
    expected = '–' if preset.score is None else f'{preset.score}' + (
        '' if preset.origin == PUBLISHED else f' ({preset.origin})')
    if isinstance(outcome, str):
        return [preset.name, expected, '–', '–', 'not measured', '–', '–', '–']
    sampled = outcome.images < outcome.total
    return [preset.name, expected, f'{outcome.score:.2f}' + (f' ± {outcome.error:.2f}' if sampled else ''),
            '–' if preset.score is None else f'{outcome.score - preset.score:+.2f}', verdict(preset, outcome),
            f'{outcome.images} of {outcome.total}', outcome.class_list,
            'earlier run' if outcome.seconds is None else f'{outcome.seconds:.0f} s']
