# LPOSS: MaskCLIP's scores, propagated over the graph of all patches of the image by the values of DINO's last block.
method = dict(
    image_encoder=dict(attention=dict(type='MaskCLIP'), ignore_residual=False),
    post_processors=[
        dict(type='LPOSS', guide=dict(type='TimmGuide', model='vit_base_patch16_224.dino', features='v'),
             neighbours=400, gamma=3.0, sigma=0.01, power=1.0, alpha=0.95, num_iter=10)],
    windows=dict(pad_mode='center'),
    decoder=dict(at_input_size=True))
