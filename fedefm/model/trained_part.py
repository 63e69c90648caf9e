"""Train only the end of a model, and leave what came with its start as it is.

Fewer trained numbers need less noise for the same epsilon, so a backbone that learned from public
images and of which only the last blocks are trained is what a private run does best with. And with
no block at all, what is learned says what the backbone knew before.
"""

from fedefm.errors import ModelError
from fedefm.model.foundation import FoundationModel
from fedefm.model.segmenter import Segmenter


def train_only_last(model: FoundationModel | Segmenter, count: int) -> None:
    """Freeze the backbone of ``model`` but for its last ``count`` blocks.

    A block is one of a ViT's, or a stage of a ResNet. What is behind the backbone is trained as it
    was. Raises ModelError where there are not so many, or nothing would be left to train; the model
    is unchanged then.
    """
    blocks = model.backbone.blocks_in_order()
    if count > len(blocks):
        raise ModelError(
            f"train_last {count} is more than the {len(blocks)} blocks of backbone "
            f"{model.info['backbone']!r}; leave it out to train the whole model"
        )
    body = {id(p) for p in model.backbone.parameters()}
    last = blocks[len(blocks) - count :]
    kept = {id(p) for p in model.parameters()} - body
    kept |= {id(p) for part in last for p in part.parameters()}
    if not kept:
        raise ModelError(
            "train_last 0 with a frozen head leaves nothing to train; use at least 1, or "
            "model.head 'trainable'"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in kept)
