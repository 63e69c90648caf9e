"""What a masked autoencoder gets to see of an image."""

from typing import Literal

from pydantic import Field

from fedefm.config.section import Section


class MaskingConfig(Section):
    """How patches are masked, and how an image is changed before."""

    mask_ratio: float = Field(0.75, gt=0, lt=1)  # share of the patches that is hidden
    masking: Literal["texture", "random"] = "texture"  # texture: plain patches are seen rather
    degrade: bool = True  # blurred or speckled input, clean target
    convert: float = Field(0.0, ge=0, le=1)  # share shown in the other scan mode, where a site
    # says in its own file which mode its images have
