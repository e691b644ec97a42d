# What libseccomp makes of seccomp profiles: profiles as a JSON list on stdin, answers on stdout.
#
# The rules are added as runc adds them (libcontainer/seccomp): a rule that repeats the default
# action is left out, and conditions on one argument are rules of their own.

import json
import sys
import tempfile

import seccomp

OPERATORS = {
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_GE": seccomp.GE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}
ACTIONS = {
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000 - (1 << 32),  # the module takes a C int
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}


def action(name, errno):
    carries = name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    return ACTIONS[name] | ((1 if errno is None else errno) if carries else 0)


def condition(arg):
    operator = OPERATORS[arg["op"]]
    return seccomp.Arg(arg["index"], operator, arg["value"], arg.get("valueTwo", 0))


def number(arch, name):
    """The number of a call, or -1; also for calls that come through socketcall or ipc."""
    try:
        found = seccomp.resolve_syscall(seccomp.Arch(arch), name)
    except (RuntimeError, ValueError):
        return -1
    bundled = found in (102, 117, 4102, 4117) and name not in ("socketcall", "ipc")
    return -1 if bundled and arch in ("x86", "ppc64le", "mipsel") else found


def known(name):
    try:
        return seccomp.resolve_syscall(seccomp.Arch(), name) != -1
    except (RuntimeError, ValueError):
        return False


def arch_names(profile):
    listed = [arch.removeprefix("SCMP_ARCH_").lower() for arch in profile.get("architectures", [])]
    return ["x86_64"] + [arch for arch in dict.fromkeys(listed) if arch != "x86_64"]


def compiled(profile):
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    rules = seccomp.SyscallFilter(default)
    for arch in arch_names(profile)[1:]:
        rules.add_arch(seccomp.Arch(arch))
    for rule in profile.get("syscalls", []):
        does = action(rule["action"], rule.get("errnoRet"))
        if does == default:
            continue
        args = rule.get("args") or []
        alternatives = [args]
        if len({arg["index"] for arg in args}) < len(args):
            alternatives = [[arg] for arg in args]
        for name in filter(known, rule["names"]):
            for alternative in alternatives:
                rules.add_rule(does, name, *map(condition, alternative))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read().hex()


def answer(profile):
    names = {name for rule in profile.get("syscalls", []) for name in rule["names"]}
    last = {arch: max((number(arch, name) for name in names), default=-1) for arch in arch_names(profile)}
    unknown = sorted(name for name in names if not known(name))
    try:
        return {"program": compiled(profile), "last": last, "unknown": unknown}
    except (RuntimeError, ValueError, OSError) as refusal:
        return {"refused": str(refusal), "last": last, "unknown": unknown}


def main():
    request = json.load(sys.stdin)
    profiles = [answer(profile) for profile in request["profiles"]]
    archs = request["archs"]
    numbers = {arch: {name: number(arch, name) for name in request["names"]} for arch in archs}
    json.dump({"profiles": profiles, "numbers": numbers}, sys.stdout)


main()
