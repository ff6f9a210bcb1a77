# ADE20K val with its full vocabulary, in 16-bit label files.
_base_ = ['../pipelines/short_side_336_wide.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('ade20k_847'))
