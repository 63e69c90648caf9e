"""The masked autoencoder: a ViT that sees a quarter of an image's patches, and a light decoder that
has to paint the others.

What is learned is the ViT, under ``backbone``; its checkpoint starts any fine-tuning here.
He et al., "Masked autoencoders are scalable vision learners", CVPR 2022; for ultrasound,
UltraFedFM, npj Digital Medicine 8:714, 2025.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from fedefm.data.masking import at_places
from fedefm.errors import ModelError
from fedefm.model.checkpoint import load_checkpoint, read_checkpoint_info
from fedefm.model.mae_decoder import DECODER_SIZES, Decoder, MaskToken, behind_class_token
from fedefm.model.positions import sine_positions
from fedefm.model.vit import VIT_SIZES, PatchEmbedding, Tokens, VisionTransformer
from fedefm.seeding import own_global_stream, stream_seed

KIND = "masked_autoencoder"
MASKING = "masking"  # among a checkpoint's facts: how patches were hidden, as a run file has it


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder; ``forward`` gives the pixels of every patch.

    The positions of both are fixed sines and cosines. Those of the encoder stay in its parameter
    ``tokens.pos_embed``, which is not trained here, so that its checkpoint is that of any ViT.
    """

    def __init__(self, backbone: VisionTransformer, decoder: Decoder, info: dict[str, str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.info = dict(info)  # what build_masked_autoencoder needs to make this model again
        self.apply(_initialize)
        _fix_positions(backbone)

    def forward(self, images: Tensor, kept: Tensor) -> Tensor:
        """What all L patches look like, told from some of them.

        Args:
            images: ``(B, 1, S, S)``.
            kept: ``(B, K)`` int64, the patches that are seen, none of them twice in a row.
        Returns:
            ``(B, L, patch * patch)`` pixels, patches and pixels row by row.
        """
        pixels: Tensor = self.decoder(self.encode(images, kept), kept)
        return pixels

    def encode(self, images: Tensor, kept: Tensor) -> Tensor:
        """Class token and kept patches ``(B, 1 + K, C)``; the blocks see no other patch."""
        _check_kept(kept, images, self.backbone.grid**2)
        seen = at_places(self.backbone.embed(images), behind_class_token(kept))
        return self.backbone.transformed(seen)

    def dense_features(self, x: Tensor) -> Tensor:
        """The encoder's features ``(B, h, w, C)`` of whole images ``(B, 1, S, S)``."""
        return self.backbone.dense_features(x)


def build_masked_autoencoder(backbone: str, image_size: int, seed: int) -> MaskedAutoencoder:
    """A fresh masked autoencoder; the same arguments give the same weights in every process.

    Args:
        backbone: one of ``VIT_SIZES``.
        image_size: side of the square images, in pixels.
        seed: names the random weights.

    Raises:
        ModelError: for a backbone without patches, or a size that its patch does not divide or
            that is a single patch.
    """
    if backbone not in VIT_SIZES:
        raise ModelError(
            f"backbone {backbone!r} has no patches that could be masked; "
            f"choose one of {', '.join(VIT_SIZES)}"
        )
    size = VIT_SIZES[backbone]
    if image_size == size.patch:
        raise ModelError(
            f"images of {image_size} pixels are one patch of {backbone}, and nothing would be left "
            f"to see; use {2 * size.patch} or more"
        )
    info = {
        "kind": KIND,
        "backbone": backbone,
        "image_size": str(image_size),
        "seed": str(seed),
    }
    with own_global_stream():
        torch.manual_seed(stream_seed(seed, KIND))
        body = VisionTransformer(size, image_size)
        decoder = Decoder(DECODER_SIZES[backbone], size.dim, body.grid, size.patch**2)
        return MaskedAutoencoder(body, decoder, info)


def is_masked_autoencoder(info: dict[str, str]) -> bool:
    """Whether the facts of a checkpoint are those of a masked autoencoder."""
    return info.get("kind") == KIND


def read_masked_autoencoder(path: Path) -> MaskedAutoencoder:
    """The model that ``save_checkpoint(path, model, model.info)`` wrote.

    Raises:
        ModelError: if the file cannot be read or holds no masked autoencoder.
    """
    info = read_checkpoint_info(path)
    if not is_masked_autoencoder(info):
        raise ModelError(f"checkpoint {path} holds no masked autoencoder; pre-train one first")
    try:
        backbone, size, seed = info["backbone"], int(info["image_size"]), int(info["seed"])
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} does not say how its masked autoencoder is built ({error}); "
            "pre-train it anew"
        ) from None
    model = build_masked_autoencoder(backbone, size, seed)
    load_checkpoint(path, model, minimum=1.0)
    model.info |= {MASKING: info[MASKING]} if MASKING in info else {}
    return model


def _initialize(module: nn.Module) -> None:
    """As in the paper's appendix: linear layers, patches among them, after Xavier."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, PatchEmbedding):
        nn.init.xavier_uniform_(module.proj.weight.detach().view(module.proj.out_channels, -1))
    elif isinstance(module, Tokens):
        nn.init.normal_(module.cls_token, std=0.02)
    elif isinstance(module, MaskToken):
        nn.init.normal_(module.token, std=0.02)


@torch.no_grad()
def _fix_positions(backbone: VisionTransformer) -> None:
    positions = backbone.tokens.pos_embed
    positions.copy_(sine_positions(backbone.grid, backbone.feature_dim))
    positions.requires_grad_(False)


def _check_kept(kept: Tensor, images: Tensor, patches: int) -> None:
    fits = kept.dim() == 2 and len(kept) == len(images) and 0 < kept.shape[1] <= patches
    if not fits or kept.dtype != torch.int64:
        raise ModelError(
            f"kept patches of shape {tuple(kept.shape)} and type {kept.dtype} do not fit "
            f"{len(images)} images of {patches} patches; give int64 places (B, K), 0 < K <= "
            f"{patches}"
        )
