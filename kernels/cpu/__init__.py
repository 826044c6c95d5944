"""NumPy float32 and float64 arrays: what is listed here is written by hand in Numba, the rest is the reference."""
from ..reference import *  # noqa: F401, F403
from .cache import kept_machine_code
from .memory import empty_cache, keep_freed_memory  # noqa: F401

with kept_machine_code():
    from .activation import *  # noqa: F401, F403
    from .batch_norm import *  # noqa: F401, F403
    from .conv import *  # noqa: F401, F403
    from .gates import *  # noqa: F401, F403
    from .loss import *  # noqa: F401, F403
    from .math import *  # noqa: F401, F403
    from .matmul import *  # noqa: F401, F403
    from .max_pool import *  # noqa: F401, F403
    from .norm import *  # noqa: F401, F403
    from .optim import *  # noqa: F401, F403
    from .pool import *  # noqa: F401, F403
    from .random import *  # noqa: F401, F403
    from .response_norm import *  # noqa: F401, F403
    from .sums import *  # noqa: F401, F403

keep_freed_memory()
