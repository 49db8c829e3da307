import os
import subprocess
import sys
import threading

import pytest

from amusd.devices import (
    DeviceSpec,
    Inventory,
    available,
    check_devices,
    default_devices,
    let_others_first,
    other_cores,
    parse_device,
    pin_thread,
    thread_environment,
    usable_cores,
)
from amusd.errors import DeviceError


@pytest.mark.parametrize(
    ("text", "kind", "indices", "shown"),
    [
        ("cpu:0", "cpu", (0,), "cpu:0"),
        ("cpu:2-5", "cpu", (2, 3, 4, 5), "cpu:2-5"),
        ("cpu:0-1,4", "cpu", (0, 1, 4), "cpu:0-1,4"),
        ("cpu:4,0-1", "cpu", (0, 1, 4), "cpu:0-1,4"),
        ("cpu:0, cpu:3", "cpu", (0, 3), "cpu:0,3"),
        ("cuda:0", "cuda", (0,), "cuda:0"),
        ("cuda:0,cuda:1", "cuda", (0, 1), "cuda:0,cuda:1"),
        ("cuda:1,cuda:0", "cuda", (1, 0), "cuda:1,cuda:0"),
        ("cuda:0-1", "cuda", (0, 1), "cuda:0,cuda:1"),
    ],
)
def test_a_device_is_read_and_written_back(text, kind, indices, shown):
    device = parse_device(text)
    assert device == DeviceSpec(kind, indices)
    assert str(device) == shown
    assert parse_device(shown) == device


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "give cpu:CORES such as"),
        ("cpu", "give cpu:CORES such as"),
        ("cpu:", "give cpu:CORES such as"),
        ("0", "give cpu:CORES such as"),
        ("gpu:0", "give cpu:CORES such as"),
        ("cuda:-1", "give cpu:CORES such as"),
        ("cpu:0,", "give cpu:CORES such as"),
        ("cpu:0-99999999", "give cpu:CORES such as"),
        ("cpu:5-2", "the range 5-2 runs backwards; write 2-5"),
        ("cpu:0,cuda:0", "not both"),
        ("cpu:0-2,1", "cpu:1 is given twice"),
        ("cuda:0,cuda:0", "cuda:0 is given twice"),
    ],
)
def test_anything_else_is_refused_with_the_option_and_the_text(text, message):
    with pytest.raises(DeviceError, match=message) as caught:
        parse_device(text, "draft_devices")
    assert (caught.value.field, caught.value.value) == ("draft_devices", text)


@pytest.mark.parametrize(
    ("target", "drafts", "inventory", "message"),
    [
        (
            "cpu:2",
            [],
            Inventory((0, 1)),
            "target_devices: cpu:2: there is no cpu:2 here; choose from cpu:0-1",
        ),
        (
            "cuda:0",
            [],
            Inventory((0, 1)),
            "target_devices: cuda:0: there is no cuda:0 here; choose from cpu:0-1",
        ),
        (
            "cuda:0",
            ["cuda:1,cuda:2"],
            Inventory((0,), gpus=1),
            "draft_devices: cuda:1,cuda:2: there is no cuda:1, cuda:2 here; choose from cpu:0, cuda:0",
        ),
        (
            "cpu:0-1",
            ["cpu:1"],
            Inventory((0, 1)),
            "draft_devices: cpu:1: cpu:1 is already given to target_devices",
        ),
        ("cpu:0", ["cpu:1", "cpu:1"], Inventory((0, 1)), "cpu:1 is already given to draft_devices"),
    ],
)
def test_a_device_that_does_not_exist_or_is_given_twice_is_refused(target, drafts, inventory, message):
    with pytest.raises(DeviceError) as caught:
        check_devices(parse_device(target), [parse_device(draft) for draft in drafts], inventory)
    assert message in str(caught.value)


def test_a_gpu_is_shared_on_request_and_a_core_never_is():
    gpu, core, inventory = parse_device("cuda:0"), parse_device("cpu:1"), Inventory((0, 1), gpus=1)
    with pytest.raises(DeviceError, match="share_gpu"):
        check_devices(gpu, [gpu], inventory)
    check_devices(gpu, [gpu], inventory, share_gpu=True)
    with pytest.raises(DeviceError, match="cpu:1 is already given to target_devices"):
        check_devices(core, [core], inventory, share_gpu=True)


def test_distinct_devices_that_exist_pass():
    check_devices(parse_device("cuda:0,cuda:1"), [parse_device("cpu:3")], Inventory((2, 3), gpus=2))


@pytest.mark.parametrize(
    ("inventory", "draft_count", "target", "drafts"),
    [
        (Inventory((0, 1)), 1, "cpu:0", ["cpu:1"]),
        (Inventory((0, 1)), 0, "cpu:0-1", []),
        (Inventory((0,)), 0, "cpu:0", []),
        (Inventory((2, 3, 6, 7)), 1, "cpu:2-3,6", ["cpu:7"]),
        (Inventory((0, 1, 2, 3)), 2, "cpu:0-1", ["cpu:2", "cpu:3"]),
        (Inventory((0,), gpus=1), 1, "cuda:0", ["cpu:0"]),
        (Inventory((0, 1), gpus=1), 1, "cuda:0", ["cpu:1"]),
        (Inventory((0, 1), gpus=2), 1, "cuda:0", ["cuda:1"]),
        (Inventory((0, 1), gpus=4), 1, "cuda:0,cuda:1,cuda:2", ["cuda:3"]),
        (Inventory((0, 1), gpus=4), 0, "cuda:0,cuda:1,cuda:2,cuda:3", []),
        (Inventory((0, 1), gpus=2), 2, "cuda:0,cuda:1", ["cpu:0", "cpu:1"]),
    ],
)
def test_default_devices_keep_the_models_apart(inventory, draft_count, target, drafts):
    chosen = default_devices(inventory, draft_count)
    assert (str(chosen[0]), [str(draft) for draft in chosen[1]]) == (target, drafts)
    check_devices(*chosen, inventory)


