# COCO-Object val2017: things; stuff and unlabelled pixels are background.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('coco_object'))
