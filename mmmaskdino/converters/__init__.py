from .official import convert_head, convert_model, convert_resnet

__all__ = ['convert_head', 'convert_model', 'convert_resnet']
