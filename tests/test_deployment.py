"""Where workers go."""

import pytest

from amusd.config import EngineConfig
from amusd.deployment import plan_deployment
from amusd.errors import DeviceError

AWAY = EngineConfig(target_devices="cpu:4000", draft_devices="cpu:4000")


def test_devices_are_checked_here_for_workers_that_stay_here():
    with pytest.raises(DeviceError, match=r"^target_devices: cpu:4000: there is no cpu:4000 here"):
        plan_deployment(AWAY, 10)


def test_devices_of_workers_that_land_elsewhere_are_left_to_their_node():
    target, draft = plan_deployment(AWAY, 10, elsewhere=True).workers
    assert str(target.device) == str(draft.device) == "cpu:4000"
