#!/usr/bin/env python3
"""soak - lb-server at full load while its backends are killed and its configuration is reloaded.

What it is after is what a short run cannot show: memory that creeps, descriptors that nobody closes, leases
and connections that outlive their request. So it runs the real binary beside real backends (nginx, or a small
server of its own where there is none), asks for everything at once (lanes, see LANES), kills a backend
by SIGKILL every few seconds, reloads by SIGHUP once a minute, looks at the process every second, lets the load
end, waits until nothing runs, and then judges: exit code 0, or 1 with what was out of bounds.

  ./soak.py                       10 minutes
  ./soak.py --minutes 1           whether it works at all; the slope is told and not judged
  LB_BIN=path ./soak.py           that lb-server; else target/dist, then target/release

Backends listen on loopback, everything that is started is ended by its process id, also on Ctrl-C and SIGTERM,
and every load generator ends by itself. Needs wrk, h2load and openssl. Linux.
"""
import argparse
import asyncio
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import proxybench as pb

# Bounds. What is beyond one of them fails the soak.
# The slope is that of the least RSS in each SEGMENT_S: what is held at the peak moves by tens of MiB with the
# mix of the moment, what a leak raises is the floor. At 15,000 requests a second this is two bytes each.
SLOPE_KIB_PER_MIN_MAX = 2048
SLOPE_MINUTES_MIN = 5               # a shorter soak shows the allocator warming up, so its slope is not judged
FDS_GROWTH_MAX = 64                 # descriptors at 100 % beyond those at 50 % (means of SEGMENT_S); the load is the same
FDS_LEFT_MAX = 8                    # descriptors when all is over beyond those before the load
SAFE_FAILED_RATIO_MAX = 0.000_1     # lanes whose requests may be sent again: a killed backend should not be seen
FAILED_RATIO_MAX = 0.001            # all lanes: bodies that were on their way, POSTs that may have been acted on

# Paces.
KILL_EVERY_S, DOWN_FOR_S = 5, 1     # one backend at a time, in turn
RELOAD_EVERY_S, RELOAD_FIRST_S = 60, 30
SEGMENT_S = 15                      # a load generator runs as long and begins anew, so that clients come and go
IDLE_WAIT_S = 40                    # at the end: until connections to backends are given up, and then some
UPSTREAM_IDLE_S = 5
BACKENDS, CONNS = 3, 24
BROKEN_OFF = "broken off"

# name: tool, path, may be sent again, further arguments
LANES = {
    "get": ("wrk", "/1k", True, {}),
    "large": ("wrk", "/100k", False, {}),
    "post": ("wrk", "/post", False, {"post": pb.POST}),
    "close": ("wrk", "/1k", True, {"close": True}),
    "tls": ("wrk", "/1k", True, {"tls": True}),
    "h2": ("h2load", "/1k", True, {"tls": True}),
}

LB = """
[server]
workers = {threads}
connections_max = 5000
keep_alive_timeout = "1h"
requests_per_connection_max = 100000000     # h2load does not come back after a GOAWAY

[admin]
bind = "127.0.0.1:{admin_port}"

[access_log]
enabled = false

[[listener]]
bind = "127.0.0.1:{http_port}"

[[listener]]
bind = "127.0.0.1:{tls_port}"
[listener.tls]
certificates = [{ cert = "{cert}", key = "{key}" }]

[[service]]
name = "soak"
hosts = ["*"]

[service.balance]
policy = "least-request"

# Backends are back after a second and die again soon: with longer times all three would be out at once.
[service.breaker]
open_for = "1s"
open_for_max = "2s"

[service.retry]
budget = { percent = 20, min_per_second = 100, burst = 1000 }

[service.keep_alive]
idle_max = 256
idle_timeout = "{upstream_idle}s"

[[service.pool]]
backends = [
  { url = "http://{upstream}", weight = {weight} },
]
"""

# One process, so that one SIGKILL takes listener and connections alike: a master's workers would live on.
BACKEND = """
%root user root;
daemon off; master_process off;
pid {dir}/nginx.pid; error_log {dir}/error.log crit;
worker_rlimit_nofile 20000;
events { worker_connections 9000; }
http {
  access_log off; default_type application/octet-stream; keepalive_requests 1000000000;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5; client_body_buffer_size 64k;
  server {
    listen 127.0.0.1:{http_port} backlog=4096;
    root {dir};
    location = /post { return 200 "ok"; }
  }
}
"""


