"""Where workers go."""

from pathlib import Path

import pytest

from amusd.config import EngineConfig
from amusd.deployment import plan_deployment
from amusd.errors import DeviceError, InputError

AWAY = EngineConfig(target_devices="cpu:4000", draft_devices="cpu:4000")


def test_devices_are_checked_here_for_workers_that_stay_here():
    with pytest.raises(DeviceError, match=r"^target_devices: cpu:4000: there is no cpu:4000 here"):
        plan_deployment(AWAY, 10)


def test_devices_of_workers_that_land_elsewhere_are_left_to_their_node():
    target, draft = plan_deployment(AWAY, 10, elsewhere=True).workers
    assert str(target.device) == str(draft.device) == "cpu:4000"


def test_a_lookup_has_no_worker_and_leaves_every_device_to_the_target():
    workers = plan_deployment(EngineConfig(draft=["prompt-lookup", "ngram:notes.txt"]), 10).workers
    assert [worker.role for worker in workers] == ["target"]
    assert workers[0].device == plan_deployment(EngineConfig(mode="alone"), 10).workers[0].device
    assert workers[0].options["lookups"] == ["prompt-lookup", f"ngram:{Path('notes.txt').absolute()}"]


def test_each_draft_model_has_a_worker_and_a_device():
    config = EngineConfig(
        draft=["demo-small", "ngram", "demo-large"],
        target_devices="cpu:1",
        draft_devices=["cpu:2", "cpu:3"],
    )
    target, small, large = plan_deployment(config, 10, elsewhere=True).workers
    assert [(worker.options["model"], str(worker.device)) for worker in (small, large)] == [
        ("demo-small", "cpu:2"),
        ("demo-large", "cpu:3"),
    ]
    assert target.options["lookups"] == ["ngram"]


def test_one_device_for_several_draft_models_is_refused():
    config = EngineConfig(draft=["demo-small", "demo-large"], draft_devices="cpu:1")
    with pytest.raises(DeviceError, match=r"^draft_devices: cpu:1: it is one device for 2 draft models"):
        plan_deployment(config, 10, elsewhere=True)


def test_a_policy_s_table_travels_with_the_options_and_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "table.json"
    path.write_text('{"k_by_requests": {"1": 7, "16": 0}}')
    config = AWAY.model_copy(update={"policy": "table", "policy_table": str(path)})
    assert plan_deployment(config, 10, elsewhere=True).workers[0].options["policy_table"] == {"1": 7, "16": 0}
    path.write_text("{}")
    with pytest.raises(InputError, match="policy_table"):
        plan_deployment(config, 10, elsewhere=True)
