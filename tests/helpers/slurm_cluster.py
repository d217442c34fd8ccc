"""A real Slurm cluster of two nodes on this machine, with a separate munge daemon."""

import os
import shutil
import signal
import socket
import subprocess
import time

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo")
# Debian puts the daemons where the PATH of a user need not lead.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000
KillWait=5
OverTimeLimit=0
MinJobAge=300
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=spare Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode={preempt} GraceTime=60
"""


def missing():
    """Return why no cluster can be started here, None when one can."""
    if os.geteuid() != 0:
        return "a Slurm cluster is started by root"
    absent = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)" if absent else None


class Cluster:
    """Two nodes, n1 and n2, with two CPUs each; all that it leaves is in its folder."""

    def __init__(self, folder):
        self.folder = folder
        self.daemons = []
        self.config = folder / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.config), "PATH": PATH}

    def start(self):
        folder = self.folder
        folder.chmod(0o755)
        (folder / "state").mkdir()
        self.config.write_text(
            CONFIG.format(preempt="REQUEUE", host=socket.gethostname(), folder=folder, ports=_free_ports(3))
        )
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        options = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={folder / f'munge.{name}'}" for option, name in options.items()]
        # --force: temporary folders are writable by more than munge likes.
        self._daemon("munged", "--force", "--foreground", *munge)
        _wait(lambda: (folder / "munge.socket").exists(), "munged")
        self._daemon("slurmctld", "-D", "-f", self.config)
        for node in ("n1", "n2"):
            self._daemon("slurmd", "-D", "-f", self.config, "-N", node)
        _wait(lambda: self.run("sinfo", "-h", "-o", "%D %t").stdout.split() == ["2", "idle"], "two idle nodes", self)

    def _daemon(self, name, *arguments):
        log = (self.folder / f"{name}.out").open("ab")
        command = [shutil.which(name, path=PATH), *map(str, arguments)]
        environment = os.environ | self.environment
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        log.close()
        self.daemons.append(process)

    def run(self, *command):
        """Run one of Slurm's commands."""
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def state(self, job):
        """Return the state of a job, as scontrol calls it."""
        fields = dict(part.split("=", 1) for part in self.show(job).split() if "=" in part)
        return fields.get("JobState", "unknown")

    def show(self, job):
        return self.run("scontrol", "show", "job", "--oneliner", str(job)).stdout

    def jobs(self):
        """Return the ids of all jobs that the controller remembers."""
        return self.run("squeue", "--noheader", "--states=all", "--format=%A").stdout.split()

    def clear(self):
        """Cancel what is queued or runs, and wait until both nodes are free."""
        self.run("scancel", "--user=root")
        _wait(lambda: self.run("sinfo", "-h", "-o", "%D %t").stdout.split() == ["2", "idle"], "two idle nodes", self)

    def stop(self):
        """End every daemon, and what jobs may have left running."""
        self.run("scancel", "--user=root")
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def said(self):
        return "".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait(condition, what, cluster=None, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} in {seconds} s\n{cluster.said() if cluster else ''}"
        time.sleep(0.2)
