"""Options and commands of docker and podman that cowl has not, and what to know instead."""

from __future__ import annotations

_WINDOWS = "it is for Windows; --cpus, --device-read-bps and their like limit CPU and IO"
_USERS = "containers have no user namespace; -u runs it as another user"
_PODS = "there are no pods; --network, --ipc and --pid container:NAME share namespaces"
_REGISTRIES = "cowl login keeps credentials, registries.toml says how registries are reached"
_CHECKPOINTS = "a container's memory cannot be saved; cowl commit keeps its files"

_ONE_MACHINE = "cowl is for one machine"
_BUILDING = "cowl commit makes an image of a container, cowl load reads what buildah and podman build"

COMMANDS = {
    **dict.fromkeys(("build", "builder", "buildx"), _BUILDING),
    **dict.fromkeys(("node", "service", "stack", "swarm", "config", "context"), _ONE_MACHINE),
    **dict.fromkeys(("pod", "kube", "play", "generate"), _PODS),
    "checkpoint": _CHECKPOINTS,
    "compose": "cowl run starts containers one by one; those of a bridge find each other by name",
    "healthcheck": "--health-cmd has a container checked, cowl inspect tells what came of it",
    "manifest": "cowl push sends an image for several machines with its index",
    "network": "a root has one bridge; --network none, host, bridge or container:NAME choose",
    "plugin": "cowl has none",
    "search": "registries are not searched; cowl pull NAME takes an image",
    "secret": "-v FILE:/run/secrets/NAME:ro shows one to a container",
    "trust": "what is pulled is compared with its digest",
}

ELSEWHERE = {
    "--disable-content-trust": "what is pulled is compared with its digest",
    "--filter": "all goes that nothing needs, as --dry-run lists it; cowl rm and rmi take names",
    "--volumes": "cowl volume prune removes those that nothing shows",
    "--gpus": "devices are given one by one, by --device",
    "--link": "containers of a bridge find each other by their names",
    "--link-local-ip": "the kernel gives it one",
    "--ip6": "an address of IPv6 follows from that of --ip",
    "--runtime": "cowl runs containers itself",
    "--storage-opt": "a read-write layer is a directory; --tmpfs DIR:size=64m limits a part of it",
    "--use-api-socket": "there is no daemon",
    **dict.fromkeys(("--cpu-count", "--cpu-percent", "--io-maxbandwidth", "--io-maxiops"), _WINDOWS),
    **dict.fromkeys(("--checkpoint", "--checkpoint-dir"), _CHECKPOINTS),
    **dict.fromkeys(("--uidmap", "--gidmap", "--subuidname", "--subgidname", "--hostuser"), _USERS),
    **dict.fromkeys(("--pod", "--pod-id-file", "--requires"), _PODS),
    **dict.fromkeys(("--authfile", "--tls-verify", "--creds", "--cert-dir"), _REGISTRIES),
    **dict.fromkeys(("--arch", "--os", "--variant"), "--platform OS/ARCH[/VARIANT] names all of it"),
    "--cgroups": "a container has its cgroup always",
    "--cgroup-conf": "the limits have options of their own",
    "--conmon-pidfile": "cowl inspect knows the numbers of processes",
    "--pidfile": "cowl inspect -f '{{.State.Pid}}' tells it",
    "--env-host": "-e NAME takes a variable from here",
    "--http-proxy": "-e http_proxy takes a variable from here",
    "--unsetenv": "-e NAME= empties a variable",
    "--unsetenv-all": "-e NAME= empties a variable",
    "--env-merge": "-e sets a variable",
    "--health-on-failure": "cowl events tells of health; --restart is for what ends",
    "--image-volume": "a VOLUME of an image is a part of the read-write layer; -v DIR makes it its own",
    "--init-path": "--init takes the init program of this machine",
    "--no-hosts": "-v FILE:/etc/hosts shows another one",
    "--passwd": "users are the image's",
    "--passwd-entry": "users are the image's; -u takes numbers that it does not know",
    "--personality": "--security-opt seccomp=PROFILE says which may be chosen",
    "--preserve-fds": "a container has its own files only; -v shows one",
    "--read-only-tmpfs": "--read-only makes all read-only; --tmpfs /tmp adds what is not",
    "--replace": "cowl rm -f NAME goes first",
    "--rmi": "cowl rmi goes afterwards",
    "--rootfs": "cowl import makes an image of a root file system",
    "--sdnotify": "there is no daemon, and no service",
    "--seccomp-policy": "--security-opt seccomp=PROFILE says it",
    "--secret": "-v FILE:/run/secrets/NAME:ro shows one",
    "--systemd": "mounts for it are made by --tmpfs /run --tmpfs /tmp",
    "--tree": "cowl forest shows it",
    "--no-prune": "cowl untag takes the name alone",
    "--timeout": "timeout(1) before cowl run ends it",
    "--tz": "-e TZ=ZONE sets it",
    "--umask": "it is 0022; a program sets its own",
}
