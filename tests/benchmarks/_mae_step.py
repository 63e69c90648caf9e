"""One training step of masked autoencoding, ours and the paper's, and what the encoder computes."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _mae_reference import RATIO, Reference, kept_by, like
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedefm.config import MaskingConfig
from fedefm.data.dataset import FrameDataset, standardize
from fedefm.data.masked import MaskedBatch, MaskedFrames
from fedefm.model.mae import MaskedAutoencoder, build_masked_autoencoder
from fedefm.model.mae_decoder import DECODER_SIZES
from fedefm.model.vit import VIT_SIZES
from fedefm.train.optimization import ADAM_BETAS
from fedefm.train.reconstruction import reconstruction

RATE, DECAY = 1e-4, 0.05
APART = 1e-4  # share by which the two losses of the same weights may differ
Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """A model, the images of a step, and how many steps are timed at once."""

    backbone: str
    image_size: int
    batch: int
    steps: int


CASES = {
    "vit_tiny, 64 px": Case("vit_tiny", 64, 32, steps=4),
    "vit_base, 224 px": Case("vit_base", 224, 4, steps=1),
}


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """CPU time of our step over the reference's, pair by pair, and more that goes with it."""
    model = build_masked_autoencoder(case.backbone, case.image_size, seed=1)
    reference = like(model, VIT_SIZES[case.backbone], DECODER_SIZES[case.backbone])
    images = _noise(case)
    _refuse_another_loss(model, reference, images)
    plain = _frames(images, case, MaskingConfig(mask_ratio=RATIO, masking="random", degrade=False))
    whole = _frames(images, case, MaskingConfig(mask_ratio=RATIO))
    computed = flops(model, images)
    ways = {
        "reference": _reference_step(reference, images),
        "ours": _our_step(model, plain),
        "batch": _batch_alone(whole),
    }
    spent = _in_turn(ways, case.steps, repeats)
    pairs = [our / their for our, their in zip(spent["ours"], spent["reference"], strict=True)]
    middle = {name: statistics.median(times) for name, times in spent.items()}
    return {
        "ours_over_reference": statistics.median(pairs),
        "quarter": _quantile(pairs, 1),
        "three_quarters": _quantile(pairs, 3),
        "textured_degraded_batch_over_step": middle["batch"] / middle["ours"],
        "reference_cpu_ms": 1e3 * middle["reference"],
        "repeats": repeats,
        "batch": case.batch,
        "parameters": sum(p.numel() for p in model.parameters()),
        **computed,
    }


def flops(model: MaskedAutoencoder, images: Tensor) -> dict[str, float]:
    """Of one image: those of the encoder on kept patches, on all patches, and of the decoder."""
    shown = standardize(images.float() / 255)
    patches = model.backbone.grid**2
    everything = torch.arange(patches).expand(len(images), -1)
    kept = kept_by(torch.rand(len(images), patches))
    seen = _counted(lambda: model.encode(shown, kept)) / len(images)
    of_all = _counted(lambda: model.encode(shown, everything)) / len(images)
    both = _counted(lambda: model(shown, kept)) / len(images)
    return {
        "encoder_mflop_kept": seen / 1e6,
        "encoder_mflop_all": of_all / 1e6,
        "encoder_share": seen / of_all,
        "decoder_mflop": (both - seen) / 1e6,
    }


@torch.no_grad()
def _counted(work: Callable[[], object]) -> float:
    """Attention is spelled out, since the fused form of a CPU is not counted."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return float(counter.get_total_flops())


def _noise(case: Case) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    shape = (case.batch, 1, case.image_size, case.image_size)
    return torch.randint(256, shape, generator=draw, dtype=torch.uint8)


def _frames(images: Tensor, case: Case, masking: MaskingConfig) -> MaskedFrames:
    none = torch.zeros(len(images), dtype=torch.int64)
    frames = FrameDataset(images, none, torch.arange(len(images)), ("image",))
    return MaskedFrames(frames, VIT_SIZES[case.backbone].patch, masking)


@torch.no_grad()
def _refuse_another_loss(model: MaskedAutoencoder, reference: Reference, images: Tensor) -> None:
    """Raises where the two do not compute the same: then times say nothing."""
    noise = torch.rand(len(images), model.backbone.grid**2)
    clean = images.float() / 255
    shown, rows = standardize(clean), torch.arange(len(images))
    ours = float(
        reconstruction(model, MaskedBatch(shown, rows, rows, clean, kept_by(noise))).mean()
    )
    theirs = float(reference(shown, noise))
    if abs(ours - theirs) > APART * theirs:
        raise RuntimeError(f"the reference's loss is {theirs:.4f}, and ours is {ours:.4f}")


def _our_step(model: MaskedAutoencoder, frames: MaskedFrames) -> Step:
    optimizer, rng = _adamw(model), torch.Generator().manual_seed(0)
    rows = torch.arange(len(frames))

    def take() -> None:
        loss = reconstruction(model, frames.batch(rows, None, rng)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return take


def _reference_step(model: Reference, images: Tensor) -> Step:
    optimizer, rng = _adamw(model), torch.Generator().manual_seed(0)
    shape, rows = (len(images), model.grid**2), torch.arange(len(images))

    def take() -> None:
        shown = standardize(images[rows].float().div_(255))
        loss = model(shown, torch.rand(shape, generator=rng))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return take


def _batch_alone(frames: MaskedFrames) -> Step:
    rng, rows = torch.Generator().manual_seed(0), torch.arange(len(frames))
    return lambda: frames.batch(rows, None, rng) and None


def _adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, RATE, ADAM_BETAS, weight_decay=DECAY, fused=True)


def _in_turn(ways: dict[str, Step], steps: int, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of a step; every other time backwards. The first round is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name in list(ways) if repeat % 2 else reversed(ways):
            started = time.process_time()
            for _ in range(steps):
                ways[name]()
            if repeat:
                spent[name].append((time.process_time() - started) / steps)
    return spent


def _quantile(values: list[float], quarter: int) -> float:
    return statistics.quantiles(values, n=4)[quarter - 1] if len(values) > 1 else values[0]