@pytest.mark.parametrize(
    ("inventory", "given", "target", "drafts"),
    [
        (Inventory((0, 1)), {"target": "cpu:1"}, "cpu:1", ["cpu:0"]),
        (Inventory((0, 1)), {"drafts": "cpu:0"}, "cpu:1", ["cpu:0"]),
        (Inventory((0, 1), gpus=2), {"target": "cuda:1"}, "cuda:1", ["cuda:0"]),
        (Inventory((0, 1), gpus=2), {"drafts": "cpu:0"}, "cuda:0,cuda:1", ["cpu:0"]),
        (Inventory((0, 1), gpus=1), {"target": "cpu:0"}, "cpu:0", ["cuda:0"]),
        (Inventory((0, 1)), {"target": "cpu:0", "drafts": "cpu:1"}, "cpu:0", ["cpu:1"]),
    ],
)
def test_what_the_caller_named_is_kept_and_the_rest_avoids_it(inventory, given, target, drafts):
    named = {
        role: parse_device(text) if role == "target" else [parse_device(text)] for role, text in given.items()
    }
    chosen = default_devices(inventory, 1, **named)
    assert (str(chosen[0]), [str(draft) for draft in chosen[1]]) == (target, drafts)


@pytest.mark.parametrize(
    ("inventory", "given", "message"),
    [
        (Inventory((0,)), {}, "draft_devices: default: no core is left for it of cpu:0; pass --draft none"),
        (Inventory((0, 1)), {"target": DeviceSpec("cpu", (0, 1))}, "no core is left for it of cpu:0-1"),
        (
            Inventory((0,)),
            {"drafts": [DeviceSpec("cpu", (0,))]},
            "target_devices: default: the drafts have all",
        ),
    ],
)
def test_too_few_cores_are_an_error_that_names_the_remedy(inventory, given, message):
    with pytest.raises(DeviceError) as caught:
        default_devices(inventory, 1, **given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("target", "cores", "others"),
    [
        ("cpu:0", (0, 1), (1,)),
        ("cpu:0-2", (0, 1, 2, 3, 4), (3, 4)),
        ("cpu:0-1", (0, 1), (0, 1)),
        ("cuda:0", (0, 1), (0, 1)),
    ],
)
def test_everything_else_keeps_off_the_targets_cores_if_any_remain(target, cores, others):
    assert other_cores(parse_device(target), Inventory(cores, gpus=1)) == others


def test_this_process_has_cores():
    inventory = available()
    assert inventory.cores == tuple(sorted(os.sched_getaffinity(0)))


def test_a_pinned_thread_says_where_it_was_and_no_other_moves():
    before, last, seen = usable_cores(), usable_cores()[-1], {}

    def pin():
        seen["before"] = pin_thread([last])
        seen["after"] = usable_cores()

    thread = threading.Thread(target=pin)
    thread.start()
    thread.join()
    assert seen == {"before": before, "after": (last,)}
    assert usable_cores() == before


@pytest.mark.parametrize("cores", [[4095], [], [99999], [-1]])
def test_pinning_to_a_core_that_does_not_exist_changes_nothing(cores):
    before = usable_cores()
    with pytest.raises(DeviceError, match="not all of these cores exist here; choose from cpu:"):
        pin_thread(cores)
    with pytest.raises(DeviceError, match="not all of these cores exist here"):
        pin_thread([before[0], *(cores or [4095])])
    assert usable_cores() == before


def test_a_pinned_process_takes_all_its_threads_along():
    script = (
        "import os, threading\n"
        "from amusd.devices import pin_process, thread_ids, usable_cores\n"
        "stop = threading.Event()\n"
        "[threading.Thread(target=stop.wait).start() for _ in range(3)]\n"
        "pin_process(usable_cores()[-1:])\n"
        "assert len(thread_ids()) >= 4\n"
        "assert {frozenset(os.sched_getaffinity(it)) for it in thread_ids()} == {frozenset(usable_cores())}\n"
        "assert len(usable_cores()) == 1\n"
        "stop.set()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_environment_of_a_worker():
    assert thread_environment(parse_device("cpu:0"))["THP_MEM_ALLOC_ENABLE"] == "1"
    assert thread_environment(parse_device("cpu:2-5"))["OMP_NUM_THREADS"] == "4"
    assert thread_environment(parse_device("cpu:2-5"))["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in thread_environment(parse_device("cuda:0"))


def test_counting_devices_does_not_import_torch_where_there_is_no_gpu_driver():
    script = (
        "import sys\n"
        "import amusd.devices as devices\n"
        "devices._GPU_DRIVER_FILES = ()\n"
        "assert devices.available().gpus == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_a_thread_lets_others_first_and_never_asks_for_more_priority():
    seen = []

    def lower():
        for _ in range(3):
            let_others_first()
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=lower)
    thread.start()
    thread.join()
    assert seen == [min(before + 10, 19), min(before + 20, 19), 19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
