"""Imported before the tests here, whose imports of timm need a working torchvision."""

import fedefm.model  # noqa: F401
