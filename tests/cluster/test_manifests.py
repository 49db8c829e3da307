"""What is handed to `ray up` and to KubeRay is understood there, as far as that shows without either."""

import argparse
import copy
import json
import os
import re
import runpy
import shlex
import subprocess
import sys

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from amusd.cli import main
from amusd.serving.settings import read_settings
from tests.cluster.conftest import ROOT

CLUSTERS = sorted((ROOT / "cluster").glob("*.yaml"))
MANIFESTS = sorted((ROOT / "cluster" / "kuberay").glob("*.yaml"))
names = {"ids": lambda path: path.name}
# What KubeRay v1 takes at the places that are looked at.
GROUP = {"rayStartParams", "template"}
KEYS = {
    "manifest": {"apiVersion", "kind", "metadata", "spec"},
    "RayJob": {
        *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint"),
        *("entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata"),
        *(
            "rayClusterSpec",
            "runtimeEnvYAML",
            "shutdownAfterJobFinishes",
            "submissionMode",
            "submitterConfig",
        ),
        *("submitterPodTemplate", "suspend", "ttlSecondsAfterFinished"),
    },
    "RayService": {"rayClusterConfig", "serveConfigV2", "serveService"},
    "cluster": {
        *("autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "headServiceAnnotations"),
        *("rayVersion", "suspend", "workerGroupSpecs"),
    },
    "head group": GROUP | {"enableIngress", "headService", "serviceType"},
    "worker group": GROUP
    | {"groupName", "maxReplicas", "minReplicas", "numOfHosts", "replicas", "scaleStrategy"},
}


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def with_ray_serve(program, value):
    """Run a program on a value in a process of its own: importing Ray Serve warns."""
    return subprocess.run(
        [sys.executable, "-c", f"import json, sys; {program}", json.dumps(value)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'cluster/jobs'}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", CLUSTERS, **names)
def test_ray_s_own_schema_takes_the_cluster(path):
    whole = prepare_config(load(path))
    validate_config(whole)
    assert whole["cluster_name"] == f"amusd-{path.stem}"


def test_ray_s_schema_would_refuse_a_wrong_key():
    whole = prepare_config(load(CLUSTERS[0])) | {"setup_comands": []}
    with pytest.raises(Exception, match="setup_comands"):
        validate_config(whole)


def test_models_of_several_nodes_find_gpus_on_two_of_them_and_none_on_the_head():
    local, aws = load(ROOT / "cluster/gpu-nodes.yaml"), load(ROOT / "cluster/aws.yaml")
    assert len(local["provider"]["worker_ips"]) == local["min_workers"] == 2
    assert "--num-gpus=0" in local["head_start_ray_commands"][-1]
    gpus = {name: node["resources"]["GPU"] for name, node in aws["available_node_types"].items()}
    assert gpus == {"head": 0, "target": 4, "draft": 1}


@pytest.mark.parametrize("path", [*CLUSTERS, ROOT / "cluster/kuberay/job.yaml"], **names)
def test_the_commands_in_it_are_ones_that_the_job_scripts_take(path, monkeypatch, capsys):
    text = re.sub(r"^ *#", " ", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    text = text.replace("...", "demo")
    found = re.findall(r"cluster/jobs/(?:batch|service)\.py(?:[^#\n]|\n {4}--)*", text)
    assert found
    for command in found:
        script, *arguments = shlex.split(command)
        monkeypatch.setattr(sys, "path", [str(ROOT / "cluster/jobs"), *sys.path])
        job = runpy.run_path(str(ROOT / script))
        needs, rest = job["read_needs"]("", arguments)
        assert isinstance(needs, argparse.Namespace)
        assert needs.wait_gpus >= 2
        # With --help behind them the arguments are parsed, and nothing is started.
        assert (
            main([{"batch.py": "batch", "service.py": "serve"}[script.rpartition("/")[2]], *rest, "--help"])
            == 0
        )
    capsys.readouterr()


def test_the_service_s_application_is_there_and_knows_its_settings():
    manifest = load(ROOT / "cluster/kuberay/service.yaml")
    assert not manifest["metadata"]["name"].startswith("amusd")  # see there
    [application] = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"]
    module, _, name = application["import_path"].partition(":")
    program = f"print(type({module}.{name}(json.loads(sys.argv[1]))).__name__)"
    done = with_ray_serve(f"import {module}; {program}", application["args"])
    assert done.stdout == "Application\n", done.stderr
    engine, _ = read_settings(application["args"], None)
    assert (engine.target_devices, engine.draft_devices) == ("cuda:0", "cuda:0")


@pytest.mark.parametrize("path", MANIFESTS, **names)
def test_a_manifest_has_the_form_that_kuberay_documents(path):
    manifest = load(path)
    assert manifest["apiVersion"] == "ray.io/v1"
    spec = manifest["spec"]
    ray = spec.get("rayClusterSpec") or spec["rayClusterConfig"]
    assert (
        ray["rayVersion"]
        == re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]
    )
    groups = [ray["headGroupSpec"], *ray["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        [container] = group["template"]["spec"]["containers"]
        mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in group["template"]["spec"].get("volumes", ())}
        assert container["resources"]["limits"] == container["resources"]["requests"]
    workers = ray["workerGroupSpecs"]
    assert all(it["minReplicas"] <= it["replicas"] <= it["maxReplicas"] for it in workers)
    gpus = sum(
        it["replicas"] * int(it["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
        for it in workers
    )
    assert gpus == 2


def unknown_keys(manifest):
    """Keys that KubeRay does not take, of the manifest, its cluster and the cluster's groups."""
    spec = manifest["spec"]
    ray = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or {}
    found = [("manifest", manifest), (manifest["kind"], spec), ("cluster", ray)]
    found.append(("head group", ray.get("headGroupSpec", {})))
    found += [("worker group", group) for group in ray.get("workerGroupSpecs", ())]
    return [f"{place}: {key}" for place, keys in found for key in keys if key not in KEYS[place]]


@pytest.mark.parametrize("path", MANIFESTS, **names)
def test_kuberay_takes_every_key_of_a_manifest(path):
    assert unknown_keys(load(path)) == []


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("manifest", "apiVersion"),
        ("RayJob", "shutdownAfterJobFinishes"),
        ("RayService", "serveConfigV2"),
        ("cluster", "rayVersion"),
        ("head group", "rayStartParams"),
        ("worker group", "minReplicas"),
    ],
)
def test_a_key_of_a_manifest_that_is_misspelt_would_be_found(place, key):
    path = ROOT / f"cluster/kuberay/{'service' if place == 'RayService' else 'job'}.yaml"
    text = path.read_text(encoding="utf-8")
    assert f"{key}:" in text
    wrong = yaml.safe_load(text.replace(f"{key}:", f"{key[:-1]}:"))
    assert f"{place}: {key[:-1]}" in unknown_keys(wrong)


def test_ray_serve_reads_all_that_its_configuration_says():
    # Its schema passes over keys that it does not know, so what it read is compared with what stands there.
    given = yaml.safe_load(load(ROOT / "cluster/kuberay/service.yaml")["spec"]["serveConfigV2"])
    wrong = copy.deepcopy(given)
    wrong["applications"][0]["rout_prefix"] = wrong["applications"][0].pop("route_prefix")
    program = (
        "from ray.serve.schema import ServeDeploySchema as Schema;"
        "read = [Schema.model_validate(it) for it in json.loads(sys.argv[1])];"
        "print(json.dumps([it.model_dump(mode='json', exclude_unset=True) for it in read]))"
    )
    done = with_ray_serve(program, [given, wrong])
    assert done.returncode == 0, done.stderr
    read, misread = json.loads(done.stdout)
    assert read == given
    assert misread != wrong
