"""Figures of results and of intermediate steps."""
from ovseg.visualization.class_figures import error_figure, score_figure
from ovseg.visualization.contact_sheet import contact_sheet, method_sheet
from ovseg.visualization.explanation import explain
from ovseg.visualization.inspection import WindowInspection
from ovseg.visualization.patch_figures import (
    attention_figure,
    cls_similarity_figure,
    cluster_figure,
    outlier_figure,
    similarity_figure,
)

__all__ = ['WindowInspection', 'attention_figure', 'cls_similarity_figure', 'cluster_figure', 'contact_sheet', 'error_figure',
           'explain', 'method_sheet', 'outlier_figure', 'score_figure', 'similarity_figure']
