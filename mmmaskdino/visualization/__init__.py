"""Pictures: results, predictions beside what is annotated, how a prediction came about, curves of a training."""

from mmmaskdino.visualization.comparison import draw_comparison, draw_contact_sheet, panoptic_ground_truth
from mmmaskdino.visualization.local_visualizer import MaskDINOVisualizer
from mmmaskdino.visualization.picture_hook import PictureHook

__all__ = ['MaskDINOVisualizer', 'PictureHook', 'draw_comparison', 'draw_contact_sheet', 'panoptic_ground_truth']
