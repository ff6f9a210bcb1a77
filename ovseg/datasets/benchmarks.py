"""Facts about the benchmarks' files: their number, their source, and files that are mistaken for them."""
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import mmseg

from ovseg.resources import configs_dir
from ovseg.utils import type_name

MMSEG_CONVERTERS = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'dataset_converters'


@dataclass(frozen=True)
class Benchmark:
    """The published evaluation set of a data set class.

    In texts, ``{root}`` stands for its folder, ``{data}`` for that folder's, ``{tools}`` for ovseg's tools.

    Args:
        images: How many images it has; 0 if unknown.
        source: What to download, and where to unpack it.
        convert: What makes its label files of that, step by step; empty where they are in the archive.
        lookalikes: Label files of other kinds that get into its folder: ``(name, highest value that is not ignored)``.
    """

    images: int
    source: str
    convert: Tuple[str, ...] = ()
    lookalikes: Tuple[Tuple[str, int], ...] = ()

    @property
    def steps(self) -> Tuple[str, ...]:
        """Instructions for getting its label files."""
        return (self.source, *self.convert)


_VOC = Benchmark(1449, 'unpack VOCtrainval_11-May-2012.tar, so that its VOC2012 is {root}',
                 lookalikes=(("PASCAL-Context's label maps", 59),))
_CONTEXT = Benchmark(
    5104, 'unpack VOCtrainval_03-May-2010.tar, so that its VOC2010 is {root}, and put trainval_merged.json there',
    ('install the Detail API: github.com/zhanghang1989/detail-api',
     f'python {MMSEG_CONVERTERS}/pascal_context.py {{data}} {{root}}/trainval_merged.json'),
    lookalikes=(("VOC's SegmentationClass", 20), ("PASCAL-Context's 459 classes", 459)))
_COCO_STUFF = Benchmark(
    5000, 'unzip val2017.zip into {root}/images and stuffthingmaps_trainval2017.zip into {root}/annotations',
    (f'python {MMSEG_CONVERTERS}/coco_stuff164k.py {{root}} --nproc 8',),
    lookalikes=(("COCO-Object's instanceTrainIds", 80), ("COCO-Stuff's unconverted ids", 181)))

BENCHMARKS: Dict[str, Benchmark] = {
    'PascalVOCDataset': _VOC,
    'PascalVOC20Dataset': _VOC,
    'PascalContextDataset': _CONTEXT,
    'PascalContextDataset59': _CONTEXT,
    'PascalContext459Dataset': Benchmark(
        5104, _CONTEXT.source, (*_CONTEXT.convert, "unpack PASCAL-Context's trainval.tar.gz into {root}",
                                'python {tools}/dataset_converters/context459.py {root}')),
    'COCOStuffDataset': _COCO_STUFF,
    'COCOObjectDataset': Benchmark(
        5000, _COCO_STUFF.source.replace('{root}', '{data}/coco_stuff164k'),
        ('python {tools}/dataset_converters/coco_object.py {data}/coco_stuff164k {root}',),
        lookalikes=(("COCO-Stuff's labelTrainIds", 170), ("COCO-Stuff's unconverted ids", 181))),
    'COCOStuffDataset/test2014': Benchmark(
        1000, 'unzip cocostuff-10k-v1.1.zip into {root}',
        ('pip install scipy', f'python {MMSEG_CONVERTERS}/coco_stuff10k.py {{root}} --nproc 8'),
        lookalikes=(("COCO-Stuff's unconverted ids", 182),)),
    'CityscapesDataset': Benchmark(
        500, 'unzip leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip into {root}',
        ('pip install cityscapesscripts', f'python {MMSEG_CONVERTERS}/cityscapes.py {{root}} --nproc 8'),
        lookalikes=(("Cityscapes' labelIds", 33),)),
    'ADE20KDataset': Benchmark(2000, 'unzip ADEChallengeData2016.zip, so that its folder is {root}'),
    'ADE20K847Dataset': Benchmark(2000, 'unzip ADE20K_2021_17_01.zip, so that its folder is {root}',
                                  ('python {tools}/dataset_converters/ade20k_847.py {root}',)),
    'DemoScenesDataset': Benchmark(60, 'install ovseg anew: the scenes are part of it'),
}


def find_benchmark(dataset_cfg: Mapping[str, Any]) -> Benchmark:
    """Facts about a config's data set, with its folder put in; almost none about one that is no benchmark.

    mmseg has one class for both COCO-Stuffs; the 10k version is known by the folder of its label files.
    """
    type_, root = type_name(dataset_cfg['type']), Path(dataset_cfg.get('data_root') or '')
    folder = Path(dataset_cfg.get('data_prefix', {}).get('seg_map_path') or '').name
    known = BENCHMARKS.get(f'{type_}/{folder}') or BENCHMARKS.get(type_) or Benchmark(0, f'get the files of {type_} anew')

    tools = configs_dir().parent / 'tools'

    def fill(step: str) -> str:
        return step.format(root=root, data=root.parent, tools=tools)

    return replace(known, source=fill(known.source), convert=tuple(map(fill, known.convert)))
