# OutlierImputeHead with n=1 (a plain head) and n=4 side by side: which class covers most of a scene?
# python tools/train.py configs/demo/outlier_impute_head_tiny-clip.py
_base_ = ['../_base_/default_runtime.py']
model = dict(
    type='TokenClassifier',
    clip=dict(name='ovseg-tiny-clip', pretrained='embedded'),
    num_classes=16,
    heads=dict(n1=dict(n=1), n4=dict(n=4)))
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='MainTextureDataset', length=2048))
val_dataloader = dict(
    batch_size=20,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='MainTextureDataset'))
val_evaluator = dict(type='HeadAccuracy')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=4)
val_cfg = dict(type='ValLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4))
param_scheduler = dict(type='CosineAnnealingLR', T_max=4, by_epoch=True)
default_hooks = dict(
    logger=dict(interval=16), checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1))
log_processor = dict(by_epoch=True)
custom_hooks = [dict(type='PlainCheckpointHook')]
randomness = dict(seed=0)
model_wrapper_cfg = dict(type='MMDistributedDataParallel', broadcast_buffers=False)
