"""The loss of a masked autoencoder: of masked patches alone, image by image."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fedefm.config.masking import MaskingConfig
from fedefm.data.dataset import Batch, FrameDataset
from fedefm.data.masked import MaskedBatch, MaskedFrames
from fedefm.data.patches import cut, put_together
from fedefm.model.mae import build_masked_autoencoder
from fedefm.train.optimization import momentum_sgd
from fedefm.train.reconstruction import explained, reconstruction
from fedefm.train.trainer import PlainTrainer

SIZE, PATCH, PATCHES = 32, 8, 16


class Painter(nn.Module):
    """Gives the same painting for every image, whatever it sees."""

    def __init__(self, painting: Tensor) -> None:
        super().__init__()
        self.painting = painting

    def forward(self, images: Tensor, kept: Tensor) -> Tensor:
        return self.painting


def waves(count: int = 24) -> FrameDataset:
    """Stripes that differ in where they begin, which a quarter of their patches tells."""
    rng = torch.Generator().manual_seed(0)
    begin = 6.28 * torch.rand(count, 1, 1, generator=rng)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images = 127 + 120 * torch.sin(0.7 * (x + y) + begin)
    owners = torch.arange(count)
    return FrameDataset(images[:, None].to(torch.uint8), owners * 0, owners, ("waves",))


def frames(**settings) -> MaskedFrames:
    return MaskedFrames(waves(), PATCH, MaskingConfig(**settings))


def batch_of(count: int = 5) -> MaskedBatch:
    return frames().batch(torch.arange(count), rng=torch.Generator().manual_seed(1))


def by_hand(painted: Tensor, batch: MaskedBatch) -> Tensor:
    """Pixel by pixel, in double precision."""
    losses = []
    patches = cut(batch.clean, PATCH).double()
    for image in range(len(painted)):
        errors = []
        for place in range(PATCHES):
            if place in batch.kept[image].tolist():
                continue
            patch = patches[image, place]
            spread = (patch.var(correction=0) + 1e-6).sqrt()
            target = (patch - patch.mean()) / spread
            errors.append(((painted[image, place].double() - target) ** 2).mean())
        losses.append(sum(errors) / len(errors))
    return torch.stack(losses)


def test_the_loss_is_the_mean_over_masked_patches_of_the_squared_error():
    batch = batch_of()
    painted = torch.randn(5, PATCHES, PATCH**2)
    losses = reconstruction(Painter(painted), batch)
    assert losses.shape == (5,)
    torch.testing.assert_close(losses.double(), by_hand(painted, batch), rtol=1e-4, atol=1e-5)


def test_what_is_painted_where_the_model_saw_something_does_not_count():
    batch = batch_of()
    painted = torch.randn(5, PATCHES, PATCH**2)
    other = painted.scatter(1, batch.kept[..., None].expand(-1, -1, PATCH**2), 100.0)
    assert torch.equal(
        reconstruction(Painter(painted), batch), reconstruction(Painter(other), batch)
    )


def test_the_target_is_the_clean_image_and_not_the_degraded_one():
    batch = batch_of()
    painted = Painter(torch.randn(5, PATCHES, PATCH**2))
    worse = replace(batch, images=torch.randn_like(batch.images))
    assert torch.equal(reconstruction(painted, batch), reconstruction(painted, worse))
    assert not torch.equal(
        reconstruction(painted, batch), reconstruction(painted, replace(batch, clean=worse.images))
    )


def test_gray_explains_nothing_and_the_target_itself_all():
    batch = batch_of()
    gray = torch.zeros(5, PATCHES, PATCH**2)
    patches = cut(batch.clean, PATCH)
    right = (patches - patches.mean(2, keepdim=True)) / patches.std(2, keepdim=True, correction=0)
    torch.testing.assert_close(explained(Painter(gray), batch), torch.zeros(5), rtol=0, atol=1e-2)
    torch.testing.assert_close(explained(Painter(right), batch), torch.ones(5), rtol=0, atol=1e-2)
    assert (explained(Painter(-right), batch) < -2.9).all()


def test_constant_patches_are_nothing_to_explain():
    """Else a painter of gray would seem to know the black around a sector."""
    batch = batch_of()
    black = batch.clean.clone()
    black[..., : SIZE // 2] = 0
    batch = replace(batch, clean=black)
    gray = torch.zeros(5, PATCHES, PATCH**2)
    torch.testing.assert_close(explained(Painter(gray), batch), torch.zeros(5))
    patches = cut(black, PATCH)
    right = (patches - patches.mean(2, keepdim=True)) / (
        patches.std(2, keepdim=True, correction=0) + 1e-9
    )
    half = torch.where(patches.std(2, keepdim=True) > 0, right / 2, 100.0)
    torch.testing.assert_close(
        explained(Painter(half), batch), torch.full((5,), 0.75), atol=1e-3, rtol=0
    )
    batch = replace(batch, clean=torch.full_like(black, 0.3))
    assert explained(Painter(gray + 100), batch).tolist() == [0] * 5


def test_a_constant_image_is_no_loss_where_gray_is_painted():
    batch = replace(batch_of(), clean=torch.full((5, 1, SIZE, SIZE), 0.3))
    losses = reconstruction(Painter(torch.zeros(5, PATCHES, PATCH**2)), batch)
    assert float(losses.abs().max()) < 1e-6


def test_changing_one_image_changes_its_loss_alone():
    network, batch = build_masked_autoencoder("vit_micro", SIZE, 1), batch_of()
    before = reconstruction(network, batch)
    for name in ("images", "clean", "kept"):
        value = getattr(batch, name).clone()
        value[3] = value[3].flip(-1) if name != "kept" else (value[3] + 1) % PATCHES
        after = reconstruction(network, replace(batch, **{name: value}))
        others = torch.tensor([0, 1, 2, 4])
        torch.testing.assert_close(before[others], after[others], rtol=1e-5, atol=1e-6)
        assert (before[3] - after[3]).abs() > 1e-5


def test_a_plain_batch_is_the_callers_mistake():
    with pytest.raises(TypeError, match="needs a MaskedBatch, not Batch"):
        reconstruction(nn.Identity(), Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1)))


def test_training_learns_to_paint_what_can_be_known_from_the_rest():
    network = build_masked_autoencoder("vit_micro", SIZE, 1)
    data, rng = frames(degrade=False), torch.Generator().manual_seed(2)
    held_out = data.batch(torch.arange(24))  # masks of their own
    assert float(explained(network, held_out).mean()) < 0
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 2e-3)
    for _ in range(120):
        batch = data.batch(torch.randperm(24, generator=rng)[:12], None, rng)
        optimizer.zero_grad()
        reconstruction(network, batch).mean().backward()
        optimizer.step()
    assert float(explained(network, held_out).mean()) > 0.6


def test_a_trainer_leaves_the_positions_alone():
    network = build_masked_autoencoder("vit_micro", SIZE, 1)
    positions = network.backbone.tokens.pos_embed.clone()
    before = {name: p.clone() for name, p in network.named_parameters() if p.requires_grad}
    PlainTrainer(frames(), 12, momentum_sgd(0.9)).fit(
        network, reconstruction, 2, 0.05, torch.Generator()
    )
    assert torch.equal(network.backbone.tokens.pos_embed, positions)
    changed = [n for n, p in network.named_parameters() if n in before and (p != before[n]).any()]
    assert changed == list(before)


def test_a_painting_put_together_is_an_image():
    network, batch = build_masked_autoencoder("vit_micro", SIZE, 1), batch_of()
    assert put_together(network(batch.images, batch.kept)).shape == batch.clean.shape
