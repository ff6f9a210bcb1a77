# iSAID, val, patches of 896 pixels: 11644 images, 16 classes.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('isaid'))
protocol = __import__('ovseg').protocol('isaid')
