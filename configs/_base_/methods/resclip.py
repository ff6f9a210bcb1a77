# ResCLIP on NACLIP's attention: attention of middle blocks, and feedback of a first segmentation.
method = dict(image_encoder=dict(type='ResCLIPEncoder'), windows=dict(pad_mode='none'))
