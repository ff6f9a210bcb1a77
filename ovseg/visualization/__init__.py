"""Pictures of results."""
from ovseg.visualization.contact_sheet import contact_sheet

__all__ = ['contact_sheet']
