"""Synthetic kymographs and whole experiments, for demos, tests and benchmarks."""

from kymflow_zarr.testing._experiment import write_experiment
from kymflow_zarr.testing._kymographs import (
    FlowEvent,
    SyntheticKymograph,
    synthesize_kymograph,
)
from kymflow_zarr.testing._vessels import SyntheticVessel, default_vessels

__all__ = [
    "FlowEvent",
    "SyntheticKymograph",
    "SyntheticVessel",
    "default_vessels",
    "synthesize_kymograph",
    "write_experiment",
]
