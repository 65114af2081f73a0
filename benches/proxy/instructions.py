#!/usr/bin/env python3
"""Instructions per proxied request in user space, counted with callgrind.

Instructions repeat to within a percent where microseconds do not, whatever else the machine does, so a
regression of one percent shows. What they leave out is the kernel, where most of a small request is spent,
and caches: a change that saves instructions is confirmed with proxybench.py.

  ./instructions.py                                   ../../target/release/lb-server, small large post
  ./instructions.py --functions 30 small h2           and the functions that they are spent in
  ./instructions.py --bin before --bin after small    two builds side by side

Also of close, tls, tls-large and h2. One worker, 8 client connections (h2: with 10 streams each), everything on loopback. Needs valgrind and h2load.
"""
import argparse
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import proxybench as pb

CONNECTIONS, WARMUP, PORT, TLS_PORT = 8, 1000, 26080, 26081


class Options:
    upstreams, upstream_workers, base_port, tmp, keep, cwd = 3, 1, 26000, None, False, HERE


def visits(workload, count):
    """A connection for each request, CONNECTIONS at a time: h2load keeps them."""
    ask = f"GET {workload.path} HTTP/1.1\r\nHost: {pb.HOST}\r\nConnection: close\r\n\r\n".encode()
    for begin in range(0, count, CONNECTIONS):
        together = [socket.create_connection(("127.0.0.1", PORT), 10)
                    for _ in range(min(CONNECTIONS, count - begin))]
        for it in together:
            it.sendall(ask)
        for it in together:
            with it, it.makefile("rb") as answer:
                status = answer.read().split(b"\r\n")[0]
            if b" 200 " not in status:
                raise SystemExit(f"not every request was answered with 200: {status!r}")


def requests(workload, count, tmp):
    if workload.close:
        return visits(workload, count)
    port, scheme = (TLS_PORT, "https") if workload.tls else (PORT, "http")
    argv = ["h2load", "-t1", f"-c{CONNECTIONS}", "-n", str(count), f"--connect-to=127.0.0.1:{port}"]
    argv += ["-m10"] if "h2" in workload.need else ["--h1"]
    if workload.post:
        body = os.path.join(tmp, "body")
        with open(body, "wb") as f:
            f.write(b"x" * workload.post)
        argv += ["-d", body]
    out, _ = pb.run_tool(argv + [f"{scheme}://{pb.HOST}:{port}{workload.path}"], 60)
    done = re.search(r"status codes: (\d+) 2xx", out)
    if not done or int(done[1]) != count:
        raise SystemExit(f"not every request was answered with 2xx: {out}")


def control(pid, what):
    subprocess.run(["callgrind_control", what, str(pid)], check=True, capture_output=True)


def annotated(dump, inclusive):
    """Functions and their instructions, most first. Inlined code counts for the function it stands in."""
    argv = ["callgrind_annotate", "--auto=no", "--threshold=100", f"--inclusive={inclusive}", dump]
    spent = {}
    for line in subprocess.run(argv, capture_output=True, text=True).stdout.split("\n"):
        m = re.match(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+(\S*?):(?!:)(.*?)(?:\s+\[.*\])?$", line)
        if m:
            name = m[3].removesuffix("'2")
            n = int(m[1].replace(",", ""))
            spent[name] = max(spent.get(name, 0), n) if inclusive == "yes" else spent.get(name, 0) + n
    return sorted(((n, name) for name, n in spent.items()), reverse=True)


def count(bench, binary, workload, o):
    """Instructions of `o.requests` requests, warm, and where they were spent."""
    d = os.path.join(bench.tmp, f"{workload.name}.{time.monotonic_ns()}")
    os.makedirs(d)
    tls = TLS_PORT if workload.tls else 0
    env = pb.Env(d, PORT, tls, bench.endpoints(0), bench.certs, 1, ["rr"] + ["tls"] * workload.tls)
    conf = os.path.join(d, "lb.toml")
    with open(conf, "w") as f:
        f.write(env.render(pb.LB))
    out = os.path.join(d, "callgrind.out")
    # Not --collect-jumps nor caches: they cost time and the count stays the same.
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", binary, "--config", conf]
    proxy = pb.start(argv, d, {}, os.path.join(d, "log"))
    try:
        for _ in range(200):
            if pb.probe(TLS_PORT if workload.tls else PORT, workload)[0]:
                break
            if proxy.poll() is not None:
                raise SystemExit(open(os.path.join(d, "log")).read()[-2000:])
            time.sleep(0.1)
        requests(workload, WARMUP, d)
        control(proxy.pid, "--zero")
        requests(workload, o.requests, d)
        control(proxy.pid, "--dump")
        dump = sorted(glob.glob(out + ".*"))[-1]
    finally:
        pb.stop(proxy)
    with open(dump) as f:
        total = int(re.search(r"^(?:summary|totals): (\d+)", f.read(), re.M)[1])
    if o.profile:
        shutil.copy(dump, o.profile)
    spent = ""
    if o.functions:
        for title, how in (("with all they call", "yes"), ("by themselves", "no")):
            spent += f"    {title}:\n"
            for n, name in annotated(dump, how)[:o.functions]:
                spent += f"    {n / o.requests:8.0f}  {name[:110]}\n"
    return total, spent


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument("workload", nargs="*", default=["small", "large", "post"])
    ap.add_argument("--bin", action="append", help="lb-server; repeatable")
    ap.add_argument("--requests", type=int, default=5000)
    ap.add_argument("--profile", metavar="FILE", help="keep the last profile, for callgrind_annotate or kcachegrind")
    ap.add_argument("--functions", type=int, default=0, metavar="N", help="also list the N costliest functions")
    o = ap.parse_args()
    lb = next(c for c in pb.CONTESTANTS if c.name == "lb")
    bins = [os.path.abspath(b) for b in o.bin or [lb.find()] if b]
    if not bins:
        raise SystemExit("no lb-server: cargo build --release -p lb-server, or --bin")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench = pb.Bench(Options())
    try:
        bench.start_upstream(False)
        for name in o.workload:
            workload = next(w for w in pb.WORKLOADS if w.name == name)
            for binary in bins:
                total, spent = count(bench, binary, workload, o)
                print(f"{name:8} {total / o.requests:10.0f} instructions per request  {os.path.basename(binary)}", flush=True)
                print(spent, end="", flush=True)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
