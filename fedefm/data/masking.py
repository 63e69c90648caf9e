"""Which patches of an image an autoencoder gets to see.

After UltraFedFM (npj Digital Medicine 8:714, 2025): what is textured is masked rather than what is
plain, since speckle and edges are what there is to learn. Each image has its own draw, and nothing
is counted over a batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# In place of a weight of zero: such patches are drawn after all others, each as likely as another.
HARDLY = 1e-20


def texture(images: Tensor, patch: int) -> Tensor:
    """``(B, L)``: the mean size of the 3 x 3 Laplacian (four neighbors) in each patch of images."""
    around = F.pad(images, (1, 1, 1, 1), mode="replicate")
    vertical = around[:, :, :-2, 1:-1] + around[:, :, 2:, 1:-1]
    horizontal = around[:, :, 1:-1, :-2] + around[:, :, 1:-1, 2:]
    edges = (vertical + horizontal - 4 * images).abs()
    return F.avg_pool2d(edges, patch).flatten(1)


def plainness(scores: Tensor) -> Tensor:
    """``(B, L)`` weights by which patches of these texture ``scores`` are kept.

    The paper's code has w = (max a - a) + |max a - max(max a - a)|, of which the second part is the
    smallest score. It sums to zero only where an image is constant.
    """
    return scores.amax(1, keepdim=True) - scores + scores.amin(1, keepdim=True)


def keep_plain(scores: Tensor, ratio: float, rng: torch.Generator) -> Tensor:
    """The patches kept when ``ratio`` of them is masked, plain ones before textured ones.

    Patches are drawn one after another by ``plainness``, and the first ones are kept. (The paper's
    code sorts that order once more, which inverts it: what it keeps has nothing to do with
    texture.) In a constant image, all are equally likely.

    Args:
        scores: ``(B, L)`` texture of the patches.
        ratio: share of the patches that is masked, in (0, 1).
    Returns:
        ``(B, K)`` int64, ascending in each row; K as of ``kept_count``.
    """
    return _first_drawn(plainness(scores), ratio, rng)


def keep_any(images: int, patches: int, ratio: float, rng: torch.Generator) -> Tensor:
    """As ``keep_plain``, for so many images, with every patch as likely as another."""
    return _first_drawn(torch.ones(images, patches), ratio, rng)


def at_places(tokens: Tensor, places: Tensor) -> Tensor:
    """Of each image's tokens ``(B, N, C)`` those at ``places`` ``(B, K)``: ``(B, K, C)``.

    Whole rows are copied, in a tenth of the time of ``take_along_dim``, which looks up each number.
    """
    count = tokens.shape[1]
    starts = torch.arange(0, len(tokens) * count, count, device=tokens.device)
    rows = (places + starts[:, None]).flatten()
    found: Tensor = tokens.flatten(0, 1).index_select(0, rows).unflatten(0, places.shape)
    return found


def hidden_patches(kept: Tensor, patches: int) -> Tensor:
    """``(B, L - K)``: the patches that are not among ``kept`` ``(B, K)``, ascending."""
    seen = torch.zeros(len(kept), patches, dtype=torch.uint8, device=kept.device)
    order = seen.scatter_(1, kept, 1).argsort(dim=1, stable=True)
    return order[:, : patches - kept.shape[1]]


def kept_count(patches: int, ratio: float) -> int:
    """How many of the patches are kept: at least one, and never all."""
    return min(max(1, round(patches * (1 - ratio))), patches - 1)


def _first_drawn(weights: Tensor, ratio: float, rng: torch.Generator) -> Tensor:
    """The first of a draw without replacement, by a race of exponential clocks.

    The k smallest of E_p / w_p are distributed as k draws by w (Efraimidis and Spirakis, 2006).
    Unlike ``torch.multinomial`` it also takes rows with fewer weights above zero than draws.
    """
    clocks = torch.empty(weights.shape).exponential_(generator=rng).to(weights)
    finish = clocks / weights.clamp_min(HARDLY)
    first = finish.topk(kept_count(weights.shape[1], ratio), largest=False).indices
    return first.sort(dim=1).values
