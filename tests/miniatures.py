"""Benchmarks in miniature: five small drawn images each, under the true folder and file names, with the true label encoding.

Not a test module: a test takes ``draw`` by ``runpy.run_path``.
"""
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

SIZES = ((41, 67), (59, 43), (47, 73), (71, 53), (61, 79))  # height, width

VOC2012 = ('2007_000033', '2007_000042', '2007_000061', '2007_000123', '2007_000129')
VOC2010 = ('2008_000002', '2008_000003', '2008_000007', '2008_000008', '2009_000001')
COCO = ('000000000139', '000000000285', '000000000632', '000000000724', '000000000776')
CITIES = ('frankfurt/frankfurt_000000_000294', 'frankfurt/frankfurt_000001_083852', 'lindau/lindau_000000_000019',
          'lindau/lindau_000058_000019', 'munster/munster_000173_000019')
ADE = tuple(f'ADE_val_{number:08d}' for number in range(1, 6))


class Layout(NamedTuple):
    """Paths of a benchmark's files under ``DATA_ROOT``, and the meaning of its label values."""
    names: Tuple[str, ...]
    images: str  # {} is the name
    labels: str
    ignored: Tuple[int, ...] = ()  # values that are no class
    first: int = 0  # value of class 0
    split: Optional[str] = None  # list of the names
    decoys: Tuple[str, ...] = ()  # further files of the benchmark, which must not be taken for its labels or images
    mode: str = 'L'
    image_mode: str = 'RGB'


VOC21 = Layout(
    VOC2012, 'VOCdevkit/VOC2012/JPEGImages/{}.jpg', 'VOCdevkit/VOC2012/SegmentationClass/{}.png', ignored=(255,), mode='P',
    split='VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt',
    decoys=('VOCdevkit/VOC2012/SegmentationObject/{}.png', 'VOCdevkit/VOC2012/JPEGImages/not_in_the_list_{}.jpg'))
CONTEXT60 = Layout(
    VOC2010, 'VOCdevkit/VOC2010/JPEGImages/{}.jpg', 'VOCdevkit/VOC2010/SegmentationClassContext/{}.png',
    split='VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt',
    decoys=('VOCdevkit/VOC2010/JPEGImages/not_in_the_list_{}.jpg',))
LAYOUTS = dict(
    voc21=VOC21,
    voc20=VOC21._replace(ignored=(0, 255), first=1),
    context60=CONTEXT60,
    context59=CONTEXT60._replace(ignored=(0,), first=1),
    context459=CONTEXT60._replace(
        labels='VOCdevkit/VOC2010/annotations_detectron2/pc459_val/{}.tif', ignored=(65535,), mode='I;16'),
    coco_object=Layout(
        COCO, 'coco_object/images/val2017/{}.jpg', 'coco_object/annotations/val2017/{}_instanceTrainIds.png'),
    coco_stuff164k=Layout(
        COCO, 'coco_stuff164k/images/val2017/{}.jpg', 'coco_stuff164k/annotations/val2017/{}_labelTrainIds.png', ignored=(255,),
        decoys=('coco_stuff164k/annotations/val2017/{}.png',)),
    coco_stuff10k=Layout(
        tuple(f'COCO_train2014_{name}' for name in COCO), 'coco_stuff10k/images/test2014/{}.jpg',
        'coco_stuff10k/annotations/test2014/{}_labelTrainIds.png', ignored=(0,), first=1),
    cityscapes=Layout(
        CITIES, 'cityscapes/leftImg8bit/val/{}_leftImg8bit.png', 'cityscapes/gtFine/val/{}_gtFine_labelTrainIds.png',
        ignored=(255,), decoys=tuple(f'cityscapes/gtFine/val/{{}}_gtFine_{kind}.png' for kind in ('labelIds', 'color'))),
    ade20k=Layout(
        ADE, 'ade/ADEChallengeData2016/images/validation/{}.jpg', 'ade/ADEChallengeData2016/annotations/validation/{}.png',
        ignored=(0,), first=1),
    ade20k_847=Layout(
        ADE, 'ADE20K_2021_17_01/images_detectron2/validation/{}.jpg',
        'ADE20K_2021_17_01/annotations_detectron2/validation/{}.tif', ignored=(65535,), mode='I;16'))


def _mess(folder: str, images: str, labels: str, names: Sequence[str], *decoys: str, image_mode: str = 'RGB') -> Layout:
    return Layout(tuple(names), f'{folder}/{images}', f'{folder}/{labels}', (255,),
                  decoys=tuple(f'{folder}/{decoy}' for decoy in decoys), image_mode=image_mode)


