# SegEarth-OV with its upsampler, whose weights are its authors': put the file there, or name another in upsampler.pretrained.
_base_ = ['segearth_ov.py']
method = dict(upsampler=dict(type='JBUOne', pretrained='checkpoints/xclip_jbu_one_million_aid.ckpt'))
