from mmmaskdino.visualization.comparison import draw_comparison, draw_contact_sheet, panoptic_ground_truth
from mmmaskdino.visualization.local_visualizer import MaskDINOVisualizer

__all__ = ['MaskDINOVisualizer', 'draw_comparison', 'draw_contact_sheet', 'panoptic_ground_truth']