class Soak:
    def __init__(self, o, binary):
        self.o, self.binary = o, binary
        self.tmp = tempfile.mkdtemp(prefix="soak.", dir=o.tmp)
        os.chmod(self.tmp, 0o755)
        self.certs = pb.Bench.make_certs(self)
        self.http, self.tls, self.admin = (o.base_port + i for i in range(3))
        self.ports = [o.base_port + 10 + i for i in range(BACKENDS)]
        for port in (self.http, self.tls, self.admin, *self.ports):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", port))         # somebody else's server must not be what is measured
        self.nginx = None if o.own_backends else pb.Contestant("", "", binary=("nginx", "/usr/sbin/nginx")).find()
        self.backends, self.lanes, self.samples = {}, {}, []
        self.sums = {name: Counter() for name in LANES}
        self.kills = self.reloads = 0
        self.lb = None

    # ---- processes ------------------------------------------------------------------------------------

    def start_backend(self, i):
        d = os.path.join(self.tmp, f"backend{i}")
        os.makedirs(d, exist_ok=True)
        if not self.nginx:
            argv = [sys.executable, os.path.abspath(__file__), "--as-backend", str(self.ports[i])]
        else:
            for name, size in (("1k", pb.SMALL), ("100k", pb.LARGE)):
                with open(os.path.join(d, name), "wb") as f:
                    f.write(b"x" * size)
            conf = os.path.join(d, "nginx.conf")
            with open(conf, "w") as f:
                f.write(pb.Env(d, self.ports[i], 0, [], self.certs, 1, []).render(BACKEND))
            argv = [self.nginx, "-p", d, "-c", conf]
        self.backends[i] = pb.start(argv, d, {}, os.path.join(d, "log"))

    def kill_backend(self, i):
        p = self.backends[i]
        if p.poll() is not None:
            raise RuntimeError(f"backend {i} had ended by itself, exit {p.returncode}; see {self.tmp}/backend{i}")
        p.kill()
        p.wait(5)
        pb.RUNNING.remove(p)
        self.kills += 1

    def write_config(self):
        """Every reload is one that changes something."""
        env = pb.Env(self.tmp, self.http, self.tls, [("127.0.0.1", p) for p in self.ports], self.certs, self.o.threads, ["rr"])
        env.vals.update(admin_port=self.admin, upstream_idle=UPSTREAM_IDLE_S, weight=1 + self.reloads % 2)
        path = os.path.join(self.tmp, "lb.toml")
        with open(path + ".new", "w") as f:
            f.write(env.render(LB))
        os.replace(path + ".new", path)
        return path

    def start_lb(self):
        conf = self.write_config()
        log = os.path.join(self.tmp, "lb.log")
        self.lb = pb.start([self.binary, "--config", conf], self.tmp, {}, log)
        for _ in range(200):
            if self.lb.poll() is not None:
                break
            if all(pb.probe(p, pb.Workload("", "", "", tls=p == self.tls))[0] for p in (self.http, self.tls)):
                return
            time.sleep(0.05)
        with open(log, errors="replace") as f:
            raise RuntimeError("lb-server did not start: " + f.read()[-1500:])

    def reload(self):
        self.reloads += 1
        self.write_config()
        self.lb.send_signal(signal.SIGHUP)

    # ---- load -----------------------------------------------------------------------------------------

    def start_lane(self, name, seconds):
        tool, path, _, more = LANES[name]
        port = self.tls if more.get("tls") else self.http
        url = f"{'https' if more.get('tls') else 'http'}://{pb.HOST}:{port}{path}"
        seconds = str(max(1, round(seconds)))
        if tool == "h2load":
            argv = ["h2load", "-t1", "-c8", "-m10", "-D", seconds, f"--connect-to=127.0.0.1:{port}", url]
        else:
            lua = os.path.join(self.tmp, f"{name}.lua")
            with open(lua, "w") as f:
                if more.get("post"):
                    f.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {more["post"]})\n')
                f.write(pb.WRK_LUA)
            argv = ["wrk", "-t1", f"-c{CONNS}", f"-d{seconds}s", "--timeout", "5s", "-s", lua]
            argv += (["-H", "Connection: close"] if more.get("close") else []) + [url]
        out = os.path.join(self.tmp, f"{name}.out")
        open(out, "w").close()
        self.lanes[name] = (pb.start(argv, self.tmp, {}, out), out)

    def reap_lane(self, name):
        """Adds up what a load generator that has ended says; True when it had."""
        p, path = self.lanes[name]
        if p.poll() is None:
            return False
        pb.RUNNING.remove(p)
        del self.lanes[name]
        with open(path) as f:
            out = f.read()
        if p.returncode != 0:
            raise RuntimeError(f"load generator {name}: exit {p.returncode}: {out[-400:]}")
        sums = self.sums[name]
        if LANES[name][0] == "wrk":
            r = json.loads(re.search(r"RESULT (\{.*\})", out)[1])
            sums["requests"] += r["requests"]
            for kind in ("connect", "read", "write", "status", "timeout"):
                sums[kind] += r[f"e_{kind}"]
            return True
        done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
        status = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
        ok, failed, errored, timeout = (int(x) for x in done.groups())
        bad = sum(int(x) for x in status.groups()[1:])
        sums["requests"] += ok + failed
        # h2load calls a 5xx a failure, and what was broken off as well: neither is counted twice here.
        sums["status"] += bad
        sums["timeout"] += timeout
        sums["stream"] += max(0, failed - bad)
        return True

    # ---- looking --------------------------------------------------------------------------------------

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as r:
            text = r.read().decode()
        out = Counter()
        for name, labels, value in re.findall(r"^(lb_\w+)(?:\{([^}]*)\})? ([-+.\deE]+)$", text, re.M):
            out[name] += float(value)
            which = re.search(r'(?:reason|end)="([^"]*)"', labels)
            if which:
                out[f"{name}:{which[1]}"] += float(value)
        return out

    def sample(self, t0):
        if self.lb.poll() is not None:
            raise RuntimeError(f"lb-server ended, exit {self.lb.returncode}; see {self.tmp}/lb.log")
        pid = self.lb.pid
        m = self.metrics()
        s = {"t": time.monotonic() - t0, "rss": pb.mem_kb([pid])["rss"], "fds": len(os.listdir(f"/proc/{pid}/fd")),
             "threads": len(os.listdir(f"/proc/{pid}/task")), "metrics": m}
        s["running"] = m["lb_exchanges_total"] - sum(m[k] for k in ("lb_delivered_total", "lb_rejections_total", "lb_clients_left_total"))
        return s

    def run(self):
        for i in range(BACKENDS):
            self.start_backend(i)
        for port in self.ports:
            until = time.monotonic() + 5
            while not pb.probe(port, pb.Workload("", "", ""))[0]:
                if time.monotonic() > until:
                    raise RuntimeError(f"backend at {port} did not start")
                time.sleep(0.05)
        self.start_lb()
        time.sleep(UPSTREAM_IDLE_S + 1)             # what the probes opened is closed again
        before = self.sample(time.monotonic())
        t0 = time.monotonic()
        self.load(t0)
        return before, self.wait_for_idle(t0, before)

    def load(self, t0):
        total = self.o.minutes * 60
        kill_at, restart, reload_at, victim, said = KILL_EVERY_S, None, RELOAD_FIRST_S, 0, 0
        while True:
            now = time.monotonic() - t0
            for name in list(self.lanes):
                self.reap_lane(name)
            for name in LANES:
                if name not in self.lanes and total - now >= 1:
                    self.start_lane(name, min(SEGMENT_S, total - now))
            if now >= total and not self.lanes:
                break
            if now > total + 30:
                raise RuntimeError(f"load generators do not end: {', '.join(self.lanes)}")
            if restart is not None and now >= restart[0]:
                self.start_backend(restart[1])
                restart = None
            elif restart is None and now >= kill_at and now < total - DOWN_FOR_S:
                self.kill_backend(victim)
                restart = (now + DOWN_FOR_S, victim)
                victim, kill_at = (victim + 1) % BACKENDS, now + KILL_EVERY_S
            if now >= reload_at and now < total:
                self.reload()
                reload_at += RELOAD_EVERY_S
            if now < total:                         # under load only
                s = self.sample(t0)
                self.samples.append(s)
                if now >= said:
                    print(f"{now:6.0f} s  rss {s['rss'] / 1024:6.1f} MiB  fds {s['fds']:5}  exchanges "
                          f"{s['metrics']['lb_exchanges_total']:.0f}  retries {s['metrics']['lb_retries_total']:.0f}  "
                          f"kills {self.kills}  reloads {self.reloads}", flush=True)
                    said += 30
            time.sleep(max(0.05, 1 - (time.monotonic() - t0 - now)))
        if restart is not None:
            self.start_backend(restart[1])

    def wait_for_idle(self, t0, before):
        until = time.monotonic() + IDLE_WAIT_S
        while True:
            s = self.sample(t0)
            idle = not s["running"] and not s["metrics"]["lb_connections"] and not s["metrics"]["lb_backend_in_flight"]
            if idle and s["fds"] <= before["fds"] or time.monotonic() > until:
                time.sleep(2)                       # the allocator gives back after the last use
                return self.sample(t0)
            time.sleep(1)

    def close(self, keep):
        for p in list(pb.RUNNING):
            pb.stop(p)
        if keep:
            print(f"configuration and logs: {self.tmp}")
        else:
            shutil.rmtree(self.tmp, ignore_errors=True)


