import builtins

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fedefm.errors import ModelError
from fedefm.finetune.onnx_program import onnx_difference, refuse_without_onnx, save_onnx
from fedefm.model.foundation import BACKBONES, build_foundation
from fedefm.model.segmenter import build_segmenter

SIZE = 32
SMALL = ("vit_micro", "resnet_micro")
EVERY = [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in BACKBONES]


class Shifted(torch.nn.Module):
    """A model that is off by a little."""

    def __init__(self, model, by):
        super().__init__()
        self.model, self.by = model, by

    def forward(self, x):
        return self.model(x) + self.by


@pytest.mark.parametrize("name", EVERY)
def test_every_segmenter_and_backbone_is_the_same_in_onnx(name, tmp_path):
    segmenter = build_segmenter(name, 3, SIZE, seed=1)
    for part in (segmenter, segmenter.backbone):
        assert save_onnx(tmp_path / "part.onnx", part, SIZE, {}) <= 1e-4


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A foundation model as ONNX, and the model."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model = build_foundation("resnet_micro", ("a", "b"), SIZE, "trainable", seed=2)
    save_onnx(path, model, SIZE, {"classes": "a, b"})
    return path, model.eval()


def test_the_file_is_valid_onnx_and_takes_batches_of_any_size(written):
    path, model = written
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        images = torch.randn(batch, 1, SIZE, SIZE)
        (given,) = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(given, model(images).detach().numpy(), atol=1e-4)


def test_a_difference_is_seen_and_measured(written):
    path, model = written
    assert onnx_difference(path, model, SIZE) < 1e-4
    assert onnx_difference(path, Shifted(model, 0.01), SIZE) == pytest.approx(0.01, rel=0.5)
    assert np.isnan(onnx_difference(path, Shifted(model, float("nan")), SIZE))


@pytest.mark.parametrize("by", [0.01, float("nan")])
def test_a_file_that_differs_is_refused_with_the_figure_and_not_kept(by, tmp_path, monkeypatch):
    model = build_foundation("resnet_micro", ("a", "b"), SIZE, "trainable", seed=2)
    shifted = Shifted(model, by)
    exported = torch.export.export
    monkeypatch.setattr(  # the exporter is handed another model than the one to be compared with
        torch.export, "export", lambda one, *rest, **named: exported(one.model, *rest, **named)
    )
    figure = r"differs from PyTorch by (1\.\de-02|nan)"
    with pytest.raises(ModelError, match=figure):
        save_onnx(tmp_path / "m.onnx", shifted, SIZE, {})
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_traced_is_one_sentence(tmp_path):
    class Fickle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.weight if x.sum().item() > 0 else x

    with pytest.raises(ModelError, match="cannot be written as ONNX"):
        save_onnx(tmp_path / "m.onnx", Fickle(), SIZE, {})
    assert not list(tmp_path.iterdir())


def test_without_onnx_the_extra_is_named(monkeypatch):
    def absent(name, *rest, **named):
        if name == "onnxruntime":
            raise ImportError("absent", name=name)
        return imported(name, *rest, **named)

    imported = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ModelError, match=r"onnxruntime.*pip install 'fedefm\[onnx\]'"):
        refuse_without_onnx()
