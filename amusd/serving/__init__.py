"""`amusd serve`: one engine behind gRPC and an OpenAI-compatible HTTP interface."""