def slope(samples):
    """KiB per minute by which the floor of the RSS rises, by least squares."""
    floors = [min(samples[i:i + SEGMENT_S], key=lambda s: s["rss"]) for i in range(0, len(samples), SEGMENT_S)]
    if len(floors) < 2:
        return 0.0
    ts, vs = [s["t"] / 60 for s in floors], [s["rss"] for s in floors]
    t, v = sum(ts) / len(ts), sum(vs) / len(vs)
    return sum((a - t) * (b - v) for a, b in zip(ts, vs)) / sum((a - t) ** 2 for a in ts)


def judge(soak, before, after):
    """Prints the tables and returns what was out of bounds."""
    o, bad = soak.o, []
    kinds = ("connect", "read", "write", "status", "timeout", "stream")
    print("\n| lane | requests | " + " | ".join(kinds) + " | failed |\n|---|" + "---:|" * (len(kinds) + 2))
    everything = Counter()
    safe = Counter()
    for name, sums in soak.sums.items():
        everything += sums
        safe += sums if LANES[name][2] else Counter()
        print_lane(name, sums, kinds)
    print_lane("all", everything, kinds)
    for title, sums, most in (("lanes that may be sent again", safe, SAFE_FAILED_RATIO_MAX),
                              ("all lanes", everything, FAILED_RATIO_MAX)):
        ratio = sum(sums[k] for k in kinds) / max(1, sums["requests"])
        if ratio > most:
            bad.append(f"failures of {title}: {ratio:.6f} of requests, at most {most:.6f}")
    for name, sums in soak.sums.items():
        if not sums["requests"]:
            bad.append(f"lane {name} made no request")

    rows = (("before", [before]), *((f"{p} %", around(soak.samples, p)) for p in (10, 50, 100)), ("after", [after]))
    print(f"\nMedians of the {SEGMENT_S} s before:\n\n| | " + " | ".join(n for n, _ in rows) + " |\n|---|" + "---:|" * len(rows))
    for title, f in (("RSS KiB", lambda s: s["rss"]), ("descriptors", lambda s: s["fds"]), ("threads", lambda s: s["threads"]),
                     ("client connections", lambda s: s["metrics"]["lb_connections"]),
                     ("exchanges running", lambda s: s["running"]),
                     ("in flight at backends", lambda s: s["metrics"]["lb_backend_in_flight"])):
        print(f"| {title} | " + " | ".join(f"{statistics.median(f(s) for s in w):.0f}" for _, w in rows) + " |")
    second = [s for s in soak.samples if s["t"] >= o.minutes * 30]
    k = slope(second)
    judged = o.minutes >= SLOPE_MINUTES_MIN
    m = after["metrics"]
    print(f"\nSlope of the RSS in the second half: {k:+.0f} KiB/min" + ("" if judged else f" (not judged below {SLOPE_MINUTES_MIN} minutes)"))
    print(f"{soak.kills} kills, {soak.reloads} reloads ({m['lb_reloads_total']:.0f} in force, {m['lb_reloads_failed_total']:.0f} "
          f"refused); lb counts {m['lb_exchanges_total']:.0f} exchanges, {m['lb_retries_total']:.0f} retries, "
          f"{m['lb_retries_withheld_total']:.0f} withheld, {m['lb_rejections_total']:.0f} rejections, "
          f"{m['lb_breaker_opened_total']:.0f} breakers opened, {m['lb_clients_left_total']:.0f} clients left")
    for title, prefix in (("rejections", "lb_rejections_total:"), ("bodies ended", "lb_bodies_ended_total:")):
        print(f"{title}: " + (", ".join(f"{k.removeprefix(prefix)} {v:.0f}" for k, v in sorted(m.items())
                                        if k.startswith(prefix) and v) or "none"))
    if judged and k > SLOPE_KIB_PER_MIN_MAX:
        bad.append(f"RSS grew by {k:.0f} KiB/min in the second half, at most {SLOPE_KIB_PER_MIN_MAX}")
    if m["lb_exchanges_total"] < everything["requests"]:
        bad.append(f"{m['lb_exchanges_total']:.0f} exchanges counted by lb, {everything['requests']} by its clients")
    fds = [sum(s["fds"] for s in w) / len(w) for w in (around(soak.samples, 50), around(soak.samples, 100))]
    if fds[1] - fds[0] > FDS_GROWTH_MAX:
        bad.append(f"descriptors grew from {fds[0]:.0f} at 50 % to {fds[1]:.0f} at 100 %, at most by {FDS_GROWTH_MAX}")
    if after["fds"] - before["fds"] > FDS_LEFT_MAX:
        bad.append(f"{after['fds']} descriptors are left, {before['fds']} before the load, at most {FDS_LEFT_MAX} more")
    if after["running"] or m["lb_backend_in_flight"] or m["lb_connections"]:
        bad.append(f"not idle in the end: {after['running']:.0f} exchanges, {m['lb_backend_in_flight']:.0f} in flight at "
                   f"backends, {m['lb_connections']:.0f} client connections")
    if m["lb_reloads_failed_total"] or m["lb_reloads_total"] != soak.reloads:
        bad.append(f"{soak.reloads} reloads were asked for, {m['lb_reloads_total']:.0f} came into force")
    return bad


