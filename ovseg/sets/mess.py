"""The 22 data sets of MESS in the layout that its scripts leave; PAXRay-4 has a row for each of its four tasks.

Facts, licences among them, are those of DATASETS.md, ``mess/datasets`` and ``mess/prepare_datasets`` of its toolkit
(github.com/blumenstiel/MESS at cc701b5, MIT); the package mess-benchmark 0.2 has the same. The licence of DeepCrack, for which
they name its page, is that of the README of yhlleo/DeepCrack.
"""
from dataclasses import replace
from typing import Any, Tuple

from ovseg.sets.row import Row

GENERAL, EARTH, MEDICAL, ENGINEERING, BIOLOGY = (
    'General', 'Earth Monitoring', 'Medical Sciences', 'Engineering', 'Agriculture and Biology')
DOWNLOADED = 'if files of {root} are missing, move it elsewhere: the script downloads only where there is no such folder'
UNPACKED = 'download {} into {{data}}, from where the script unpacks it if there is no folder {{root}}'
NON_COMMERCIAL = 'custom, non-commercial'
IMAGES, LABELS = 'images_detectron2/test', 'annotations_detectron2/test'


def _row(domain: str, name: str, title: str, folder: str, images: int, licence: str, page: str, *, img_path: str = IMAGES,
         seg_map_path: str = LABELS, source: str = DOWNLOADED, script: str = '', **settings: Any) -> Row:
    """A row that a script of MESS prepares, which is called as the data set unless ``script`` is given."""
    convert = (f'DETECTRON2_DATASETS={{data}} python -m mess.prepare_datasets.prepare_{script or name}'
               '  # pip install mess-benchmark',)
    return Row(f'mess_{name}', f'{title} (MESS)', folder, img_path, seg_map_path, page, source, images, licence,
               convert=convert, domain=domain, **{'img_suffix': '.jpg', 'seg_map_suffix': '.png', **settings})


_PAXRAY = _row(MEDICAL, 'paxray', 'PAXRay-4', 'paxray_dataset', 180, '', 'https://constantinseibold.github.io/paxray/',
               img_suffix='.png')

