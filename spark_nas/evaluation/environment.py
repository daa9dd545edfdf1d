"""The versions and devices that made a number: METHODS 7 (Li & Talwalkar 2019, section 2.3)."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

_PACKAGES = ("torch", "numpy", "pyspark", "petastorm", "pyarrow", "ConfigSpace", "spark_nas")


def environment(device: str = "cpu") -> dict[str, str]:
    """Names and versions, as text, of what runs in this process; `device` as in `Workspace.device`.

    Packages that are not installed are left out, as are CUDA's versions on a CPU.
    """
    found = {"python": platform.python_version(), "platform": platform.platform(), "device": device_name(device)}
    for package in _PACKAGES:
        try:
            found[package.lower()] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["torch"] = torch.__version__  # says cpu or cu130, which the package's metadata may not
    found["threads"] = str(torch.get_num_threads())
    if torch.device(device).type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return found


def device_name(device: str) -> str:
    """What the hardware calls itself: the GPU's name, or the CPU's vector instructions and architecture."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
