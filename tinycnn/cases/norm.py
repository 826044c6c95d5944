"""Rows of ops/norm.py.  batch_norm with running statistics, layer_norm with weights: tests/test_higher_order.py."""
from . import case

CASES = [
    case("batch_norm", (4, 3), None, None, (3,), (3,), training=True),
    case("batch_norm", (3, 2, 3, 2), None, None, (2,), (2,), training=True, eps=0.1),
    case("batch_norm", (2, 3, 4), None, None, training=True),
    case("batch_norm", (2, 3, 2, 2), None, None, None, (3,), training=True),
    case("batch_norm_relu", (4, 3), None, None, (3,), (3,), training=True),
    case("batch_norm_relu", (3, 2, 3, 2), None, None, (2,), (2,), True, 0.1, 0.1, (3, 2, 3, 2)),
    case("batch_norm_relu", (2, 3, 2, 2), None, None, None, (3,), True, 0.1, 1e-5, (2, 3, 2, 2)),
    case("layer_norm", (3, 5), normalized_shape=(5,)),
    case("layer_norm", (2, 3, 2), normalized_shape=(3, 2), eps=0.1),
    case("group_norm", (2, 4, 3, 2), 2, (4,), (4,)),
    case("group_norm", (2, 6, 3), 3, eps=0.1),
    case("group_norm", (3, 4), 1, (4,)),
    case("instance_norm", (2, 3, 4, 2)),
    case("instance_norm", (2, 3, 5), None, None, (3,), (3,), eps=0.1),
    case("rms_norm", (3, 5), normalized_shape=(5,)),
    case("rms_norm", (2, 3, 4), normalized_shape=(3, 4), eps=0.1),
    case("local_response_norm", (2, 5, 3, 2), size=3, alpha=0.5, beta=0.7, k=1.5),
    case("local_response_norm", (2, 4, 3), size=4, alpha=0.3),            # even: one neighbour more below
    case("local_response_norm", (2, 2, 3), size=7, alpha=0.3),            # reaches beyond both ends
    case("normalize", (3, 4)),
    case("normalize", (2, 3, 4), p=3.0, dim=-1),
]
