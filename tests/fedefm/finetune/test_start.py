"""Where fine-tuning may start."""

import pytest
import torch

from fedefm.errors import ConfigError
from fedefm.finetune.start import Start
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.mae import build_masked_autoencoder


@pytest.mark.parametrize("size", [-3, 8, 100_000])
def test_an_image_size_out_of_reach_is_refused(size):
    with pytest.raises(ConfigError, match=f"image size {size} is not between"):
        Start(None, "resnet_micro", size).segmenter(3, seed=1)


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_a_masked_autoencoder_hands_its_encoder_on(tmp_path, kind):
    encoder = build_masked_autoencoder("vit_micro", 32, 1)
    save_checkpoint(tmp_path / "m.safetensors", encoder, encoder.info | {"run": "ultrasound"})
    start = Start(tmp_path / "m.safetensors")
    tuned = start.classifier(("a", "b"), 2) if kind == "classifier" else start.segmenter(2, 2)
    theirs = encoder.backbone.state_dict()
    for name, tensor in tuned.backbone.state_dict().items():
        assert torch.equal(tensor, theirs[name])
    assert all(parameter.requires_grad for parameter in tuned.parameters())
    assert "'ultrasound'" in str(start)
