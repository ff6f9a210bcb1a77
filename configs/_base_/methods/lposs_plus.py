# LPOSS+: LPOSS, and its scores propagated over the graph of the pixels of the network's input.
_base_ = ['lposs.py']
method = dict(decoder=dict(refiner=dict(type='LPOSSPlus', tau=0.01, r=13, alpha=0.95, num_iter=10)))
