"""Data sets without code of their own: rows of the table in ``ovseg.sets``."""
from typing import Any, Dict, List, Mapping, Optional, Sequence

from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg.datasets.palettes import voc_colours
from ovseg.sets import TABLE, Row, find_row
from ovseg.vocabulary.class_lists import read_class_list


@DATASETS.register_module()
class TableDataset(BaseSegDataset):
    """The data set of a row: its folders, endings, classes and colours are those of the row where nothing else is given.

    Args:
        name: Name of a row without a class of its own, see ``ovseg list data-sets``.
        metainfo: As for ``BaseSegDataset``; other ``classes`` than those of the row are a choice of these.

    Raises:
        ValueError: there is no such row, it has a class of its own, or ``metainfo.classes`` has a class that it lacks.
    """

    def __init__(self, name: str, metainfo: Optional[Mapping[str, Any]] = None, **kwargs: Any) -> None:
        row = find_row(name)
        if row.type != TABLE:
            raise ValueError(f'name={name!r} has a data set class of its own: type={row.type!r}')
        self.name, self.METAINFO, self.labelled_only = name, row_metainfo(row), row.labelled_only
        settings = {key: value for key, value in row.dataset().items() if key not in ('type', 'name')}
        super().__init__(metainfo={**self.METAINFO, **(metainfo or {})}, **{**settings, **kwargs})

    def load_data_list(self) -> List[dict]:
        """See ``BaseSegDataset``; without the images that have no label file, where the row says so."""
        return [pair for pair in super().load_data_list() if not self.labelled_only
                or fileio.exists(pair['seg_map_path'], backend_args=self.backend_args)]

    def get_label_map(self, new_classes: Optional[Sequence[str]] = None) -> Optional[Dict[int, int]]:
        """See ``BaseSegDataset``, whose method is one of the class; here, the classes are those of the row."""
        return BaseSegDataset.get_label_map.__func__(self, new_classes)


def row_metainfo(row: Row) -> Dict[str, Any]:
    """Classes and palette of a row, as a data set class has them in ``METAINFO``."""
    classes = [names[0] for names in read_class_list(row.class_list)]
    return dict(classes=classes, palette=[list(colour) for colour in row.palette] or voc_colours(0, len(classes)))
