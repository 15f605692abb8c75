"""What ``distillation.train`` trains with: the effectful half of distillation, beside ``encoder``.

Its modules import torch, and no ``__init__`` imports them.
"""
