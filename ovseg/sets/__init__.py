"""The table of data sets: one row each, from which configs, checks, converters and lists of data sets take their facts."""
import difflib
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ovseg.sets.mess import MESS
from ovseg.sets.remote_sensing import REMOTE_SENSING
from ovseg.sets.row import TABLE, Colour, Conversion, Row
from ovseg.sets.standard import STANDARD
from ovseg.utils import shown, type_name

__all__ = ['FAMILIES', 'ROWS', 'TABLE', 'Colour', 'Conversion', 'Row', 'dataset_config', 'dataset_title', 'find_row',
           'protocol', 'row_of']

FAMILIES = {'standard': STANDARD, 'remote sensing': REMOTE_SENSING, 'MESS': MESS}
ROWS: Dict[str, Row] = {row.name: row for rows in FAMILIES.values() for row in rows}


def find_row(name: str) -> Row:
    """The row of a name.

    Raises:
        ValueError: there is none; names those that are near.
    """
    if name not in ROWS:
        near = difflib.get_close_matches(str(name), ROWS, 3)
        raise ValueError(f'name={shown(name)} is no data set of ovseg; '
                         + (f'near: {", ".join(near)}; ' if near else '') + 'ovseg list data-sets names all of them')
    return ROWS[name]


def dataset_config(name: str) -> Dict[str, Any]:
    """``test_dataloader.dataset`` of a row, without a pipeline, for base configs; see ``Row.dataset``.

        test_dataloader = dict(dataset=__import__('ovseg').dataset_config('loveda'))

    Raises:
        ValueError: see ``find_row``.
    """
    return find_row(name).dataset()


def protocol(name: str) -> Dict[str, Any]:
    """Class list and settings of the decoder by which a row is evaluated, for base configs; see ``Row.protocol``.

    Raises:
        ValueError: see ``find_row``.
    """
    return find_row(name).protocol


def row_of(dataset_cfg: Mapping[str, Any]) -> Optional[Row]:
    """The row that a data set's config was made of; None for another data set.

    mmseg has one class for both COCO-Stuffs; they are told apart by the folder of their label files.
    """
    type_ = type_name(dataset_cfg['type'])
    if type_ == TABLE:
        return ROWS.get(dataset_cfg.get('name', ''))
    rows = [row for row in ROWS.values() if row.type == type_]
    folder = Path((dataset_cfg.get('data_prefix') or {}).get('seg_map_path') or '').name
    same_folder = [row for row in rows if Path(row.seg_map_path).name == folder]
    return next(iter([*same_folder, *rows]), None)


def dataset_title(dataset_cfg: Mapping[str, Any]) -> str:
    """The name of a config's data set in messages: that of its class, or of its row where it has none of its own."""
    row = row_of(dataset_cfg)
    return row.title if row and row.type == TABLE else type_name(dataset_cfg['type'])
