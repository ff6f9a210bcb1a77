# SC-CLIP: outlier patches repaired, patches aggregated by the similarity of middle blocks, several levels summed.
method = dict(image_encoder=dict(type='SCCLIPEncoder'), windows=dict(pad_mode='none'))
