"""How messages travel: gRPC streams, msgpack columns, and links that never queue."""

import os

# A stream that ends is reported where it matters, with its reason; gRPC's own lines on it are noise.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
