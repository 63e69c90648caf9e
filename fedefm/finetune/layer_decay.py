"""Layer-wise decay of the rate: the deeper a block, the more it may still change (BEiT, MAE)."""

from fedefm.finetune.task import Model


def layer_shares(model: Model, decay: float) -> dict[str, float]:
    """Of the rate, the share that each parameter of the backbone gets, by its name in ``model``.

    Block l of L, counted from 0, gets ``decay^(L - l)``; what comes before the first block, the
    embedding of patches and tokens, ``decay^(L + 1)``. What is not of the backbone is not named:
    heads and decoders are fresh and get the whole rate. A ViT's last norm goes with its last block.
    """
    blocks = model.backbone.blocks_in_order()
    of_block = {
        id(parameter): decay ** (len(blocks) - place)
        for place, block in enumerate(blocks)
        for parameter in block.parameters()
    }
    before = decay ** (len(blocks) + 1)
    return {
        name: of_block.get(id(parameter), before)
        for name, parameter in model.named_parameters()
        if name.startswith("backbone.")
    }
