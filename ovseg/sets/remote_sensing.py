"""The 17 remote-sensing data sets of SegEarth-OV, in its layouts and its protocol: long side 448, windows of 224 every 112.

Class words, thresholds and numbers of patches are those of its repository (likyoo/SegEarth-OV at 3e22a96); layouts are those of
its dataset_prepare.md, whose folders loveDA and UDD5 its configs call LoveDA and UDD/UDD/UDD5. What no source at hand states is
left out. The sources of the other facts:

- Licences: of LoveDA, UDD, VDD, GRSet (its validation set has the three sets of roads) and OpenEarthMap the READMEs of their
  repositories (Junjue-Wang/LoveDA at 3f4ba90, MarcWong/UDD at 2662ad9, RussRobin/VDD at 98506f0, xiaoyan07/GRNet_GRSet at
  892108d, bao18/open_earth_map); of CHN6-CUG that of CUG-URS/CHN6-CUG-Roads-Dataset; of UAVid and iSAID MESS' DATASETS.md; of
  xBD, Potsdam, Vaihingen and Inria the table of data sets in torchgeo's documentation.
- Images: of LoveDA those of dataset-ninja/remote-sensing-land-cover-dataset; of CHN6-CUG the test images in xiaoyan07/GRE-Hub,
  as its archive has train and val only; GRE-Hub also states those of the three sets of GRSet; of WBS-SI the lines of
  SegEarth-OV's list.
- The names of OpenEarthMap's classes are those of bao18/open_earth_map (utils.py), with "background" for "unknown" as in
  SegEarth-OV; those of UAVid stand in MESS' prepare_uavid.py, where moving and static cars are two classes.
"""
from typing import Any, Dict, Tuple

from ovseg.sets.row import Conversion, Row

_WHITE = {0: 0, 255: 1}  # masks of black and white
_BINARY = ((0, 0, 0), (255, 255, 255))
_ROADS = 'https://github.com/xiaoyan07/GRNet_GRSet'
_SEGEARTH = 'https://github.com/likyoo/SegEarth-OV'
_INRIA = (  # the images that FCtL tests on
    'austin1', 'austin7', 'austin12', 'austin22', 'austin24', 'austin36', 'chicago10', 'chicago14', 'chicago23', 'chicago26',
    'kitsap9', 'kitsap14', 'kitsap25', 'kitsap34', 'kitsap35', 'kitsap36', 'tyrol-w1', 'tyrol-w3', 'tyrol-w25', 'tyrol-w36',
    'vienna3', 'vienna6', 'vienna9', 'vienna11', 'vienna15', 'vienna18', 'vienna20')


def _decoder(prob_thd: float, bg_idx: int = 0) -> Dict[str, Any]:
    """Settings of the decoder in SegEarth-OV's protocol."""
    return dict(logit_scale=50, prob_thd=prob_thd, **(dict(bg_idx=bg_idx) if bg_idx else {}))


def _converted(name: str, in_place: bool = True) -> Tuple[str, ...]:
    """The command that converts a row's archive, in its folder or out of SRC."""
    return (f'ovseg convert sets {name} ' + ('{root}' if in_place else 'SRC {root}'),)


def _road(name: str, title: str, folder: str, images: int, conversion: Conversion, img_path: str = 'img') -> Row:
    """A set of GRSet, whose folders have the number of their images in their names."""
    return Row(name, title, f'GlobalRoadSet_Val/{folder}', img_path, 'label_cvt', _ROADS,
               f'download GlobalRoadSet_Val, so that its {folder} is {{root}}', images, 'CC BY-NC-SA 4.0', img_suffix='.jpg',
               seg_map_suffix='.png', classes='binary_road', palette=_BINARY, convert=_converted(name),
               conversion=conversion, decoder=_decoder(0.7))


