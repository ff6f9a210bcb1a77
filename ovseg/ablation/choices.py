"""Choices of an ablation, which the command shows before anything else is imported."""

SWITCHES = ('apply_similarity_enhancement', 'apply_self_attn_enhancement', 'apply_outlier_suppression', 'global_debias_factor',
            'apply_ctd', 'ignore_residual')
COMBINATIONS = ('one-at-a-time', 'cumulative', 'full')
