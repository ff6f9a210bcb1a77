"""Facts about the benchmarks' files: their number, their source, and files that are mistaken for them."""
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Tuple

import mmseg

from ovseg.resources import configs_dir
from ovseg.sets import TABLE, row_of
from ovseg.utils import type_name

MMSEG_CONVERTERS = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'dataset_converters'


@dataclass(frozen=True)
class Benchmark:
    """The published evaluation set of a data set's config, with its folder in all texts.

    Args:
        images: How many images it has; 0 if unknown.
        source: What to download, and where to unpack it.
        convert: What makes its label files of that, step by step; empty where they are in the archive.
        lookalikes: Label files of other kinds that get into its folder: ``(name, highest value that is not ignored)``.
        known: True for a published data set.
        repaired: True if label files that are wrong are repaired in a copy, as nothing makes them anew.
        palette: True if the colours of its classes in colour masks are known; only of interest if ``repaired``.
    """

    images: int
    source: str
    convert: Tuple[str, ...] = ()
    lookalikes: Tuple[Tuple[str, int], ...] = ()
    known: bool = True
    repaired: bool = False
    palette: bool = False

    @property
    def steps(self) -> Tuple[str, ...]:
        """Instructions for getting its label files."""
        return (self.source, *self.convert)

    @property
    def made_by(self) -> str:
        """Sentence with the command that makes its label files, for the end of a message; empty where nothing does."""
        return f' Its label files are made by: {self.convert[-1]}' if self.convert else ''


def find_benchmark(dataset_cfg: Mapping[str, Any]) -> Benchmark:
    """Facts about a config's data set, from its row; almost none about one that is no benchmark."""
    type_, root = type_name(dataset_cfg['type']), Path(dataset_cfg.get('data_root') or '')
    if type_ == 'DemoScenesDataset':
        return Benchmark(60, 'install ovseg anew: the scenes are part of it')
    row = row_of(dataset_cfg)
    if row is None:
        return Benchmark(0, f'get the files of {type_} anew', known=False, repaired=True)

    tools = configs_dir().parent / 'tools'
    paths = {name: str(path) for name, path in dict(root=root, data=root.parent, tools=tools, mmseg=MMSEG_CONVERTERS).items()}
    words = {name: shlex.quote(path) for name, path in paths.items()}
    return Benchmark(row.images, row.source.format(**paths), tuple(step.format(**words) for step in row.convert),
                     row.lookalikes, repaired=row.type == TABLE and not row.convert, palette=bool(row.palette))