REMOTE_SENSING: Tuple[Row, ...] = (
    Row('openearthmap', 'OpenEarthMap', 'OpenEarthMap', 'img_dir/val', 'ann_dir/val', 'https://open-earth-map.org',
        'download OpenEarthMap without xBD; SRC is its folder, with val.txt',
        licence='that of each source image; CC BY-NC-SA 4.0 where it has none', img_suffix='.tif', seg_map_suffix='.tif',
        palette=((0, 0, 0), (128, 0, 0), (0, 255, 36), (148, 148, 148), (255, 255, 255), (34, 97, 38), (0, 69, 255),
                 (75, 181, 73), (222, 31, 7)),
        convert=_converted('openearthmap', in_place=False), words='openearthmap_segearth', decoder=_decoder(0.1),
        conversion=Conversion('*/images/*.tif', '*/labels/*.tif', name='{1}', only_in='val.txt', partial=True)),
    Row('loveda', 'LoveDA', 'loveDA', 'img_dir/val', 'ann_dir/val', 'https://github.com/Junjue-Wang/LoveDA',
        'download Train.zip, Val.zip and Test.zip; SRC is their folder', 1669, 'CC BY-NC-SA 4.0', 'LoveDADataset',
        convert=('python {mmseg}/loveda.py SRC -o {root}',), words='loveda_segearth', decoder=_decoder(0.3)),
    Row('isaid', 'iSAID', 'iSAID', 'img_dir/val', 'ann_dir/val', 'https://captain-whu.github.io/iSAID/dataset.html',
        'download the images of DOTA-v1.0 and the masks of iSAID, so that SRC/train, SRC/val and SRC/test each have '
        'images/*.zip, and the first two Semantic_masks/images.zip', 11644, 'non-commercial use', 'iSAIDDataset',
        convert=('python {mmseg}/isaid.py SRC -o {root}',), decoder=_decoder(0.4)),
    Row('potsdam', 'ISPRS Potsdam', 'potsdam', 'img_dir/val', 'ann_dir/val',
        'https://www.isprs.org/education/benchmarks/UrbanSemLab/default.aspx',
        'ask for 2_Ortho_RGB.zip and 5_Labels_all_noBoundary.zip; SRC is their folder', 2016, 'on request, none stated',
        'PotsdamDataset', classes='isprs', convert=('python {mmseg}/potsdam.py SRC -o {root}',), words='potsdam_segearth',
        decoder=_decoder(0.1, 5)),
    Row('vaihingen', 'ISPRS Vaihingen', 'vaihingen', 'img_dir/val', 'ann_dir/val',
        'https://www.isprs.org/education/benchmarks/UrbanSemLab/default.aspx',
        'ask for ISPRS_semantic_labeling_Vaihingen.zip and ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip; '
        'SRC is their folder', 398, 'on request, none stated', 'ISPRSDataset', classes='isprs',
        convert=('python {mmseg}/vaihingen.py SRC -o {root}',), decoder=_decoder(0.1, 5)),
    Row('uavid', 'UAVid', 'UAVid', 'img_dir/test', 'ann_dir/test', 'https://uavid.nl',
        'download the test set with its ground truth; SRC is the folder of seq*/Images and seq*/Labels', 0, 'CC BY-NC-SA 4.0',
        img_suffix='.png', seg_map_suffix='.png', words='uavid_segearth', decoder=_decoder(0.3),
        palette=((0, 0, 0), (128, 0, 0), (128, 64, 128), (192, 0, 192), (0, 128, 0), (128, 128, 0), (64, 64, 0)),
        convert=_converted('uavid', in_place=False), conversion=Conversion(
            '*/Images/*.png', '*/Labels/*.png', name='{0}_{1}', patch=(1080, 1280), patch_name='_{top}_{bottom}_{left}_{right}',
            colours={(0, 0, 0): 0, (128, 0, 0): 1, (128, 64, 128): 2, (192, 0, 192): 3, (64, 0, 128): 3, (0, 128, 0): 4,
                     (128, 128, 0): 5, (64, 64, 0): 6})),
    Row('udd5', 'UDD5', 'UDD5', 'val/src', 'val/gt', 'https://github.com/MarcWong/UDD', 'unpack it, so that its UDD5 is {root}',
        licence='non-commercial use', img_suffix='.JPG', seg_map_suffix='.png', words='udd5_segearth', decoder=_decoder(0.4, 4),
        palette=((107, 142, 35), (102, 102, 156), (128, 64, 128), (0, 0, 142), (0, 0, 0))),
    Row('vdd', 'VDD', 'VDD', 'test/src', 'test/gt', 'https://github.com/RussRobin/VDD', 'unpack it, so that its VDD is {root}',
        licence='non-commercial use', img_suffix='.JPG', seg_map_suffix='.png', words='vdd_segearth', decoder=_decoder(0.3)),
    Row('whu_aerial', 'WHU Aerial', 'WHU-BD', 'val/image', 'val/label_cvt',
        'http://gpcv.whu.edu.cn/data/building_dataset.html',
        'download the cropped aerial images, so that {root} has val/image/*.png and val/label/*.png', img_suffix='.png',
        seg_map_suffix='.png', classes='binary_building', palette=_BINARY, convert=_converted('whu_aerial'),
        conversion=Conversion('val/image/*.png', 'val/label/*.png', values=_WHITE, nearest=True), decoder=_decoder(0.6)),
    Row('whu_sat_ii', 'WHU Satellite II', 'WHU_Sat_II/Satellite_dataset_Ⅱ_East_Asia/1.cropped', 'test/image', 'test/label_cvt',
        'http://gpcv.whu.edu.cn/data/building_dataset.html',
        'download satellite data set II (East Asia), so that its 1.cropped is {root}', img_suffix='.tif', seg_map_suffix='.tif',
        classes='binary_building', palette=_BINARY, convert=_converted('whu_sat_ii'),
        conversion=Conversion('test/image/*.tif', 'test/label/*.tif', values=_WHITE, nearest=True), decoder=_decoder(0.7)),
    Row('inria', 'Inria', 'Inria/AerialImageDataset/train', 'img_dir/split_test', 'ann_dir/split_test',
        'https://project.inria.fr/aerialimagelabeling/', 'unpack AerialImageDataset, so that its train is {root}', 675,
        'none stated', img_suffix='.png', seg_map_suffix='.png', classes='binary_building', palette=_BINARY,
        convert=_converted('inria'), decoder=_decoder(0.6), conversion=Conversion(
            'images/*.tif', 'gt/*.tif', only=_INRIA, values=_WHITE, nearest=True, patch=(1000, 1000))),
    Row('xbd', 'xBD pre', 'xBD/test', 'images_pre', 'targets_cvt_pre', 'https://github.com/michal2409/xView2',
        'download the test set, test_images_labels_targets.tar.gz, so that {root} has images/*_pre_disaster.png and '
        'targets/*_pre_disaster_target.png; of labels/*.json alone, utils/convert2png.py of the page makes '
        'targets/*_pre_disaster.png, which are read as well', 0, 'CC BY-NC-SA 4.0', img_suffix='.png',
        seg_map_suffix='.png', classes='binary_building', palette=_BINARY, convert=_converted('xbd'),
        conversion=Conversion('images/*_pre_disaster.png', 'targets/*_pre_disaster_target.png', 'targets/*_pre_disaster.png',
                              '{0}_pre_disaster', values={0: 0, 1: 1, 2: 1, 3: 1, 4: 1, 255: 1}), decoder=_decoder(0.0)),
    Row('chn6_cug', 'CHN6-CUG', 'CHN6-CUG/val', 'image_cvt', 'label_cvt',
        'https://grzy.cug.edu.cn/zhuqiqi/zh_CN/yjgk/32368/list/index.htm',
        'unpack it, so that its val with images and gt is {root}', 903, 'non-commercial research and education',
        img_suffix='.jpg', seg_map_suffix='.png', classes='binary_road', palette=_BINARY, convert=_converted('chn6_cug'),
        conversion=Conversion('images/*_sat.jpg', 'gt/*_mask.png', values=_WHITE, nearest=True), decoder=_decoder(0.8)),
    _road('deepglobe_road', 'DeepGlobe Roads', 'DeepGlobe_test_1530', 1530,
          Conversion('img/*_sat.jpg', 'gt/*_mask.png', values=_WHITE, nearest=True), 'image_cvt'),
    _road('massachusetts_road', 'Massachusetts Roads', 'Massachusetts_test_49', 49,
          Conversion('img/*.jpg', 'gt/*.png', values=_WHITE, nearest=True)),
    _road('spacenet_road', 'SpaceNet Roads', 'SpaceNet_test_567', 567,
          Conversion('img/*.jpg', 'gt/*.png', values=_WHITE, nearest=True)),
    Row('wbs_si', 'WBS-SI', 'water-body-segmentation-in-satellite-images/WaterBodiesDatasetPreprocessed/'
        'WaterBodiesDatasetPreprocessed', 'Images', 'Masks_cvt',
        'https://www.kaggle.com/datasets/shirshmall/water-body-segmentation-in-satellite-images',
        f'unpack it, so that Images and Masks are in {{root}}, and put wbs-si_val.txt of {_SEGEARTH} there as val.txt', 499,
        ann_file='val.txt', img_suffix='.jpg', seg_map_suffix='.png', classes='binary_water',
        palette=((0, 0, 0), (0, 235, 255)),
        convert=_converted('wbs_si'), decoder=_decoder(0.6), conversion=Conversion(
            'Images/*.jpg', 'Masks/*.jpg', only_in='val.txt', values=_WHITE, nearest=True)))
