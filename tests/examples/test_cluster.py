"""The scripts that start workers: the TF_CONFIG that they make, and two that train."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import mmkeras as mm
from examples.cluster.tf_config import tf_config

ROOT = Path(__file__).parent.parent.parent
CLUSTER = ROOT / "examples/cluster"
# in place of srun: its command on every node, at once
SRUN = """
shift  # its own option
SLURM_NODEID=0 "$@" & first=$!
SLURM_NODEID=1 "$@" & second=$!
wait $first && wait $second
"""
# in place of python: training is to say what it was given
PYTHON = f"""
case $1 in
    */train.py) echo "$TF_CONFIG" ;;
    *) {sys.executable} "$@" ;;
esac
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Gives a function that runs a command beside stand-ins for others."""
    monkeypatch.delenv("TF_CONFIG", raising=False)

    def run(command, stand_ins, **environment):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in stand_ins.items():
            (folder / name).write_text(f"#!/bin/bash\n{text}")
            (folder / name).chmod(0o755)
        path = [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
        environment |= {"PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def test_a_worker_finds_its_place(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["a", "b:7", "c"], 1))
    assert mm.distribute.worker() == (1, 3)
    made = json.loads(os.environ["TF_CONFIG"])
    assert made["cluster"]["worker"] == ["a:12345", "b:7", "c:12345"]
    with pytest.raises(ValueError, match="wants 0 to 1"):
        tf_config(["a", "b"], 2)


def test_slurm(shell):
    scontrol = '[ "$*" = "show hostnames n[1-2]" ] && printf "n1\\nn2\\n"'
    stand_ins = {"scontrol": scontrol, "srun": SRUN, "python": PYTHON}
    command = ["bash", CLUSTER / "slurm.sh"]
    done = shell(command, stand_ins, SLURM_JOB_NODELIST="n[1-2]")
    assert done.returncode == 0, done.stderr
    found = sorted(done.stdout.splitlines())
    assert found == [tf_config(["n1", "n2"], i) for i in (0, 1)]


def test_slurm_stops_where_there_is_no_list(shell):
    stand_ins = {"scontrol": "exit 1", "srun": SRUN, "python": PYTHON}
    command = ["bash", CLUSTER / "slurm.sh"]
    assert shell(command, stand_ins, SLURM_JOB_NODELIST="n1").returncode != 0


def test_kubernetes(shell):
    service, pods = yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())
    spec = pods["spec"]
    name, labels = service["metadata"]["name"], spec["template"]["metadata"]["labels"]
    assert service["spec"]["clusterIP"] == "None" and spec["serviceName"] == name
    assert service["spec"]["selector"] == spec["selector"]["matchLabels"] == labels
    (container,) = spec["template"]["spec"]["containers"]
    workers = {x["name"]: x.get("value") for x in container["env"]}["WORKERS"]
    assert int(workers) == spec["replicas"]
    command = container["command"] + container["args"]
    stand_ins = {"python": PYTHON, "sleep": ""}
    done = shell(command, stand_ins, POD_NAME="train-3", WORKERS=workers)
    assert done.returncode == 0, done.stderr
    hosts = [f"{pods['metadata']['name']}-{i}.{name}" for i in range(4)]
    assert done.stdout.strip() == tf_config(hosts, 3)


@pytest.mark.slow
def test_two_nodes_train_as_one(shell, tmp_path):
    """The whole of slurm.sh over loopback, against the same program alone."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    hosts = "\\n".join(f"127.0.0.1:{port}" for port in ports)
    stand_ins = {"scontrol": f'printf "{hosts}\\n"', "srun": SRUN}
    command = ["bash", CLUSTER / "slurm.sh", tmp_path / "two"]
    done = shell(command, stand_ins, SLURM_JOB_NODELIST="any")
    assert done.returncode == 0, done.stderr[-3000:]
    alone = [sys.executable, CLUSTER / "train.py", tmp_path / "one"]
    done = shell(alone, {})
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (mm.load_model(tmp_path / x / "model.keras") for x in ("one", "two"))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
