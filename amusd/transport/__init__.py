"""How messages travel: gRPC streams, msgpack columns, and links that never queue."""
