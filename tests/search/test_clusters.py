"""The files to copy for clusters: checked by the schemas and tools that will read them, as far as these run here."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from results.schema import SessionRow, StudyState, TrialRow
from tests.search.commands import rows_of, thermotune
from tests.slurm import installed, slurm

CLUSTERS = Path(__file__).parents[2] / "search" / "clusters"
SLURM = CLUSTERS / "slurm.sh"

# Fields that KubeRay's API reference lists (1.3; authOptions since 1.5.1). Of a pod, whose fields are of Kubernetes and
# hundreds, those that the manifest uses: checked once against the models of the Python client kubernetes 37.
KUBERAY = {
    "RayJob": {"apiVersion", "kind", "metadata", "spec"},
    "RayJob.spec": {
        "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint",
        "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata",
        "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "submitterConfig",
        "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished",
    },
    "rayClusterSpec": {
        "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec",
        "headServiceAnnotations", "managedBy", "rayVersion", "suspend", "workerGroupSpecs",
    },
    "authOptions": {"mode"},
    "autoscalerOptions": {
        "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources", "securityContext",
        "upscalingMode", "version", "volumeMounts",
    },
    "headGroupSpec": {"enableIngress", "headService", "rayStartParams", "serviceType", "template"},
    "workerGroupSpec": {
        "groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas", "scaleStrategy",
        "template",
    },
    "pod": {"containers", "nodeSelector", "serviceAccountName", "tolerations", "volumes"},
    "container": {"env", "image", "name", "resources", "volumeMounts"},
}  # fmt: skip


SMALL = """
name: small
recipe: {dataset: digits, model: mlp-128-128, batch_size: 4, epochs: 9}
space: {optimizer.lr: {log: [0.001, 1.0]}}
baseline: null
search: {trials: 8, sampler: random}
confirm: {top: 1}
seeds: {confirm: 2}
"""


# Its trials fit on no machine of a test; they need not where the script is read.
LARGE = """
name: large
recipe: {dataset: digits, batch_size: 640}
space: {optimizer.lr: {log: [0.001, 1.0]}}
resources: {cpus: 64, gpus: 10, strategy: ddp, custom: {no-such-thing: 1}}
"""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTERS / name).read_text()))


def checked(script: str, path: Path) -> None:
    """Checks a shell script by bash, and by shellcheck where it is installed."""
    path.write_text(script)
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        run = subprocess.run(["shellcheck", "--shell=bash", path], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("file", sorted(CLUSTERS.iterdir()), ids=lambda file: file.name)
def test_no_file_holds_a_secret(file):
    text = file.read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|SECRET_ACCESS_KEY|[0-9a-f]{40}", text)
    assert not re.search(r"(?i)(password|token)\s*[:=]\s*['\"]?[a-z0-9]{8,}", text)


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs lines of a script in a folder, with this installation's commands."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def run_sh() -> str:
    """The script of the manifest for Kubernetes."""
    script: str = documents("kuberay-rayjob.yaml")[1]["data"]["run.sh"]
    return script


@pytest.mark.parametrize("script", [SLURM.read_text(), run_sh()], ids=["slurm.sh", "run.sh"])
def test_scripts_take_a_study_whose_trials_are_larger_than_the_machine_that_reads_it(script, tmp_path):
    (file := tmp_path / "large.yaml").write_text(LARGE)
    (line,) = [line.strip() for line in script.splitlines() if line.strip().startswith("name=")]
    done = shell(f'study={file}; {line.replace("/study/study.yaml", str(file))}; echo "$name"', tmp_path)
    assert (done.returncode, done.stdout) == (0, "large\n"), done.stderr


@pytest.mark.slow
def test_scripts_do_not_go_on_with_a_study_whose_budget_is_used_up(tmp_path):
    (file := tmp_path / "study.yaml").write_text(f"{SMALL}budget: {{trials: 2}}\n")
    script = run_sh().replace("/study/study.yaml", str(file)).replace("--address auto", "--address local")
    first = shell(script, tmp_path)
    assert first.returncode == 0
    assert "Stopped: budget used up" in first.stderr
    again = shell(script, tmp_path)  # as after a driver that died on the way
    assert again.returncode == 0
    assert "the budget of small must leave something to do" in again.stderr
    (asks,) = re.findall(r"^out_of_budget\(\) \{.*?^\}$", SLURM.read_text(), re.MULTILINE | re.DOTALL)
    assert shell(f"set -o pipefail; name=small; {asks}; out_of_budget", tmp_path).returncode == 0
    assert shell(f"set -o pipefail; name=other; {asks}; out_of_budget", tmp_path).returncode != 0


# AWS


def test_ray_accepts_the_file_for_aws_and_refuses_a_misspelt_one():
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents("ray-aws.yaml")
    validate_config(prepare_config(copy.deepcopy(config)))
    config["available_node_types"]["gpu"]["min_worker"] = 0
    with pytest.raises(ValidationError, match="min_worker"):
        validate_config(prepare_config(config))


def test_on_aws_every_node_asks_for_the_token_and_the_job_server_is_not_open_to_the_net():
    (config,) = documents("ray-aws.yaml")
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert config["file_mounts"] == {"/home/ubuntu/.ray/auth_token": "~/.ray/auth_token"}


LAUNCH = """
import os, sys, yaml, boto3
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config

