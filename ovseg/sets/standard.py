"""The benchmarks of everyday scenes, in mmseg's layouts.

Sources of the licences: PASCAL VOC 2012, the "database rights" of its page, as lists of data sets repeat them; COCO, the terms
of use on its site; both COCO-Stuffs, the READMEs of nightrome/cocostuff and nightrome/cocostuff10k; Cityscapes, its licence
agreement, as repositories that use it repeat it; ADE20K, the terms on its page, as cards of the data set repeat them.
"""
from dataclasses import replace
from typing import Tuple

from ovseg.sets.row import Row

_COCO_TERMS = "annotations: CC BY 4.0; images: Flickr's terms"
_ADE20K_TERMS = 'annotations: BSD-3-Clause; images: non-commercial research and education'
_VOC21 = Row(
    'voc21', 'VOC21', 'VOCdevkit/VOC2012', 'JPEGImages', 'SegmentationClass', 'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/',
    'unpack VOCtrainval_11-May-2012.tar, so that its VOC2012 is {root}', 1449, "images: Flickr's terms", 'PascalVOCDataset',
    ann_file='ImageSets/Segmentation/val.txt', lookalikes=(("PASCAL-Context's label maps", 59),))
_CONTEXT60 = Row(
    'context60', 'Context60', 'VOCdevkit/VOC2010', 'JPEGImages', 'SegmentationClassContext',
    'https://cs.stanford.edu/~roozbeh/pascal-context/',
    'unpack VOCtrainval_03-May-2010.tar, so that its VOC2010 is {root}, and put trainval_merged.json there', 5104,
    type='PascalContextDataset', ann_file='ImageSets/SegmentationContext/val.txt',
    convert=('install the Detail API: github.com/zhanghang1989/detail-api',
             'python {mmseg}/pascal_context.py {data} {root}/trainval_merged.json'),
    lookalikes=(("VOC's SegmentationClass", 20), ("PASCAL-Context's 459 classes", 459)))
_COCO_STUFF164K = Row(
    'coco_stuff164k', 'COCO-Stuff164k', 'coco_stuff164k', 'images/val2017', 'annotations/val2017',
    'https://github.com/nightrome/cocostuff',
    'unzip val2017.zip into {root}/images and stuffthingmaps_trainval2017.zip into {root}/annotations', 5000,
    _COCO_TERMS, 'COCOStuffDataset', classes='coco_stuff', convert=('python {mmseg}/coco_stuff164k.py {root} --nproc 8',),
    lookalikes=(("COCO-Object's instanceTrainIds", 80), ("COCO-Stuff's unconverted ids", 181)))

STANDARD: Tuple[Row, ...] = (
    _VOC21,
    replace(_VOC21, name='voc20', title='VOC20', type='PascalVOC20Dataset'),
    _CONTEXT60,
    replace(_CONTEXT60, name='context59', title='Context59', type='PascalContextDataset59'),
    replace(_CONTEXT60, name='context459', title='Context-459', type='PascalContext459Dataset',
            seg_map_path='annotations_detectron2/pc459_val', lookalikes=(),
            convert=(*_CONTEXT60.convert, "unpack PASCAL-Context's trainval.tar.gz into {root}",
                     'python {tools}/dataset_converters/context459.py {root}')),
    _COCO_STUFF164K,
    Row('coco_object', 'COCO-Object', 'coco_object', 'images/val2017', 'annotations/val2017', 'https://cocodataset.org',
        _COCO_STUFF164K.source.replace('{root}', '{data}/coco_stuff164k'), 5000, _COCO_TERMS, 'COCOObjectDataset',
        convert=('python {tools}/dataset_converters/coco_object.py {data}/coco_stuff164k {root}',),
        lookalikes=(("COCO-Stuff's labelTrainIds", 170), ("COCO-Stuff's unconverted ids", 181))),
    Row('coco_stuff10k', 'COCO-Stuff10k', 'coco_stuff10k', 'images/test2014', 'annotations/test2014', _COCO_STUFF164K.page,
        'unzip cocostuff-10k-v1.1.zip into {root}', 1000, _COCO_TERMS, 'COCOStuffDataset',
        classes='coco_stuff', reduce_zero_label=True,
        convert=('pip install scipy', 'python {mmseg}/coco_stuff10k.py {root} --nproc 8'),
        lookalikes=(("COCO-Stuff's unconverted ids", 182),)),
    Row('cityscapes', 'Cityscapes', 'cityscapes', 'leftImg8bit/val', 'gtFine/val', 'https://www.cityscapes-dataset.com',
        'unzip leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip into {root}', 500, 'custom, non-commercial',
        'CityscapesDataset',
        convert=('pip install cityscapesscripts', 'python {mmseg}/cityscapes.py {root} --nproc 8'),
        lookalikes=(("Cityscapes' labelIds", 33),)),
    Row('ade20k', 'ADE20K', 'ade/ADEChallengeData2016', 'images/validation', 'annotations/validation',
        'http://sceneparsing.csail.mit.edu', 'unzip ADEChallengeData2016.zip, so that its folder is {root}', 2000,
        _ADE20K_TERMS, 'ADE20KDataset'),
    Row('ade20k_847', 'ADE20K-847', 'ADE20K_2021_17_01', 'images_detectron2/validation', 'annotations_detectron2/validation',
        'https://groups.csail.mit.edu/vision/datasets/ADE20K/', 'unzip ADE20K_2021_17_01.zip, so that its folder is {root}',
        2000, _ADE20K_TERMS, 'ADE20K847Dataset', convert=('python {tools}/dataset_converters/ade20k_847.py {root}',)))
