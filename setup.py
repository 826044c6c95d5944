"""Packaging of tinycnn.

kernels/ is a top-level folder of the repository but not a top-level package (PyPI's "kernels" is another
project's): it is installed as, and only as, tinycnn.kernels.
"""
from pathlib import Path

from setuptools import find_packages, setup

KERNELS = ["tinycnn.kernels", *("tinycnn.kernels." + name for name in find_packages("kernels"))]

EXTRAS = {
    "cuda12": ["cupy-cuda12x[ctk]>=14", "ml_dtypes>=0.4"],
    "cuda13": ["cupy-cuda13x[ctk]>=14", "ml_dtypes>=0.4"],
    "cuda-compile": ["nvidia-cuda-nvrtc==13.5.*", "nvidia-cuda-nvdisasm==13.5.*"],
    "half": ["ml_dtypes>=0.4"],
    "plot": ["matplotlib", "tqdm"],
    "data": ["pillow"],
    "onnx": ["onnx", "onnxruntime"],
    "mpi": ["mpi4py", "mpich"],
    "conformance": ["torch>=2.6", "expecttest"],
    "test": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "ml_dtypes>=0.4"],
    "dev": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "ml_dtypes>=0.4", "pytest-cov", "ruff", "mypy"],
}
EXTRAS["all"] = sorted({p for name in ("plot", "data", "onnx", "mpi", "dev") for p in EXTRAS[name]})

setup(
    name="tinycnn",
    version="0.1.0",
    description="A deep-learning engine small enough to read: autograd and CNN kernels on NumPy, Numba and CuPy",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["tinycnn", "tinycnn.*"]) + KERNELS,
    py_modules=["pytest_tinycnn"],
    package_dir={"tinycnn.kernels": "kernels"},
    package_data={
        "tinycnn.kernels": ["**/*.cu", "**/*.cuh", "**/*.h", "cuda/limits.json",
                            "emulator/cupy_surface.json"],
        "tinycnn": ["py.typed"],
        "tinycnn.data": ["*.gz", "*.txt"],
        "tinycnn.models": ["sizes.json"],
    },
    install_requires=["numpy>=2.0", "numba>=0.62"],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["tinycnn = tinycnn.cli:main"],
                  "pytest11": ["pytest_tinycnn = pytest_tinycnn"]},
)