config = prepare_config(yaml.safe_load(open(sys.argv[1])))
with mock_aws():
    ec2, iam = boto3.client("ec2", "us-east-1"), boto3.client("iam", "us-east-1")
    for node in config["available_node_types"].values():
        iam.create_instance_profile(InstanceProfileName=node["node_config"]["IamInstanceProfile"]["Name"])
        node["node_config"]["ImageId"] = ec2.describe_images()["Images"][0]["ImageId"]
    config = bootstrap_aws(AWSNodeProvider.fillout_available_node_types_resources(config))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, node in config["available_node_types"].items():
        provider.create_node(node["node_config"], {"ray-node-type": name}, 1)
    for reservation in ec2.describe_instances()["Reservations"]:
        for i in reservation["Instances"]:
            kind = next(tag["Value"] for tag in i["Tags"] if tag["Key"] == "ray-node-type")
            resources = config["available_node_types"][kind]["resources"]
            profile = i["IamInstanceProfile"]["Arn"].split("/")[-1]
            print("NODE", kind, i.get("InstanceLifecycle"), profile, resources["CPU"], resources.get("GPU"), flush=True)
    os._exit(0)  # the provider's threads would wait
"""


@pytest.mark.slow
def test_ray_launches_the_nodes_of_the_file_on_an_ec2_of_motos(tmp_path):
    keys = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    run = subprocess.run(
        [sys.executable, "-c", LAUNCH, CLUSTERS / "ray-aws.yaml"],
        env={**os.environ, **keys, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    nodes = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("NODE")]
    assert nodes == [
        ["head", "None", "THERMOTUNE-HEAD", "0", "None"],
        ["gpu", "spot", "THERMOTUNE-WORKER", "8", "1"],
    ]


# Kubernetes


def test_kuberay_knows_every_field_of_its_manifest():
    job = documents("kuberay-rayjob.yaml")[0]
    cluster = job["spec"]["rayClusterSpec"]
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    parts = {
        "RayJob": [job],
        "RayJob.spec": [job["spec"]],
        "rayClusterSpec": [cluster],
        "authOptions": [cluster["authOptions"]],
        "autoscalerOptions": [cluster["autoscalerOptions"]],
        "headGroupSpec": [head],
        "workerGroupSpec": [worker],
        "pod": [group["template"]["spec"] for group in (head, worker)],
        "container": [c for group in (head, worker) for c in group["template"]["spec"]["containers"]],
    }
    assert {name: set().union(*found) - KUBERAY[name] for name, found in parts.items() if set().union(*found)} == {
        name: set() for name in KUBERAY
    }
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert cluster["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
    assert cluster["authOptions"] == {"mode": "token"}


def test_every_volume_of_the_manifest_is_mounted_from_something_it_names():
    job, script = documents("kuberay-rayjob.yaml")
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (study,) = head["volumes"]
    maps = {source["configMap"]["name"] for source in study["projected"]["sources"]}
    assert maps == {job["metadata"]["name"], script["metadata"]["name"]}
    (mount,) = head["containers"][0]["volumeMounts"]
    assert job["spec"]["entrypoint"] == f"bash {mount['mountPath']}/run.sh"
    assert list(script["data"]) == ["run.sh"]
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_script_of_the_manifest_is_sound(tmp_path):
    _, script = documents("kuberay-rayjob.yaml")
    checked(script["data"]["run.sh"], tmp_path / "run.sh")


# Slurm


def test_the_script_for_slurm_is_sound(tmp_path):
    checked(SLURM.read_text(), tmp_path / "slurm.sh")


def test_the_script_for_slurm_says_what_it_needs():
    def run(*arguments):
        environment = {"PATH": os.environ["PATH"]}
        done = subprocess.run(["bash", SLURM, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        return done.stderr

    assert "a study file must be given: sbatch slurm.sh my-study.yaml" in run()
    assert "this must run in a job of Slurm: sbatch slurm.sh my-study.yaml" in run("my-study.yaml")


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="needs Slurm's and munge's programs, and root to start them")
def test_on_a_real_slurm_a_job_that_is_told_to_stop_goes_back_into_the_queue_and_finishes_its_study(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    folder, programs = tmp_path / "thermotune-runs" / "small", str(Path(sys.executable).parent)
    with slurm() as there:
        options = ["--parsable", "--nodes=1", "--cpus-per-task=2", "--time=10", f"--chdir={tmp_path}"]
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        job = there.run("sbatch", *options, SLURM, "small.yaml", PATH=path, HOME=str(tmp_path))
        log = tmp_path / f"thermotune-{job}.log"

        def wait_for(condition: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 120
            while not condition():
                assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
                time.sleep(0.5)

        wait_for(lambda: any(isinstance(row, TrialRow) for row in rows_of(folder)))
        there.run("scancel", "--batch", "--signal=TERM", job)  # as Slurm itself does before the time is up
        wait_for(lambda: there.state(job) == "PENDING")
        assert there.restarts(job) == 1
        assert "Nothing that was recorded is lost" in log.read_text()
        there.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # not in two minutes
        wait_for(lambda: there.state(job) in ("COMPLETED", "FAILED"))
        assert there.state(job) == "COMPLETED", log.read_text()
    assert [row.state for row in rows_of(folder) if isinstance(row, SessionRow)] == [
        StudyState.RUNNING, StudyState.INTERRUPTED, StudyState.RUNNING, StudyState.COMPLETED,
    ]  # fmt: skip
    assert thermotune(tmp_path / "thermotune-runs", "replay", "small").returncode == 0
    assert not list(Path("/tmp").glob(f"ray-{job}")), "the job must clear away Ray's files"
