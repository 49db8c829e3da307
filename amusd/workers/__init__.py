"""The two kinds of worker: a gRPC server on an event loop, a model on a thread of its own."""