MESS: Tuple[Row, ...] = (
    _row(GENERAL, 'bdd100k', 'BDD100K', 'bdd100k', 1000, NON_COMMERCIAL, 'https://bdd-data.berkeley.edu',
         img_path='images/10k/val', seg_map_path='annotations_detectron2/val',
         source=UNPACKED.format('bdd100k_images_10k.zip and bdd100k_sem_seg_labels_trainval.zip')),
    _row(GENERAL, 'dark_zurich', 'Dark Zurich', 'Dark_Zurich', 50, NON_COMMERCIAL,
         'https://www.trace.ethz.ch/publications/2019/GCMA_UIoU/', img_path='rgb_anon/val/night/GOPR0356',
         seg_map_path='annotations_detectron2/val', img_suffix='_rgb_anon.png', seg_map_suffix='_gt_labelIds.png',
         lookalikes=(("Dark Zurich's labelIds", 33),)),
    _row(GENERAL, 'mhp_v1', 'MHP v1', 'LV-MHP-v1', 980, NON_COMMERCIAL, 'https://github.com/ZhaoJ9014/Multi-Human-Parsing'),
    _row(GENERAL, 'foodseg103', 'FoodSeg103', 'FoodSeg103', 2125, 'Apache-2.0', 'https://xiongweiwu.github.io/foodseg103.html',
         img_path='Images/img_dir/test', seg_map_path='Images/ann_dir/test', script='foodseg'),
    _row(GENERAL, 'atlantis', 'ATLANTIS', 'atlantis', 1295, "citation requested; images: Flickr's terms",
         'https://github.com/smhassanerfani/atlantis',
         source='clone its repository, and move the folder atlantis/atlantis of it to {root}, so that {root}/images exists',
         lookalikes=(("ATLANTIS' own masks", 56),)),
    _row(GENERAL, 'dram', 'DRAM', 'DRAM_processed', 718, NON_COMMERCIAL,
         'https://faculty.runi.ac.il/arik/site/artseg/Dram-Dataset.html', source=f'install the program unrar; {DOWNLOADED}',
         lookalikes=(("PASCAL VOC's ids", 20),)),
    _row(EARTH, 'isaid', 'iSAID', 'isaid', 4055, "custom, non-commercial; images: Google Earth's terms",
         'https://captain-whu.github.io/iSAID/dataset.html', img_path='images_detectron2/val',
         seg_map_path='annotations_detectron2/val', img_suffix='.png'),
    _row(EARTH, 'isprs_potsdam', 'ISPRS Potsdam', 'ISPRS_Potsdam', 504, 'undefined',
         'https://www.isprs.org/education/benchmarks/UrbanSemLab/default.aspx', img_path=f'{IMAGES}/irrg', img_suffix='.png',
         source=UNPACKED.format('Potsdam.zip')),
    _row(EARTH, 'worldfloods', 'WorldFloods', 'WorldFloods', 160, 'CC NC 4.0',
         'https://spaceml-org.github.io/ml4floods/content/worldfloods_dataset.html', img_path=f'{IMAGES}/irrg',
         img_suffix='.png', lookalikes=(("WorldFloods' own labels", 3),)),
    _row(EARTH, 'floodnet', 'FloodNet', 'FloodNet-Supervised_v1.0', 5571, 'CDLA-Permissive-1.0',
         'https://github.com/BinaLab/FloodNet-Supervised_v1.0', source='download its folder test into {root}'),
    _row(EARTH, 'uavid', 'UAVid', 'uavid_v1.5', 840, 'CC BY-NC-SA 4.0', 'https://uavid.nl', img_path='images_detectron2/val',
         seg_map_path='annotations_detectron2/val', img_suffix='.png',
         source=UNPACKED.format('uavid_v1.5_official_release_image.zip')),
    _row(MEDICAL, 'kvasir_instrument', 'Kvasir-Instrument', 'kvasir-instrument', 118, NON_COMMERCIAL,
         'https://datasets.simula.no/kvasir-instrument/', img_suffix='.png'),
    _row(MEDICAL, 'chase_db1', 'CHASE DB1', 'CHASEDB1', 20, 'CC BY 4.0', 'https://researchdata.kingston.ac.uk/96/'),
    _row(MEDICAL, 'cryonuseg', 'CryoNuSeg', 'CryoNuSeg', 30, 'CC BY-NC-SA 4.0',
         'https://www.kaggle.com/datasets/ipateam/segmentation-of-nuclei-in-cryosectioned-he-images',
         img_path='images_detectron2', seg_map_path='annotations_detectron2', img_suffix='.png',
         source='download its folder archive into {data}, which the script renames if there is no folder {root}'),
    *(replace(_PAXRAY, name=f'mess_paxray_{task}', title=f'PAXRay-4 (MESS, {task})', seg_map_path=f'{LABELS}/{task}')
      for task in ('lungs', 'bones', 'mediastinum', 'diaphragm')),
    _row(ENGINEERING, 'corrosion_cs', 'Corrosion CS', 'Corrosion Condition State Classification', 44, 'CC0',
         'https://figshare.com/articles/dataset/Corrosion_Condition_State_Semantic_Segmentation_Dataset/16624663',
         img_path='original/Test/images', seg_map_path='original/Test/masks', img_suffix='.jpeg'),
    _row(ENGINEERING, 'deepcrack', 'DeepCrack', 'DeepCrack', 237, 'non-commercial research and education',
         'https://github.com/yhlleo/DeepCrack', img_path='test_img'),
    _row(ENGINEERING, 'pst900', 'PST900', 'PST900_RGBT_Dataset', 288, 'GPL-3.0',
         'https://github.com/ShreyasSkandanS/pst900_thermal_rgb', img_path='test/thermal', seg_map_path='test/labels',
         img_suffix='.png'),
    _row(ENGINEERING, 'zerowaste', 'ZeroWaste-f', 'zerowaste-f', 929, 'CC BY-NC 4.0', 'http://ai.bu.edu/zerowaste/',
         img_path='splits_final_deblurred/test/data', seg_map_path='splits_final_deblurred/test/sem_seg', img_suffix='.PNG',
         seg_map_suffix='.PNG'),
    _row(BIOLOGY, 'suim', 'SUIM', 'SUIM', 110, 'unknown, or MIT', 'https://irvlab.cs.umn.edu/resources/suim-dataset',
         img_path='TEST/images'),
    _row(BIOLOGY, 'cub_200', 'CUB-200', 'CUB_200_2011', 5794, NON_COMMERCIAL,
         'https://www.vision.caltech.edu/datasets/cub_200_2011/'),
    _row(BIOLOGY, 'cwfid', 'CWFID', 'cwfid', 21, NON_COMMERCIAL, 'https://github.com/cwfid/dataset', img_path='images',
         img_suffix='_image.png', seg_map_suffix='_annotation.png', labelled_only=True,
         source='clone its repository as {root}, so that {root}/images exists'))
