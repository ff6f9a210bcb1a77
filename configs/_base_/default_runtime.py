default_scope = 'mmseg'
custom_imports = dict(imports=['ovseg'], allow_failed_imports=False)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl'))
log_level = 'INFO'
log_processor = dict(by_epoch=False)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    visualization=dict(type='SegVisualizationHook'))
custom_hooks = [dict(type='VocabularyCheckHook'), dict(type='NonFiniteHook'), dict(type='ProgressHook')]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
test_cfg = dict(type='CheckedTestLoop')
tta_model = dict(type='CLIPSegTTAModel')
model_wrapper_cfg = dict(type='FrozenModelWrapper')
