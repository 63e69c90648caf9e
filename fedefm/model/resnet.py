"""Residual networks with GroupNorm instead of BatchNorm.

BatchNorm couples the samples of a batch, which differential privacy forbids, and its running
statistics do not survive averaging between sites with different images. Names follow torchvision's
and timm's ResNets (``norm`` where they say ``bn``), so their weights load; with 32 groups the
numbers are those of timm's ``resnet*_gn``.

He et al., "Deep residual learning", CVPR 2016; Wu and He, "Group normalization", ECCV 2018.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fedefm.model.backbone import Backbone, plain_images

GROUPS = 32


@dataclass(frozen=True)
class ResNetSize:
    """The numbers that tell one ResNet from another."""

    layers: tuple[int, int, int, int]  # blocks in each of the four stages
    bottleneck: bool = False


RESNET_SIZES = {
    "resnet10": ResNetSize((1, 1, 1, 1)),
    "resnet18": ResNetSize((2, 2, 2, 2)),
    "resnet34": ResNetSize((3, 4, 6, 3)),
    "resnet50": ResNetSize((3, 4, 6, 3), bottleneck=True),
}


class ResNet(Backbone):
    """Stem and four stages; features at strides 2, 4, 8, 16 and 32, for images of any size."""

    strides = (2, 4, 8, 16, 32)

    def __init__(self, size: ResNetSize) -> None:
        super().__init__()
        block = Bottleneck if size.bottleneck else BasicBlock
        widths = (64, 128, 256, 512)
        self.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.GroupNorm(GROUPS, 64)
        self.channels = (64, *(width * block.expansion for width in widths))
        self.feature_dim = self.channels[-1]
        first, *rest = zip(self.channels, widths, size.layers, strict=False)
        self.layer1 = _stage(block, *first, stride=1)
        self.layer2, self.layer3, self.layer4 = (_stage(block, *s, stride=2) for s in rest)
        initialize_convolutions(self)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Five maps ``(B, C_i, H / stride_i, W / stride_i)``."""
        out = F.relu(self.norm1(self.conv1(plain_images(x))))
        maps = [out]
        out = F.max_pool2d(out, 3, stride=2, padding=1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            out = stage(out)
            maps.append(out)
        return maps

    def blocks_in_order(self) -> list[nn.ModuleList]:
        """The four stages."""
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        return [nn.ModuleList([stage]) for stage in stages]


class MicroResNet(Backbone):
    """Four convolutions, 60 thousand parameters: the network of tests and learning benchmarks.

    Three strided convolutions and a residual one: 32 px images give 4 x 4 places of 64 features.
    A stem at full resolution was measured to take three times as long and to learn no better.
    """

    strides = (2, 4, 8)
    channels = (16, 32, 64)
    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(1, 16, 3, 2), nn.GroupNorm(4, 16)
        self.conv2, self.norm2 = _convolution(16, 32, 3, 2), nn.GroupNorm(8, 32)
        self.conv3, self.norm3 = _convolution(32, 64, 3, 2), nn.GroupNorm(8, 64)
        self.conv4, self.norm4 = _convolution(64, 64, 3, 1), nn.GroupNorm(8, 64)
        initialize_convolutions(self)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Three maps ``(B, C_i, H / stride_i, W / stride_i)``."""
        half = F.relu(self.norm1(self.conv1(plain_images(x))))
        quarter = F.relu(self.norm2(self.conv2(half)))
        eighth = F.relu(self.norm3(self.conv3(quarter)))
        return [half, quarter, F.relu(self.norm4(self.conv4(eighth)) + eighth)]

    def blocks_in_order(self) -> list[nn.ModuleList]:
        """The four convolutions, each with its normalization."""
        return [
            nn.ModuleList([self.conv1, self.norm1]),
            nn.ModuleList([self.conv2, self.norm2]),
            nn.ModuleList([self.conv3, self.norm3]),
            nn.ModuleList([self.conv4, self.norm4]),
        ]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and the input added to them."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(channels, width, 3, stride), _norm(width)
        self.conv2, self.norm2 = _convolution(width, width, 3, 1), _norm(width)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and the input added to them."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * self.expansion
        self.conv1, self.norm1 = _convolution(channels, width, 1, 1), _norm(width)
        self.conv2, self.norm2 = _convolution(width, width, 3, stride), _norm(width)
        self.conv3, self.norm3 = _convolution(width, wide, 1, 1), _norm(wide)
        self.downsample = _shortcut(channels, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        out = F.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return F.relu(out + self.downsample(x))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, count: int, stride: int
) -> nn.Sequential:
    """``count`` blocks, of which the first changes width and resolution."""
    wide = width * block.expansion
    rest = (block(wide, width, 1) for _ in range(count - 1))
    return nn.Sequential(block(channels, width, stride), *rest)


def initialize_convolutions(module: nn.Module) -> None:
    """He's initialization, as in torchvision's ResNets."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def _convolution(channels: int, width: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, width)


def _shortcut(channels: int, width: int, stride: int) -> nn.Module:
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(_convolution(channels, width, 1, stride), _norm(width))