def _tiles(stem: str) -> Sequence[str]:
    return [f'{stem}_{index}' for index in range(5)]


NUMBERS = ('0023', '0101', '0347', '1009', '2011')
IMAGES, LABELS = 'images_detectron2/test', 'annotations_detectron2/test'
MESS_LAYOUTS = dict(  # what the scripts mess/prepare_datasets/*.py of MESS' toolkit leave
    mess_bdd100k=_mess('bdd100k', 'images/10k/val/{}.jpg', 'annotations_detectron2/val/{}.png', NUMBERS,
                       'labels/sem_seg/colormaps/val/{}.png', 'images/10k/train/{}.jpg'),
    mess_dark_zurich=_mess(
        'Dark_Zurich', 'rgb_anon/val/night/GOPR0356/{}_rgb_anon.png', 'annotations_detectron2/val/{}_gt_labelIds.png',
        [f'GOPR0356_frame_00{number}' for number in NUMBERS],
        *(f'gt/val/night/GOPR0356/{{}}_gt_{kind}.png' for kind in ('labelIds', 'labelTrainIds', 'invGray'))),
    mess_mhp_v1=_mess('LV-MHP-v1', f'{IMAGES}/{{}}.jpg', f'{LABELS}/{{}}.png', NUMBERS, 'images/{}.jpg',
                      'annotations/{}_02_01.png', 'images_detectron2/val/{}.jpg', 'annotations_detectron2/val/{}.png'),
    mess_foodseg103=_mess('FoodSeg103', 'Images/img_dir/test/{}.jpg', 'Images/ann_dir/test/{}.png', NUMBERS,
                          'Images/img_dir/train/{}.jpg', 'Images/ann_dir/train/{}.png'),
    mess_atlantis=_mess('atlantis', f'{IMAGES}/{{}}.jpg', f'{LABELS}/{{}}.png', NUMBERS, 'images/test/canal/{}.jpg',
                        'masks/test/canal/{}.png'),
    mess_dram=_mess('DRAM_processed', f'{IMAGES}/{{}}.jpg', f'{LABELS}/{{}}.png', [f'sisley_{name}' for name in NUMBERS],
                    'test/Impressionism/sisley/{}.jpg', 'labels/Impressionism/sisley/{}.png'),
    mess_isaid=_mess('isaid', 'images_detectron2/val/{}.png', 'annotations_detectron2/val/{}.png', _tiles('P0003'),
                     'raw_val/images/{}_instance_color_RGB.png', 'val/images/{}.png'),
    mess_isprs_potsdam=_mess('ISPRS_Potsdam', f'{IMAGES}/irrg/{{}}.png', f'{LABELS}/{{}}.png', _tiles('top_potsdam_2_13'),
                             f'{IMAGES}/rgb/{{}}.png', 'Labels/{}_label.tif'),
    mess_worldfloods=_mess('WorldFloods', f'{IMAGES}/irrg/{{}}.png', f'{LABELS}/{{}}.png', _tiles('EMSR286'),
                           f'{IMAGES}/rgb/{{}}.png', 'test/gt/{}.tif'),
    mess_floodnet=_mess('FloodNet-Supervised_v1.0', f'{IMAGES}/{{}}.jpg', f'{LABELS}/{{}}.png', _tiles('6336'),
                        'test/test-org-img/{}.jpg', 'test/test-label-img/{}_lab.png'),
    mess_uavid=_mess('uavid_v1.5', 'images_detectron2/val/{}.png', 'annotations_detectron2/val/{}.png', _tiles('seq16_000000'),
                     'uavid_val/seq16/Images/{}.png', 'uavid_val/seq16/Labels/{}.png'),
    mess_kvasir_instrument=_mess('kvasir-instrument', f'{IMAGES}/{{}}.png', f'{LABELS}/{{}}.png', NUMBERS, 'images/{}.jpg',
                                 'masks/{}.png'),
    mess_chase_db1=_mess('CHASEDB1', f'{IMAGES}/{{}}.jpg', f'{LABELS}/{{}}.png', [f'Image_{name}L' for name in NUMBERS],
                         '{}.jpg', '{}_1stHO.png'),
    mess_cryonuseg=_mess('CryoNuSeg', 'images_detectron2/{}.png', 'annotations_detectron2/{}.png',
                         [f'Human_Larynx_{name}' for name in NUMBERS], 'tissue images/{}.tif'),
    **{f'mess_paxray_{task}': _mess(
        'paxray_dataset', f'{IMAGES}/{{}}.png', f'{LABELS}/{task}/{{}}.png', NUMBERS, 'images/{}.png')
        for task in ('lungs', 'bones', 'mediastinum', 'diaphragm')},
    mess_corrosion_cs=_mess('Corrosion Condition State Classification', 'original/Test/images/{}.jpeg',
                            'original/Test/masks/{}.png', NUMBERS, 'original/Train/images/{}.jpeg'),
    mess_deepcrack=_mess('DeepCrack', 'test_img/{}.jpg', f'{LABELS}/{{}}.png', NUMBERS, 'test_lab/{}.png', 'train_img/{}.jpg'),
    mess_pst900=_mess('PST900_RGBT_Dataset', 'test/thermal/{}.png', 'test/labels/{}.png', NUMBERS, 'test/rgb/{}.png',
                      'test/thermal_pseudo/{}.png', image_mode='L'),
    mess_zerowaste=_mess('zerowaste-f', 'splits_final_deblurred/test/data/{}.PNG', 'splits_final_deblurred/test/sem_seg/{}.PNG',
                         NUMBERS, 'splits_final_deblurred/val/data/{}.PNG'),
    mess_suim=_mess('SUIM', 'TEST/images/{}.jpg', f'{LABELS}/{{}}.png', NUMBERS, 'TEST/masks/{}.bmp'),
    mess_cub_200=_mess('CUB_200_2011', f'{IMAGES}/{{}}.jpg', f'{LABELS}/{{}}.png',
                       [f'Black_Footed_Albatross_{name}_55' for name in NUMBERS],
                       'images/001.Black_footed_Albatross/{}.jpg', 'segmentations/001.Black_footed_Albatross/{}.png'),
    mess_cwfid=_mess('cwfid', 'images/{}_image.png', f'{LABELS}/{{}}_annotation.png', ('001', '003', '004', '009', '060'),
                     'images/1{}_image.png', 'annotations/{}_annotation.png', 'masks/{}_mask.png'))


