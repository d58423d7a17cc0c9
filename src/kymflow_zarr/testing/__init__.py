"""Synthetic kymographs and experiments for demos, tests and benchmarks; fault injection."""

from kymflow_zarr.testing.experiment import write_experiment
from kymflow_zarr.testing.faults import (
    FAULT_KINDS,
    FaultKind,
    FaultPoint,
    FaultyDisk,
    InterruptPoint,
    SimulatedCrash,
    fault_points,
    interrupt_points,
)
from kymflow_zarr.testing.kymographs import (
    FlowEvent,
    SyntheticKymograph,
    SyntheticVessel,
    default_vessels,
    synthesize_kymograph,
)
from kymflow_zarr.testing.power import PowerLossDisk
from kymflow_zarr.testing.state import check_invariants, state_of
from kymflow_zarr.testing.storage_contract import StorageContract

__all__ = [
    "FAULT_KINDS",
    "FaultKind",
    "FaultPoint",
    "FaultyDisk",
    "FlowEvent",
    "InterruptPoint",
    "PowerLossDisk",
    "SimulatedCrash",
    "StorageContract",
    "SyntheticKymograph",
    "SyntheticVessel",
    "check_invariants",
    "default_vessels",
    "fault_points",
    "interrupt_points",
    "state_of",
    "synthesize_kymograph",
    "write_experiment",
]
