"""What is kept and when it may be served: keys, eviction, the fence, and a preview of sizes.

Pure: time comes in as ``now_s``. Knows nothing of files, models or sockets.
"""

from headgate.caching.fence import POLICIES, GenerationCache, make_policy
from headgate.caching.keys import KEY_BYTES, request_key
from headgate.caching.lru import LRU
from headgate.caching.policy import ENTRY_OVERHEAD_BYTES, CachePolicy, charge_bytes
from headgate.caching.preview import HitRatioCurve, hit_ratio_curve, ideal_hit_ratio, replay
from headgate.caching.s3fifo import S3FIFO

__all__ = [
    "ENTRY_OVERHEAD_BYTES",
    "KEY_BYTES",
    "LRU",
    "POLICIES",
    "S3FIFO",
    "CachePolicy",
    "GenerationCache",
    "HitRatioCurve",
    "charge_bytes",
    "hit_ratio_curve",
    "ideal_hit_ratio",
    "make_policy",
    "replay",
    "request_key",
]