def picture(index: int) -> np.ndarray:
    """The image of number ``index``: coloured and noisy blocks, ``(height, width, 3)`` uint8."""
    rng = np.random.default_rng((20260214, index))
    colours, noise = (_blocks(rng, SIZES[index], 11, rng.integers(0, 256, size)) for size in ((97, 3), (97, 1)))
    return (colours + rng.integers(-64, 65, colours.shape) * noise / 255).clip(0, 255).astype(np.uint8)


def draw(benchmark: str, data_root: Path, classes: Sequence[int]) -> Dict[str, np.ndarray]:
    """Write the benchmark's files under ``data_root``; every image shows some of ``classes`` and all values that are no class.

    Returns:
        The label maps by name, as they stand in the files.
    """
    layout = {**LAYOUTS, **MESS_LAYOUTS}[benchmark]
    values = np.asarray(classes) + layout.first
    maps = {}
    for index, name in enumerate(layout.names):
        rng = np.random.default_rng((20260215, index))
        labels = _blocks(rng, SIZES[index], 5, rng.permutation(values))
        for place, value in enumerate(layout.ignored):
            labels[3 + index:17 + index, 7 + 13 * place:17 + 13 * place] = value
        maps[name] = labels.astype(np.uint16 if layout.mode == 'I;16' else np.uint8)
        _save(Image.fromarray(picture(index)).convert(layout.image_mode), data_root / layout.images.format(name))
        _save(_label_image(maps[name], layout.mode), data_root / layout.labels.format(name))
        for decoy in layout.decoys:
            _save(Image.new('L', SIZES[index][::-1], 1), data_root / decoy.format(name))
    if layout.split:
        (data_root / layout.split).parent.mkdir(parents=True, exist_ok=True)
        (data_root / layout.split).write_text(''.join(f'{name}\n' for name in layout.names))
    return maps


def _blocks(rng: np.random.Generator, size: Tuple[int, int], side: int, values: np.ndarray) -> np.ndarray:
    """An image of square blocks with ``values`` in their order, again and again; the seam runs through anywhere."""
    rows, columns = (length // side + 1 for length in size)
    start = rng.integers(len(values))
    blocks = values[(start + np.arange(rows * columns)) % len(values)].reshape(rows, columns, *values.shape[1:])
    return blocks.repeat(side, 0).repeat(side, 1)[:size[0], :size[1]]


def _label_image(labels: np.ndarray, mode: str) -> Image.Image:
    image = Image.fromarray(labels)
    if mode == 'P':  # as VOC's files are: indices into a palette
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    assert image.mode == mode
    return image


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
