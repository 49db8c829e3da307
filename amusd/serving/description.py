"""Parts of the app's OpenAPI description that FastAPI cannot know: bodies are read by hand."""

from typing import Any

from amusd.serving.failures import STATUS_DESCRIPTIONS
from amusd.serving.requests import schema_of


def described(body: type[Any]) -> dict[str, Any]:
    """A route's body."""
    return {"required": True, "content": {"application/json": {"schema": schema_of(body)}}}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part of a route's description that is about errors."""
    error = {
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": {"type": ["string", "null"]},
            "code": {"type": ["string", "null"]},
        },
        "required": ["message", "type", "param", "code"],
    }
    schema = {"type": "object", "properties": {"error": error}, "required": ["error"]}
    return {
        status: {
            "description": STATUS_DESCRIPTIONS[status],
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }
