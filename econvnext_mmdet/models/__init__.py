from .econvnext import EConvNeXt

__all__ = ['EConvNeXt']
