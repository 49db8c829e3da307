"""Requests made up from the app's own description: whatever comes, the answer is one that it describes."""

import asyncio

import schemathesis
from hypothesis import HealthCheck, settings

from amusd.config import EngineConfig
from amusd.prompts import PromptReader
from amusd.serving.desk import FrontDesk
from amusd.serving.http_front import HttpFront
from amusd.serving.intake import Intake
from amusd.serving.metrics import ServerMetrics
from tests.serving.fakes import FakeCoordinator


class PerLoopCoordinator(FakeCoordinator):
    """The tests' client runs each request on an event loop of its own."""

    def stream(self, *arguments, **options):
        self._places = asyncio.Semaphore(2)
        self.hold = asyncio.Event()
        self.hold.set()
        return super().stream(*arguments, **options)


def make_app():
    reader = PromptReader(EngineConfig(launcher="local", max_model_len=64))
    desk = FrontDesk(2, 4, ServerMetrics("demo"))
    desk.open(PerLoopCoordinator(reader))
    template = "{{ messages[0].content }}"
    return HttpFront(desk, Intake(reader, template), "demo", (), created=1).app()


schema = schemathesis.openapi.from_asgi("/openapi.json", make_app())


@schema.parametrize()
@settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_description_knows(case):
    response = case.call()
    assert response.status_code < 500, response.text
    described = {*case.operation.definition.raw["responses"], "405"}  # other methods are tried too
    assert str(response.status_code) in described, (response.status_code, response.text)
    if response.status_code >= 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
