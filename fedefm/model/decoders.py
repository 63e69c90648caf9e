"""segmentation-models-pytorch's decoders over our backbones, safe for differential privacy."""

from collections.abc import Sequence

import torch.nn.functional as F
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder, UnetDecoderBlock
from torch import Tensor, nn

from fedefm.errors import ModelError
from fedefm.model.backbone import Backbone
from fedefm.model.dp_safe import group_norm, make_dp_safe
from fedefm.model.vit import VisionTransformer

PIXEL_FEATURES = 16  # of both decoders' output, at full resolution
DPT_MULTIPLE = 32  # the coarsest of the four maps is a 32nd of the image


class UnetOnPyramid(nn.Module):
    """U-Net decoder whose finest skip connection is the image itself."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        widths = [PIXEL_FEATURES * 2**level for level in range(len(backbone.channels))]
        self.unet = UnetDecoder(
            encoder_channels=(1, 1, *backbone.channels),  # the decoder itself drops the first
            decoder_channels=widths[::-1],
            n_blocks=len(widths),
        )

    def forward(self, x: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        decoded: Tensor = self.unet([x, x, *pyramid])
        return decoded


class DptOnTokens(nn.Module):
    """DPT decoder to half resolution, then one U-Net block with the image to full resolution.

    The class token is not read: our foundation models train the mean of the patch tokens. Reading
    it is also what broke Opacus, as that readout hands convolutions a transposed view.
    """

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        dim = backbone.feature_dim
        self.dpt = DPTDecoder(
            encoder_out_channels=backbone.channels,
            encoder_output_strides=backbone.strides,
            encoder_has_prefix_tokens=False,
            readout="ignore",
            intermediate_channels=(dim // 8, dim // 4, dim // 2, dim),  # the paper's for ViT-B
            fusion_channels=dim // 3,
        )
        self.norm = group_norm(dim // 3)  # fused maps are a sum of many: they would drown the image
        self.detail = UnetDecoderBlock(dim // 3, skip_channels=1, out_channels=PIXEL_FEATURES)

    def forward(self, x: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        fused = F.relu(self.norm(self.dpt(pyramid, [None] * len(pyramid))))
        decoded: Tensor = self.detail(fused, *x.shape[-2:], skip_connection=x)
        return decoded


def unet_decoder(backbone: Backbone) -> nn.Module:
    """A fresh U-Net decoder for ``backbone``."""
    return _prepared(UnetOnPyramid(backbone))


def dpt_decoder(backbone: VisionTransformer) -> nn.Module:
    """A fresh DPT decoder for ``backbone``. Raises ModelError if its maps cannot be halved."""
    if backbone.image_size % DPT_MULTIPLE:
        fitting = max(1, round(backbone.image_size / DPT_MULTIPLE)) * DPT_MULTIPLE
        raise ModelError(
            f"image size {backbone.image_size} is not a multiple of {DPT_MULTIPLE}, as "
            f"segmentation with a ViT needs; use {fitting}, for example"
        )
    return _prepared(DptOnTokens(backbone))


def pixel_head(num_classes: int) -> nn.Module:
    """A fresh 3 x 3 convolution to ``num_classes`` logits per pixel."""
    head: nn.Module = SegmentationHead(PIXEL_FEATURES, num_classes)
    initialize_head(head)
    return head


def _prepared(decoder: nn.Module) -> nn.Module:
    make_dp_safe(decoder)
    initialize_decoder(decoder)
    return decoder
