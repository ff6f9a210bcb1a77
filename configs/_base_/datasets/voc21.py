# PASCAL VOC 2012 val with its background.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('voc21'))
