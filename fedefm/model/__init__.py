"""Backbones, foundation model, segmenters and their weights.

Importing this package makes timm and segmentation-models-pytorch importable everywhere (see
``torchvision_fix``); neither is imported before a segmenter is built.
"""

from fedefm.model.torchvision_fix import repair_torchvision

repair_torchvision()
