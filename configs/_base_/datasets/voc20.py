# PASCAL VOC 2012 val without its background, whose pixels are ignored.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('voc20'))
