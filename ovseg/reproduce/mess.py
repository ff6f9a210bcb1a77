"""The table of the benchmark MESS: a score for each of its five domains, and the mean of its 22 data sets.

Blumenstiel et al., "What a MESS: Multi-domain Evaluation of Zero-Shot Semantic Segmentation", NeurIPS 2023. Domains and means
are those of ``mess/evaluation/mess_evaluation.py`` of its toolkit.
"""
import re
from statistics import mean
from typing import Dict, List, Mapping, Optional, Sequence, TypeVar

from ovseg.sets.mess import MESS
from ovseg.tables import markdown_table

DOMAINS: Dict[str, Dict[str, List[str]]] = {}  # by domain and data set, the names of its tasks, ``mess_bdd100k``
for _row in MESS:
    DOMAINS.setdefault(_row.domain, {}).setdefault(_row.title.split(' (')[0], []).append(_row.name)
Value = TypeVar('Value')
NOTE = (
    'A score is the mIoU over all classes of a data set. A domain is the mean of its data sets, the last column that of all '
    '22 data sets, not of the domains. PAXRay-4 is the mean of its four tasks, and counts if all four were measured. '
    '"(5 of 6)" marks a mean over fewer data sets, which cannot be compared with one over all of them.')


def mess_tables(scores: Mapping[str, Optional[float]], images: Mapping[str, int]) -> List[str]:
    """The tables of MESS, as Markdown: a row for each model with its domains, and a row for each data set.

    Args:
        scores: mIoU by the name of a preset, ``naclip/naclip_vit-b16_mess_bdd100k``; None where it was not measured. Presets of
            other data sets are left out.
        images: Number of images of the data set on this machine, by the name of a preset that was measured.

    Returns:
        The two tables and a note, and a line on data sets with another number of images than in MESS; nothing if no preset is
        one of MESS.
    """
    of_model = _by_model(scores)
    if not of_model:
        return []
    everything = {dataset: tasks for datasets in DOMAINS.values() for dataset, tasks in datasets.items()}
    domains = [[model, *(_mean([_score(tasks, own) for tasks in datasets.values()])
                         for datasets in (*DOMAINS.values(), everything))] for model, own in of_model.items()]
    rows = [[dataset, domain, *(_shown(_score(tasks, own)) for own in of_model.values())]
            for domain, datasets in DOMAINS.items() for dataset, tasks in datasets.items()
            if any(task in own for task in tasks for own in of_model.values())]
    return ['MESS:', markdown_table(['model', *DOMAINS, 'mean'], domains, len(DOMAINS) + 1).rstrip(),
            markdown_table(['data set', 'domain', *of_model], rows, len(of_model)).rstrip(), NOTE,
            *_other_numbers(images)]


def _other_numbers(images: Mapping[str, int]) -> List[str]:
    """The data sets whose files are not as many as in MESS, such as those of a preparation that was stopped."""
    found = {task: total for tasks in _by_model(images).values() for task, total in tasks.items()}
    other = [f'{row.name} ({found[row.name]} instead of {row.images})' for row in MESS
             if found.get(row.name, row.images) != row.images]
    return [f'**Other numbers of images than in MESS**, so that the scores are not those of MESS: {", ".join(other)}. '
            '`ovseg check-data` names what is missing.'] if other else []


def _by_model(values: Mapping[str, Value]) -> Dict[str, Dict[str, Value]]:
    """Values of presets by model and task: ``naclip_vit-b16`` and ``mess_bdd100k``."""
    of_model: Dict[str, Dict[str, Value]] = {}
    for name, value in values.items():
        found = re.fullmatch('(?:.*/)?(.+?)_(mess_.+)', name)
        if found:
            of_model.setdefault(found[1], {})[found[2]] = value
    return of_model


def _score(tasks: Sequence[str], scores: Mapping[str, Optional[float]]) -> Optional[float]:
    """Score of a data set; None unless all of its tasks were measured."""
    measured = [score for score in map(scores.get, tasks) if score is not None]
    return mean(measured) if len(measured) == len(tasks) else None


def _mean(scores: Sequence[Optional[float]]) -> str:
    measured = [score for score in scores if score is not None]
    if not measured:
        return _shown(None)
    return _shown(mean(measured)) + ('' if len(measured) == len(scores) else f' ({len(measured)} of {len(scores)})')


def _shown(score: Optional[float]) -> str:
    return '–' if score is None else f'{score:.2f}'
