#!/usr/bin/env python3
"""upgrade - 100 reloads by SIGHUP and 5 upgrades by SIGUSR2 while wrk asks, and no request may fail.

Two wrk ask all the time: one on connections that are kept, one with a connection per request. Each reload
changes a weight; each upgrade starts the program anew, which takes the listening sockets over, and the process
before it has to end. Exit code 0, or 1 with what failed.

  ./upgrade.py                                  100 reloads, 5 upgrades, about half a minute
  ./upgrade.py --reloads 20 --upgrades 1        a quick look
  LB_BIN=path ./upgrade.py                      that lb-server; else target/dist, then target/release

Everything listens on loopback and is ended by its process id. Needs wrk and nginx or what proxybench.py takes
for an upstream. Linux.
"""
import argparse
import json
import os
import re
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import proxybench as pb

PORT, CONNS = 27080, 16
STEP_MAX_S = 20                     # until a reload is in force, a successor serves, or a predecessor has ended
LANES = {"kept": [], "close": ["-H", "Connection: close"]}

LB = """
[server]
workers = {threads}
shutdown_delay = "0s"

[admin]
enabled = false

[access_log]
enabled = false

[[listener]]
bind = "127.0.0.1:{http_port}"

[[service]]
name = "up"
hosts = ["*"]

[[service.pool]]
backends = [
  { url = "http://{upstream}", weight = {weight} },
]
"""


class Options:
    upstreams, upstream_workers, base_port, tmp, keep, cwd = 3, 1, 27000, None, False, HERE


class Upgrade:
    def __init__(self, bench, binary):
        self.bench, self.binary = bench, binary
        self.conf, self.log = (os.path.join(bench.tmp, name) for name in ("lb.toml", "lb.log"))
        self.reloads, self.lanes = 0, {}
        self.write_config()
        self.first = pb.start([binary, "--config", self.conf], bench.tmp, {}, self.log)
        self.pid = self.first.pid
        self.until("it serves", lambda: pb.probe(PORT, pb.WORKLOADS[0])[0])

    def write_config(self):
        env = pb.Env(self.bench.tmp, PORT, 0, self.bench.endpoints(0), self.bench.certs, 2, ["rr"])
        env.vals.update(weight=1 + self.reloads % 7)
        with open(self.conf + ".new", "w") as f:
            f.write(env.render(LB))
        os.replace(self.conf + ".new", self.conf)

    def said(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def until(self, what, is_so):
        """Waits for it, and fails where it takes too long or a load generator has ended."""
        end = time.monotonic() + STEP_MAX_S
        while not is_so():
            over = [name for name, (p, _) in self.lanes.items() if p.poll() is not None]
            if over or time.monotonic() > end:
                raise SystemExit(f"waited in vain until {what}; ended: {over}; lb said: {self.said()[-800:]}")
            time.sleep(0.01)

    def reload(self):
        before = self.said().count("in force")
        self.reloads += 1
        self.write_config()
        os.kill(self.pid, signal.SIGHUP)
        self.until("a reload is in force", lambda: self.said().count("in force") > before)

    def upgrade(self):
        before, seen = self.pid, len(self.said())
        os.kill(before, signal.SIGUSR2)
        serves = lambda: re.search(r"process (\d+) serves now", self.said()[seen:])
        self.until("a successor serves", serves)
        self.pid = int(serves()[1])

        def has_ended():
            if before == self.first.pid:
                return self.first.poll() is not None
            return not os.path.exists(f"/proc/{before}/exe") or open(f"/proc/{before}/stat").read().split()[2] == "Z"
        self.until(f"process {before} has ended", has_ended)

    def load(self, seconds):
        lua = os.path.join(self.bench.tmp, "count.lua")
        with open(lua, "w") as f:
            f.write(pb.WRK_LUA)
        for name, more in LANES.items():
            out = os.path.join(self.bench.tmp, name)
            argv = ["wrk", "-t1", f"-c{CONNS}", f"-d{seconds}s", "--timeout", "5s", "-s", lua, *more]
            self.lanes[name] = (pb.start(argv + [f"http://{pb.HOST}:{PORT}/1k"], self.bench.tmp, {}, out), out)

    def end_load(self, seconds):
        """What the load generators counted, who end by themselves."""
        failed = 0
        for name, (p, out) in self.lanes.items():
            p.wait(seconds + 10)
            with open(out) as f:
                r = json.loads(re.search(r"RESULT (\{.*\})", f.read())[1])
            errors = {k[2:]: v for k, v in r.items() if k.startswith("e_")}
            failed += sum(errors.values())
            print(f"{name:6} {r['requests']:9} requests, failed: {errors}, longest {r['max_us'] / 1000:.0f} ms")
        return failed

    def close(self):
        if self.pid != self.first.pid and os.path.exists(f"/proc/{self.pid}"):
            os.kill(self.pid, signal.SIGTERM)


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument("--reloads", type=int, default=100)
    ap.add_argument("--upgrades", type=int, default=5)
    ap.add_argument("--seconds", type=int, default=40, help="of load; it must outlast the rest (default 40)")
    o = ap.parse_args()
    if o.reloads < 1 or not 0 <= o.upgrades <= o.reloads:
        ap.error("--upgrades must be between 0 and --reloads, of which there must be at least one")
    binary = next(c for c in pb.CONTESTANTS if c.name == "lb").find()
    if not binary:
        raise SystemExit("no lb-server: cargo build --release -p lb-server, or set LB_BIN")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench, it = pb.Bench(Options()), None
    try:
        bench.start_upstream(False)
        it = Upgrade(bench, os.path.abspath(binary))
        began = time.monotonic()
        it.load(o.seconds)
        time.sleep(1)
        pace, every = max(0.02, (o.seconds - 10) / o.reloads / 2), o.reloads // (o.upgrades or o.reloads)
        done = 0
        for n in range(1, o.reloads + 1):
            it.reload()
            if n % every == 0 and done < o.upgrades:
                it.upgrade()
                done += 1
            time.sleep(pace)
        took = time.monotonic() - began
        failed = it.end_load(o.seconds)
        print(f"{it.reloads} reloads and {done} upgrades within {took:.0f} s of load: {failed} requests failed")
        sys.exit(1 if failed or took > o.seconds else 0)
    finally:
        if it:
            it.close()
        bench.close()


if __name__ == "__main__":
    main()
