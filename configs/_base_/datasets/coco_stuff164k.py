# COCO-Stuff 164k val2017.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('coco_stuff164k'))
