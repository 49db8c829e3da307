"""A scenario is checked strictly, and an error names what is wrong with it."""

from pathlib import Path

import pytest
import yaml

from amusd.errors import InputError
from amusd.simulation import load_scenario, shipped_scenarios
from amusd.simulation.scenario import Scenario
from tests.simulation.scenarios import scenario


def written(folder: Path, **values: object) -> str:
    """A scenario file with some values replaced; None takes one out."""
    whole = scenario().model_dump() | values
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in whole.items() if value is not None}))
    return str(path)


@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_shipped_scenario_loads_and_tells_its_sources(name):
    loaded = load_scenario(name)
    assert loaded.name == name
    said = (loaded.target.curve, loaded.drafters.curve, loaded.drafters.acceptance, loaded.network)
    for place in said:
        assert place.source.startswith(("measured", "published", "derived", "assumed", "rate assumed"))


def test_a_file_is_what_was_written(tmp_path):
    assert load_scenario(written(tmp_path)) == scenario()


def test_a_curve_may_stand_in_a_file_of_its_own(tmp_path):
    curve = scenario().target.curve
    (tmp_path / "curve.json").write_text(curve.model_dump_json())
    target = scenario().target.model_dump() | {"curve": "curve.json"}
    assert load_scenario(written(tmp_path, target=target)).target.curve == curve
    missing = scenario().target.model_dump() | {"curve": "nowhere.yaml"}
    with pytest.raises(InputError, match=r"target\.curve: .*nowhere.yaml"):
        load_scenario(written(tmp_path, target=missing))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latency": 3}, "latency: 3: there is no such key in a scenario; did you mean network.latency_ms"),
        ({"zzz": 3}, "zzz: 3: there is no such key in a scenario; choose from name, description"),
        ({"mode": "fast"}, "mode: fast: "),
        ({"name": None}, r"name: \(not given\): a scenario must say this"),
        ({"seed": 1.5}, r"seed: 1.5: "),
        ({"policy": "table"}, r"policy_table: \(not given\): a scenario must say this"),
        ({"policy_table": {"0": 1}}, r"policy_table\.0\.\[key\]: 0: "),
        ({"policy_table": {"many": 1}}, r"policy_table\.many\.\[key\]: many: "),
        ({"output_tokens": 1}, "output_tokens: 1: "),
        ({"network": {"source": "made up", "latency_ms": -1.0}}, r"network\.latency_ms: -1.0: "),
        ({"network": {"source": "made up"}}, r"network\.latency_ms: \(not given\)"),
        ({"network": {"source": "made up", "latency_ms": 1.0, "latncy_ms": 2}}, r"network\.latncy_ms: 2: "),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_by_its_path(tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        load_scenario(written(tmp_path, **values))


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_a_file_that_is_no_scenario_is_named(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"--scenario: .*mine.yaml"):
        load_scenario(str(path))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match="two-cores"):
        load_scenario("three-cores")


def test_one_value_can_be_changed_by_its_path():
    changed = scenario().with_value("drafters.acceptance.rate", 0.25)
    assert changed.drafters.acceptance.rate == 0.25
    assert scenario().with_value("mode", "sync").mode == "sync"
    for path in ("drafters.acceptance.rat", "drafters.rate.x", "acceptance"):
        with pytest.raises(InputError, match="there is no such key"):
            scenario().with_value(path, 1)
    with pytest.raises(InputError, match=r"drafters\.acceptance\.rate: 2"):
        scenario().with_value("drafters.acceptance.rate", 2)


def test_a_cost_ratio_scales_the_drafters_curve():
    of = scenario(drafters__cost_ratio=0.5)
    assert of.draft_curve.ms(1) == 0.5 * of.target.curve.ms(1)
    assert scenario().draft_curve == scenario().drafters.curve


def test_a_scenario_survives_json():
    assert Scenario.model_validate_json(scenario().model_dump_json()) == scenario()


def test_a_scenario_with_a_table_survives_a_json_file_and_its_two_values_come_in_any_order(tmp_path):
    with_table = scenario().with_values({"policy_table": {1: 5, 16: 0}, "policy": "table"})
    assert with_table == scenario().with_values({"policy": "table", "policy_table": {1: 5, 16: 0}})
    file = tmp_path / "scenario.json"
    file.write_text(with_table.model_dump_json())
    assert load_scenario(str(file)) == with_table
