"""What every error code means, at length: `jindou why CODE` prints it, offline."""

from __future__ import annotations

LONG = {
    "JD-API-501": (
        "Jindou does not answer",
        "The server process is not running, or not yet. `jindou up` starts it; `jindou "
        "logs server` says why it ended.",
    ),
    "JD-API-502": (
        "It took longer than it may",
        "Nothing is undone: what was started goes on. `jindou status` shows how far it "
        "is, and the same command waits again; --timeout gives it longer.",
    ),
    "JD-API-503": (
        "The API refused",
        "The server answered, and said no; its sentence is shown. `jindou logs server` "
        "may say more.",
    ),
    "JD-API-504": (
        "It runs with other settings",
        "A port, folder or network is chosen when the cloud starts and can't change while "
        "it runs. `jindou down`, then `jindou up` with the same flags; data and objects "
        "stay.",
    ),
    "JD-CLI-600": (
        "There is no such command",
        "`jindou --help` lists all commands. A mistyped one is never guessed and run.",
    ),
    "JD-CLI-601": (
        "A client is set up in a way that hides Jindou",
        "An environment variable such as KUBECONFIG points somewhere else, so the entry "
        'that `jindou up` made is not used. Unset it, or use `eval "$(jindou env '
        'kubectl)"`.',
    ),
    "JD-CLI-602": (
        "kubectl is missing",
        "The sample is deployed with kubectl, the ordinary client; everything else works "
        "without it. Debian 12 and Ubuntu have it in the package kubernetes-client, "
        "Fedora in kubernetes-client, Arch in kubectl. Then run the same command again.",
    ),
    "JD-CLI-603": (
        "A setting can't be used",
        "Settings come from flags, JINDOU_* variables, ~/.config/jindou/config.toml and "
        "/etc/jindou/config.toml, in that order. The message names the place and what is "
        "wrong with it; a file that is no TOML, or sets something unknown, stops every "
        "command but `jindou doctor`, rather than being half obeyed.",
    ),
    "JD-CLI-604": (
        "A kubeconfig can't be read",
        "The file is there and is not a kubeconfig: not YAML, or not a mapping. Jindou "
        "never overwrites what it does not understand, so it was left as it is and the "
        "entry called jindou was not added. Repair the file or move it away, then `jindou "
        "up` again; `jindou env kubectl` works without it.",
    ),
    "JD-CLI-605": (
        "There are no settings for that client",
        "`jindou env kubectl` prints what kubectl has to be told. Other Kubernetes "
        "clients read the same variable, KUBECONFIG.",
    ),
    "JD-CLI-606": (
        "There is no such log",
        "`jindou logs` shows what the processes of Jindou wrote: server, node, supervisor "
        "and setup. The logs of Pods are `kubectl logs POD`.",
    ),
    "JD-CLI-607": (
        "There is nothing to deploy",
        "--deploy takes a file or a folder of Kubernetes YAML. It does not exist, or "
        "holds no objects.",
    ),
    "JD-CLI-608": (
        "kubectl failed",
        "The sample is applied and waited for with kubectl; what it said is shown. "
        "`jindou why deployment/NAME -n NAMESPACE` follows a Deployment to the cause of "
        "its trouble.",
    ),
    "JD-CLI-609": (
        "An argument is missing",
        "`jindou image -h` shows which names and files each action takes.",
    ),
    "JD-CLI-610": (
        "There is no such group of probes",
        "`jindou doctor` takes the groups containers, network, storage, security, clients "
        "and jindou; without one it runs all.",
    ),
    "JD-CLI-611": (
        "That can't be followed",
        "`jindou why` takes an object as KIND/NAME, with -n for its namespace, or the "
        "code of an error. Kinds: pod, deployment, replicaset, service, node.",
    ),
    "JD-CLI-612": (
        "There is no such object",
        "The API has no object of that kind and name in that namespace. `kubectl get pods "
        "-A` lists all Pods.",
    ),
    "JD-CLI-613": (
        "There is no such code",
        "Codes look like JD-NET-101 and are printed at the right margin of an error.",
    ),
    "JD-CLI-614": (
        "A question could not be asked",
        "The command asks before it deletes something, and there is no terminal to ask on "
        "(or --no-input was given). The flags shown give the answer in advance.",
    ),
    "JD-CLI-615": (
        "--progress tty needs a terminal",
        "Lines can only be drawn again on a terminal, and stderr is none. Leave the flag "
        "away, or use --progress plain.",
    ),
    "JD-CLI-616": (
        "The command line is not understood",
        "An option or argument is unknown, missing, or has a value that it can't have. "
        "`jindou COMMAND -h` shows all of them.",
    ),
    "JD-CLI-617": (
        "A kubeconfig has no entry of this cloud, or an old one",
        "`jindou up` added an entry called jindou to the kubeconfig, and remembers where. "
        "The file has lost it since, or it is of an earlier cloud with other keys. "
        "`jindou up` puts it right, also while the cloud runs.",
    ),
    "JD-IMG-401": (
        "An image can't be had",
        "The image is not on this machine and could not be made, read or pulled. `jindou "
        "image list` shows what is here; `jindou image bootstrap NAME` makes busybox, "
        "debian, nginx, python and redis from the distribution's packages; `jindou image "
        "import FILE` takes a docker or OCI archive. A name with a registry in it "
        "(registry.example.org/team/app:1) is pulled from there.",
    ),
    "JD-NET-101": (
        "A port that Jindou needs is taken",
        "The Kubernetes API listens on one TCP port of the loopback address (6443 unless "
        "chosen otherwise), the node's streaming endpoint on another (10250). Another "
        "program has one of them: often k3s, minikube, kubelet or another Jindou. Stop "
        "it, or choose another port with `jindou up --api-port N` or `--node-port N`; the "
        "choice is kept for later runs.",
    ),
    "JD-NET-102": (
        "The pod network meets another route of this machine",
        "Pods and Services get addresses from 10.210.0.0/16 and 10.211.0.0/16 unless "
        "chosen otherwise. A route of this machine covers the same addresses, so packets "
        "would go astray. Choose others with JINDOU_POD_CIDR and JINDOU_SERVICE_CIDR, "
        "before the first `jindou up`.",
    ),
    "JD-NET-103": (
        "nftables can't be used",
        "Services are packet rules in one nftables table called after this cloud. The "
        "kernel refused a rule, or libnftables is missing. Install the package nftables "
        "(libnftables1); in a container, the capability CAP_NET_ADMIN is needed.",
    ),
    "JD-NET-104": (
        "Network namespaces can't be made",
        "Each Pod has a network namespace of its own. The kernel refused to make one: in "
        "a container, CAP_SYS_ADMIN is needed; elsewhere, look for "
        "user.max_net_namespaces = 0.",
    ),
    "JD-NET-105": (
        "Packet rules of another Kubernetes are here",
        "kube-proxy, a CNI plugin or a network product left rules behind, or still runs. "
        "They may drop or divert packets of Pods and Services. If the other product is "
        "gone, a reboot takes its rules away; `nft list ruleset` shows them.",
    ),
    "JD-NET-106": (
        "A firewall drops what Pods send",
        "A chain for forwarded packets drops what no rule accepts, and no rule names the "
        "bridge of the Pods. Jindou's own rules can't overrule another table: packets "
        "have to be accepted everywhere. The commands shown tell firewalld, ufw, Docker "
        "or plain nftables to accept what comes from the bridge and what goes to it.",
    ),
    "JD-RUN-301": (
        "No container runtime works",
        "Jindou runs containers with crun or runc, and keeps their logs with conmon. A "
        "tiny container was tried with each; what they said is above. Packages: crun, "
        "runc, conmon.",
    ),
    "JD-RUN-302": (
        "A program that Jindou needs is missing",
        "`jindou up` installs what is missing with the package manager of this machine "
        "(apt, dnf or pacman). Where there is none it knows, install the programs named "
        "and run it again.",
    ),
    "JD-RUN-303": (
        "A process of Jindou stopped right after its start",
        "The last lines of its log are shown. `jindou logs server` and `jindou logs node` "
        "show all.",
    ),
    "JD-RUN-304": (
        "Control groups without a controller",
        "The kernel or whoever made this container offers no cpu, memory or pids "
        "controller. Pods run, but limits of that kind are not enforced. On a Raspberry "
        "Pi, add cgroup_enable=memory to the kernel's command line.",
    ),
    "JD-RUN-305": (
        "No control groups are mounted",
        "Limits and the reliable end of a container need control groups. Mount them: "
        "`mount -t cgroup2 none /sys/fs/cgroup`.",
    ),
    "JD-RUN-306": (
        "Something that was not foreseen",
        "This is a fault of Jindou, not of yours. The whole trace is in the log file that "
        "the message names; the same command with -vv shows it at once.",
    ),
    "JD-RUN-307": (
        "A process of Jindou does not run",
        "The server (API, objects, controllers) or the node (containers, network) ended "
        "and was not started again. `jindou up` starts what is missing; `jindou logs "
        "server` and `jindou logs node` say why it ended. Containers go on meanwhile.",
    ),
    "JD-RUN-309": (
        "A service names a program that is gone",
        "systemd starts Jindou with the Python it was installed with. That Python, or the "
        "folder of the installation, is not there any more. `jindou down && jindou up`, "
        "run from the new place, writes the services anew.",
    ),
    "JD-SEC-301": (
        "Root is needed",
        "Namespaces, mounts and packet rules need root. Jindou asks for it once, with "
        "sudo, and says what for. In a script: `sudo jindou up --yes`. Where there is no "
        "sudo, become root with `su -`. `jindou up --pretend` needs no root: the whole "
        "API, with containers that are only played.",
    ),
    "JD-SEC-302": (
        "Keys can be read by others",
        "Whoever can read a private key or the administrator's kubeconfig is the "
        "administrator. `chmod 0600` takes the access away; if others use this machine, "
        "uninstall with --purge and start anew, for they may have a copy.",
    ),
    "JD-SEC-303": (
        "The clock went back",
        "The newest file of the state is from the future. Certificates and tokens made "
        "then may seem not yet valid now. Set the clock (`timedatectl status`, `systemctl "
        "status systemd-timesyncd`).",
    ),
    "JD-SEC-304": (
        "That file is not yours",
        "The file or folder named belongs to another user. Run the command as that user, "
        "or with sudo.",
    ),
    "JD-SEC-305": (
        "A certificate is about to end",
        "Certificates renew themselves while the server runs, long before they end. One "
        "that is near its end means that the server has not run for months, or that the "
        "clock is wrong. `jindou down` and `jindou up` renew it.",
    ),
    "JD-STO-201": (
        "This machine offers no overlayfs",
        "The root of a container is a stack of image layers, mounted with overlayfs. "
        "Mounting one in the data folder failed. `modprobe overlay` helps where the "
        "kernel ships the module; a data folder that is itself on an overlay (inside a "
        "container) has to move to a real disk.",
    ),
    "JD-STO-202": (
        "The disk is nearly full",
        "Images, logs and writable layers need room. Below one gigabyte free, `jindou up` "
        "does not go on, and a node with little room refuses Pods. Free some room, or "
        "move the data folder with --data.",
    ),
    "JD-STO-203": (
        "The state file can't be used",
        "All objects are in one SQLite file, store.db in the data folder. It is damaged, "
        "from a newer version, or in use by another server; the sentence says which. "
        "Nothing was changed. `jindou restore BACKUP` puts a backup in its place.",
    ),
    "JD-STO-204": (
        "That is no backup",
        "`jindou backup FILE` writes a gzipped tar archive with the objects (store.db) "
        "and the keys (pki/). What was named is another file, is damaged, or can't be "
        "read. Nothing was changed.",
    ),
    "JD-STO-205": (
        "Something is mounted in a folder that is to be deleted",
        "`jindou uninstall --purge` never crosses into another file system: what is "
        "mounted there may be somebody's data. Unmount it, then run the same command "
        "again.",
    ),
    "JD-STO-206": (
        "A file or folder can't be used",
        "The file or folder named could not be read or written, for the reason shown. "
        "Nothing that was there before is lost.",
    ),
    "JD-STO-207": (
        "The data folder can't be used",
        "Jindou keeps objects, keys and images in its data folder, /var/lib/jindou or, "
        "with --pretend and without root, ~/.local/state/jindou. It can't be made or "
        "written: the file system may be read-only, or belong to somebody else. Choose "
        "another with --data.",
    ),
}
