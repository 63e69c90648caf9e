"""A model as a graph of operations, which programs for other runtimes are made from."""

import torch
from torch import nn
from torch.export import ExportedProgram

from fedefm.finetune.evaluate import evaluation_mode


def traced(model: nn.Module, image_size: int) -> ExportedProgram:
    """``model`` for batches ``(B, 1, S, S)`` of any B. Raises whatever the tracer trips over.

    The tracer notes of each operation the files that called it. Programs go to other houses, and
    the paths of this one, often with the name of an account, are taken out.
    """
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, 1, image_size, image_size)
    with evaluation_mode(model), torch.inference_mode(False):
        program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program
