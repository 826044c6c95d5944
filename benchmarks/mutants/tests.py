"""Which tests concern which source, the likeliest to find something first."""
from __future__ import annotations

from pathlib import Path

# Of the tests with parameters in these files only those whose names mention something that the mutant reaches.
BY_NAME = ("test_ops.py", "test_cuda_kernels.py", "test_cuda_half.py", "test_adjoint.py", "test_higher_order.py",
           "test_orders.py", "test_cuda_ops.py")
ANSWERED = "tests/test_conformance.py::test_what_pytorch_answered_once[cpu]"
KERNELS = {
    "activation": "kernels_gates activations ops",
    "band": "kernels_choice kernels_conv geometries",
    "choose": "kernels_choice kernels_conv",
    "conv": "kernels_conv geometries convolution",
    "gates": "kernels_gates activations ops",
    "index": "cuda_index ops",
    "loss": "kernels_loss losses ops",
    "math": "kernels_gates ops",
    "norm": "kernels_norm norms ops",
    "optim": "kernels_optim optim",
    "pool": "kernels_pool geometries pooling ops",
    "random": "kernels_loss ops",
    "_xp": "kernels_pool kernels_loss ops",
    "batch_norm": "kernels_norm norms",
    "response_norm": "kernels_norm norms",
    "exponential": "kernels_gates kernels_loss activations",
    "matmul": "kernels_conv",
    "layout": "kernels_pool kernels_norm kernels_conv",
    "correlate": "kernels_conv kernels_choice geometries",
    "max_pool": "kernels_pool geometries pooling ops",
    "sums": "kernels_sums",
}                                                    # others in kernels/cpu are parts of conv
CUDA = {
    "common": "cuda_kernels cuda_half cuda_emulator",
    "conv": "cuda_kernels cuda_conv cuda_half",
    "direct": "cuda_kernels cuda_conv cuda_half",
    "elementwise": "cuda_kernels cuda_half",
    "igemm": "cuda_tensor_cores cuda_half",
    "index": "cuda_index cuda_kernels",
    "loss": "cuda_kernels cuda_half",
    "norm": "cuda_kernels cuda_half",
    "optim": "cuda_kernels cuda_training cuda_half",
    "pool": "cuda_kernels cuda_half",
}
OPS = {
    "activation": "activations",
    "arguments": "pooling convolution",
    "conv": "convolution",
    "creation": "tensors",
    "dropout": "activations layers",
    "image": "image_ops",
    "index": "cuda_index tensors",
    "inplace": "tensors autograd",
    "linear": "layers",
    "loss": "losses",
    "margin": "losses",
    "math": "tensors",
    "norm": "norms fused",
    "pool": "pooling cuda_ops",
    "reduce": "tensors",
    "shape": "tensors",
    "softmax": "kernels_loss",
}


def tests_of(file: str) -> list[str]:
    """The tests for a source, as pytest is given them."""
    stem, folder = Path(file).stem, file.rpartition("/")[0]
    if folder == "tinycnn/ops":
        names = f"ops {OPS.get(stem, '')} orders higher_order mistakes adjoint"
    elif folder == "kernels/cuda":
        names = CUDA[stem]
    else:
        names = KERNELS.get(stem, KERNELS["conv"])
    found = [f"tests/test_{name}.py" for name in dict.fromkeys(names.split())]
    return [*found, ANSWERED] if folder == "tinycnn/ops" else found
