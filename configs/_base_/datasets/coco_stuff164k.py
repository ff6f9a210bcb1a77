# COCO-Stuff 164k val2017: 5000 images, 171 classes.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('coco_stuff164k'))