def print_lane(name, sums, kinds):
    failed = sum(sums[k] for k in kinds)
    print(f"| {name} | {sums['requests']} | " + " | ".join(str(sums[k]) for k in kinds)
          + f" | {failed} ({100 * failed / max(1, sums['requests']):.4f} %) |")


def around(samples, percent):
    """A window and not a sample, which may fall on a moment between two generators."""
    middle = len(samples) * percent // 100
    return samples[max(0, middle - SEGMENT_S):middle] or samples[:1]


async def serve_backend(port):
    """What nginx does above, for machines without it; slower, so the proxy is not at its full load."""
    bodies = {b"/1k": b"x" * pb.SMALL, b"/100k": b"x" * pb.LARGE, b"/post": b"ok"}

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                if length:
                    await reader.readexactly(int(length[1]))
                body = bodies.get(head.split(b" ", 2)[1], b"")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument("--minutes", type=float, default=10)
    ap.add_argument("--threads", type=int, default=2, help="workers of the proxy")
    ap.add_argument("--base-port", type=int, default=27000)
    ap.add_argument("--own-backends", action="store_true", help="the small server also where there is nginx")
    ap.add_argument("--tmp", default=None, help="parent of the scratch directory")
    ap.add_argument("--keep", action="store_true", help="keep configuration and logs")
    ap.add_argument("--samples", metavar="FILE", help="write every sample, as JSON lines")
    ap.add_argument("--as-backend", type=int, metavar="PORT", help=argparse.SUPPRESS)
    o = ap.parse_args()
    if o.as_backend:
        asyncio.run(serve_backend(o.as_backend))
        return 0
    binary = next(c for c in pb.CONTESTANTS if c.name == "lb").find()
    missing = [t for t in ("wrk", "h2load", "openssl") if not shutil.which(t)]
    if not binary or missing:
        raise SystemExit(f"missing: {', '.join(missing + ([] if binary else ['lb-server (LB_BIN)']))}; see README.md")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    soak, bad = Soak(o, os.path.abspath(binary)), []
    try:
        before, after = soak.run()
        bad = judge(soak, before, after)
        if o.samples:
            with open(o.samples, "w") as f:
                f.writelines(json.dumps(s) + "\n" for s in soak.samples)
    except (RuntimeError, OSError) as e:
        bad = [f"{type(e).__name__}: {e}"]
    except KeyboardInterrupt:
        bad = [BROKEN_OFF]
    finally:
        soak.close(o.keep or bool(bad) and bad != [BROKEN_OFF])
    for b in bad:
        print(f"FAIL {b}")
    if not bad:
        print("ok: everything within its bounds")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
