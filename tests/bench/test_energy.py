"""Energy counters, where they are."""

import pytest

from amusd.bench.energy import EnergyMeter


@pytest.fixture
def powercap(tmp_path):
    def write(name, energy, limit=1000):
        zone = tmp_path / name
        zone.mkdir(exist_ok=True)
        (zone / "energy_uj").write_text(f"{energy}\n")
        (zone / "max_energy_range_uj").write_text(f"{limit}\n")
        return tmp_path

    return write


def test_packages_are_added_up_and_their_parts_are_not(powercap):
    powercap("intel-rapl:0", 100)
    powercap("intel-rapl:1", 10)
    folder = powercap("intel-rapl:0:0", 7)
    meter = EnergyMeter(folder)
    before = meter.read()
    powercap("intel-rapl:0", 600)
    powercap("intel-rapl:1", 20)
    powercap("intel-rapl:0:0", 99)
    assert meter.joules(before, meter.read()) == pytest.approx(510e-6)


def test_a_counter_that_wrapped_around_is_read_right(powercap):
    meter = EnergyMeter(powercap("intel-rapl:0", 0))
    assert meter.joules([900], [100]) == pytest.approx(200e-6)


def test_absence_has_a_reason(tmp_path):
    assert "this machine has no" in EnergyMeter(tmp_path / "missing").absent_because
    meter = EnergyMeter(tmp_path)
    assert "no processor package" in meter.absent_because
    assert not meter.is_present


def test_a_counter_that_cannot_be_read_is_named(powercap):
    folder = powercap("intel-rapl:0", 1)
    (folder / "intel-rapl:0" / "energy_uj").unlink()
    (folder / "intel-rapl:0" / "energy_uj").mkdir()
    assert "energy_uj cannot be read" in EnergyMeter(folder).absent_because
