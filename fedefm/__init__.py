"""Federated pre-training of one medical imaging foundation model over a graph of hospitals."""

__version__ = "0.1.0"
