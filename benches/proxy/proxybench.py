#!/usr/bin/env python3
"""proxybench - side-by-side benchmark of HTTP reverse proxies on one machine.

The main figure is CPU cost: user+sys time of the proxy's whole process tree
(from /proc/PID/stat), divided by the requests the load generator completed, in
microseconds per request.  It is far steadier on a shared machine than requests
per second.  Throughput, latency, peak RSS and upstream-side counts (how many
requests and connections really reached the upstream) are recorded beside it.

Everything is loopback.  Every contestant is started fresh for every cell
(workload x round), checked to answer correctly, warmed up, measured, stopped.
Contestants are interleaved A B C A B C ... and medians are reported.

  ./proxybench.py --list
  ./proxybench.py --workload small,tls,h2 --contestants nginx,haproxy,envoy \
                  --rounds 3 --seconds 5 --out results
  ./proxybench.py --extra 'name=mylb;cmd=./lb --config {config};config_template=lb.tmpl'

Template language for configs (built-in peers and --extra alike):
  * placeholders: {http_port} {tls_port} {cert} {key} {pem} {dir} {threads}
    {upstreams_csv} {upstreams_space} {upstreams_json} {n_upstreams}
    {keepalive} {config}; unknown {words} are left alone, so JSON/YAML are safe;
  * a line holding {upstream}, {upstream_host} or {upstream_port} (or {i}) is
    repeated once per upstream endpoint;
  * a line starting with %WORD (%tls %h2 %cache %nocache %rr %least %root) is
    kept, without that word, only when the condition holds; %WORD,WORD = all.

A contestant must: listen on 127.0.0.1:{http_port} (and, with feature tls,
127.0.0.1:{tls_port} with {cert}/{key}, ALPN h2 for feature h2), run in the
foreground, and stop on SIGTERM.  Python 3.9+, standard library only, Linux.
"""
from __future__ import annotations

import argparse
import glob
import http.client
import json
import os
import platform
import re
import resource
import shlex
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")
HOST = "localhost"            # Host header and SNI used by every client
CONNS_MAX = 9000              # client connections that a proxy is configured for, unless --idle-conns asks for more
SMALL, LARGE, POST = 1024, 100 * 1024, 16 * 1024

# --------------------------------------------------------------------------
# contestants
# --------------------------------------------------------------------------

NGINX = """
%root user root;
worker_processes {threads};
worker_rlimit_nofile 40000;
pid {dir}/nginx.pid;
error_log {dir}/error.log crit;
events { worker_connections {conns_max}; }
http {
  access_log off;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  keepalive_timeout 3600s; keepalive_requests 1000000000;
  tcp_nodelay on;
  client_body_buffer_size 64k;
%cache proxy_cache_path {dir}/cache levels=1:2 keys_zone=c:16m max_size=64m inactive=1h use_temp_path=off;
  upstream up {
%least least_conn;
%ring hash $http_x_key consistent;
    server {upstream};
    keepalive {keepalive}; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }
  server {
    listen 127.0.0.1:{http_port} reuseport backlog=4096;
%tls listen 127.0.0.1:{tls_port} ssl http2 reuseport backlog=4096;
%tls ssl_certificate {cert}; ssl_certificate_key {key}; ssl_session_cache shared:S:10m;
    location / {
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
%cache proxy_cache c;
    }
  }
}
"""

LB = """
[server]
workers = {threads}
connections_max = {conns_max}
connections_per_client_max = {conns_max}
requests_per_connection_max = 1000000000
keep_alive_timeout = "1h"

[admin]
enabled = false

[access_log]
enabled = false

[[listener]]
bind = "127.0.0.1:{http_port}"

%tls [[listener]]
%tls bind = "127.0.0.1:{tls_port}"
%tls [listener.tls]
%tls certificates = [{ cert = "{cert}", key = "{key}" }]

[[service]]
name = "up"
hosts = ["*"]

[service.balance]
policy = "{policy}"
%keyed hash = ["header:{key_header}"]

%fastest [service.health]
%fastest enabled = true
%fastest path = "/1k"

[service.keep_alive]
idle_max = {keepalive}
idle_timeout = "1h"

[[service.pool]]
backends = [
  { url = "http://{upstream}" },
]
"""

HAPROXY_HEAD = """
global
  nbthread {threads}
  maxconn {conns_max}
  no strict-limits
  ssl-server-verify none
  tune.ssl.cachesize 20000
defaults
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  timeout http-keep-alive 3600s
"""

HAPROXY = HAPROXY_HEAD + """
  mode http
  option forwardfor
  http-reuse always
%cache cache c
%cache   total-max-size 16
%cache   max-age 3600
frontend f
  bind 127.0.0.1:{http_port} backlog 4096
%tls   bind 127.0.0.1:{tls_port} ssl crt {pem} alpn h2,http/1.1 backlog 4096
%cache   http-request cache-use c
%cache   http-response cache-store c
  default_backend b
backend b
%rr   balance roundrobin
%least   balance leastconn
%ring   balance hdr({key_header})
%ring   hash-type consistent
  server s{i} {upstream}
"""

L4 = HAPROXY_HEAD + """
  mode tcp
frontend f
  bind 127.0.0.1:{http_port} backlog 4096
%tls   bind 127.0.0.1:{tls_port} ssl crt {pem} backlog 4096
  default_backend b
backend b
%rr   balance roundrobin
%least   balance leastconn
  server s{i} {upstream}
"""

ENVOY_HCM = """
        filters:
        - name: envoy.filters.network.http_connection_manager
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: in
            codec_type: AUTO
            use_remote_address: true
            generate_request_id: false
            route_config:
              virtual_hosts:
              - name: all
                domains: ["*"]
                routes:
                - match: { prefix: "/" }
                  route: { cluster: up, timeout: 0s }
            http_filters:
            - name: envoy.filters.http.router
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"""

ENVOY = """
static_resources:
  listeners:
  - name: plain
    address: { socket_address: { address: 127.0.0.1, port_value: {http_port} } }
    tcp_backlog_size: 4096
    filter_chains:
      -""" + ENVOY_HCM.lstrip("\n").replace("        filters", " filters", 1) + """
%tls   - name: tls
%tls     address: { socket_address: { address: 127.0.0.1, port_value: {tls_port} } }
%tls     tcp_backlog_size: 4096
%tls     filter_chains:
%tls       - transport_socket:
%tls           name: envoy.transport_sockets.tls
%tls           typed_config:
%tls             "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
%tls             common_tls_context:
%tls               alpn_protocols: ["h2", "http/1.1"]
%tls               tls_certificates:
%tls               - certificate_chain: { filename: {cert} }
%tls                 private_key: { filename: {key} }
""" + "".join("%tls " + l + "\n" for l in ENVOY_HCM.strip("\n").split("\n")) + """
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 5s
%rr     lb_policy: ROUND_ROBIN
%least     lb_policy: LEAST_REQUEST
    circuit_breakers:
      thresholds:
      - { max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: {upstream_host}, port_value: {upstream_port} } } }
"""

CADDY = """
{
  admin off
  auto_https off
  log {
    level ERROR
  }
  servers {
    protocols h1 h2
  }
}
(lb) {
  reverse_proxy {upstreams_space} {
%rr     lb_policy round_robin
%least     lb_policy least_conn
    transport http {
      keepalive 1h
      keepalive_idle_conns 10000
      keepalive_idle_conns_per_host 1024
    }
  }
}
http://:{http_port} {
  bind 127.0.0.1
  import lb
}
%tls https://:{tls_port} {
%tls   bind 127.0.0.1
%tls   tls {cert} {key}
%tls   import lb
%tls }
"""

BARE = """
127.0.0.1:{http_port}
{upstream}
"""

PINGORA = """
http=127.0.0.1:{http_port}
%tls tls=127.0.0.1:{tls_port}
cert={cert}
key={key}
threads={threads}
upstream={upstream}
"""

SOZU = """
command_socket = "{dir}/sozu.sock"
saved_state = "{dir}/state.json"
log_level = "error"
log_target = "stderr"
worker_count = {threads}
worker_automatic_restart = false
max_connections = {conns_max}
max_buffers = 20000
buffer_size = 16393
handle_process_affinity = false
front_timeout = 3600
back_timeout = 3600

[[listeners]]
protocol = "http"
address = "127.0.0.1:{http_port}"

%tls [[listeners]]
%tls protocol = "https"
%tls address = "127.0.0.1:{tls_port}"
%tls tls_versions = ["TLS_V12", "TLS_V13"]

[clusters.up]
protocol = "http"
%rr load_balancing = "ROUND_ROBIN"
%least load_balancing = "LEAST_LOADED"
frontends = [
  { address = "127.0.0.1:{http_port}", hostname = "localhost" },
%tls { address = "127.0.0.1:{tls_port}", hostname = "localhost", certificate = "{cert}", key = "{key}", certificate_chain = "{cert}" },
]
backends = [
  { address = "{upstream}" },
]
"""

VARNISH = """
vcl 4.1;
import directors;
backend b{i} { .host = "{upstream_host}"; .port = "{upstream_port}"; }
sub vcl_init {
  new up = directors.round_robin();
  up.add_backend(b{i});
}
sub vcl_recv { set req.backend_hint = up.backend(); }
"""

UPSTREAM = """
%root user root;
worker_processes {threads};
worker_rlimit_nofile 40000;
pid {dir}/nginx.pid;
error_log {dir}/error.log crit;
events { worker_connections 39000; }
http {
  access_log off;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  keepalive_timeout 3600s; keepalive_requests 1000000000;
  sendfile on; tcp_nopush on; open_file_cache max=100 inactive=1h; etag off;
  default_type application/octet-stream;
  server {
    listen {upstream_port_bind} backlog=4096;
    root {shm};
    location = /1k { return 200 "{body1k}"; }
    location = /cache { add_header Cache-Control "public, max-age=3600"; return 200 "{body1k}"; }
    location = /post { client_max_body_size 10m; return 200 "ok"; }
    location = /stub { stub_status; }
  }
}
"""


@dataclass
class Contestant:
    """One row of the table: how to configure, start and recognise a proxy."""
    name: str
    cmd: str                                    # templated, split with shlex
    template: str = ""
    config_name: str = "config"
    features: Tuple[str, ...] = ("h1",)         # h1 tls h2 cache pool least
    binary: Tuple[str, ...] = ()                # candidates: names or globs, first found -> {bin}
    check: str = ""                             # optional config check command, run before start
    env: Dict[str, str] = field(default_factory=dict)
    dirs: Tuple[str, ...] = ()
    skip: Tuple[str, ...] = ()                  # workloads that make no sense for it
    note: str = ""

    def find(self) -> Optional[str]:
        if not self.binary:
            return ""
        for cand in self.binary:
            cand = os.path.expanduser(os.path.expandvars(cand))
            if "/" in cand:
                hits = sorted(glob.glob(cand if cand.startswith("/") else os.path.join(HERE, cand)))
                if hits:
                    return hits[0]
            elif shutil.which(cand):
                return shutil.which(cand)
        return None


# Rows with a policy of lb's own name. Peers have only those of their features.
KEYED = ("ring", "maglev", "rendezvous", "java-hash-modulo", "sha256-modulo", "hash31-modulo")
POLICIES = ("weighted-random", "least-request-exact", "peak-ewma", "prequal", "fastest", "performance",
            "performance-naive", "health-score", "first") + KEYED
KEY_HEADER, KEYS = "x-key", 4096                # keyed policies: so many keys in turn, written before the load starts

LB_BINARY = ("$LB_BIN",) + tuple(f"{target}/{profile}/lb-server" for profile in ("dist", "release")
                                 for target in ("$CARGO_TARGET_DIR", "../../target"))
FULL = ("h1", "tls", "h2", "pool", "least")
CONTESTANTS: List[Contestant] = [
    Contestant("direct", "", features=("h1",), skip=("idle",), note="no proxy: load generator straight to upstream"),
    Contestant("l4-relay", "{bin} -db -q -f {config}", L4, "haproxy.cfg", ("h1", "tls"), ("haproxy", "/usr/sbin/haproxy"),
               note="haproxy mode tcp (terminates TLS in the tls rows): the physical floor"),
    Contestant("haproxy", "{bin} -db -q -f {config}", HAPROXY, "haproxy.cfg", FULL + ("cache", "ring"),
               ("haproxy", "/usr/sbin/haproxy"), check="{bin} -c -q -f {config}"),
    Contestant("lb", "{bin} --config {config}", LB, "lb.toml", FULL + POLICIES, LB_BINARY, check="{bin} --check {config}"),
    Contestant("lb-log", "{bin} --config {config}", LB.replace("[access_log]\nenabled = false", "[access_log]\nenabled = true"),
               "lb.toml", ("h1", "tls", "h2"), LB_BINARY, check="{bin} --check {config}", skip=("idle", "idle-tls"),
               note="lb with its access log on, written to a file"),
    Contestant("nginx", "{bin} -p {dir} -c {config} -g 'daemon off;'", NGINX, "nginx.conf", FULL + ("cache", "ring"),
               ("nginx", "/usr/sbin/nginx"), check="{bin} -t -q -p {dir} -c {config}"),
    Contestant("envoy", "{bin} -c {config} --concurrency {threads} --disable-hot-restart --log-level error", ENVOY,
               "envoy.yaml", FULL,
               ("$ENVOY_BIN", "venv/lib/python3*/site-packages/envoy/_bin/envoy",
                sys.prefix + "/lib/python3*/site-packages/envoy/_bin/envoy", "envoy")),
    Contestant("caddy", "{bin} run --adapter caddyfile --config {config}", CADDY, "Caddyfile", FULL, ("caddy",),
               env={"GOMAXPROCS": "{threads}", "HOME": "{dir}", "XDG_DATA_HOME": "{dir}", "XDG_CONFIG_HOME": "{dir}"}),
    Contestant("pingora", "{bin} {config}", PINGORA, "pingora.conf", ("h1", "tls", "h2", "pool"),
               ("$PINGORA_BIN", "pingora-lb/target/release/pingora-lb")),
    Contestant("bare", "{bin} {config} {threads}", BARE, "bare.conf", ("pool",),
               ("bare-relay/target/release/bare-relay",), note="one read and one write a way, no HTTP: what kept connections cost the kernel"),
    Contestant("sozu", "{bin} start -c {config}", SOZU, "sozu.toml", FULL, ("tools/bin/sozu", "sozu")),
    Contestant("varnish", "{bin} -F -j none -f {config} -a 127.0.0.1:{http_port} -n {dir}/vd -s malloc,128m "
               "-p thread_pools={threads}", VARNISH, "default.vcl", ("cache",), ("varnishd", "/usr/sbin/varnishd"),
               dirs=("vd",), note="cache anchor"),
]

# --------------------------------------------------------------------------
# workloads
# --------------------------------------------------------------------------


@dataclass
class Workload:
    name: str
    title: str
    tool: str                    # wrk | h2load | rate | idle
    path: str = "/1k"
    need: Tuple[str, ...] = ("h1",)
    size: int = SMALL            # expected response body size
    conns: int = 64
    post: int = 0
    close: bool = False
    tls: bool = False
    cache: bool = False
    algo: str = "rr"
    endpoints: int = 0           # 0: the plain upstream list


POOLS = (3, 100, 1000)
WORKLOADS: List[Workload] = [
    Workload("small", "GET 1 KiB, HTTP/1.1 keep-alive, 64 connections", "wrk"),
    Workload("large", "GET 100 KiB, HTTP/1.1 keep-alive, 64 connections", "wrk", "/100k", size=LARGE),
    Workload("post", "POST 16 KiB (discarded upstream), keep-alive, 64 connections", "wrk", "/post", size=2, post=POST),
    Workload("close", "GET 1 KiB, new client connection per request, 64 at a time", "wrk", close=True),
    Workload("tls", "GET 1 KiB over TLS (ECDSA P-256), HTTP/1.1 keep-alive, 64 connections", "wrk", need=("tls",), tls=True),
    Workload("tls-large", "GET 100 KiB over TLS, HTTP/1.1 keep-alive, 64 connections", "wrk", "/100k", need=("tls",),
             size=LARGE, tls=True),
    Workload("h2", "GET 1 KiB, HTTP/2 over TLS in, HTTP/1.1 out, 16 connections x 10 streams", "h2load", need=("h2",),
             tls=True, conns=16),
    Workload("cache", "GET 1 KiB served from the proxy's cache, 64 connections", "wrk", "/cache", need=("cache",), cache=True),
    Workload("rate", "GET 1 KiB at a fixed rate, keep-alive, 64 connections", "rate"),
    Workload("rate-tls", "GET 1 KiB over TLS at a fixed rate, HTTP/1.1 keep-alive, 64 connections", "rate", need=("tls",), tls=True),
    Workload("idle", "memory per idle keep-alive connection (one request made on each)", "idle"),
    Workload("idle-tls", "memory per idle TLS HTTP/1.1 connection (one request made on each)", "idle", need=("tls",), tls=True),
] + [Workload(f"pool-{a}-{n}", f"GET 1 KiB, {n} upstream endpoints, {t}", "wrk", need=("pool" if a == "rr" else "least",),
             algo=a, endpoints=n)
     for a, t in (("rr", "round robin"), ("least", "least connections (lb: least-request, of two)")) for n in POOLS
] + [Workload(f"pool-{a}-{n}", f"GET 1 KiB, {n} upstream endpoints, {a}" + (", by a header of 4,096 values" if a in KEYED else ""),
              "wrk", need=(a,), algo=a, endpoints=n) for a in POLICIES for n in POOLS]

# --------------------------------------------------------------------------
# templates
# --------------------------------------------------------------------------


class Env:
    """Values the templates of one cell can use."""

    def __init__(self, d, http_port, tls_port, ups, certs, threads, conds):
        self.ups, self.conds = ups, set(conds)
        if os.geteuid() == 0:
            self.conds.add("root")
        if self.conds & set(KEYED):
            self.conds.add("keyed")
        policy = next((p for p in POLICIES if p in self.conds), "least-request" if "least" in self.conds else "round-robin")
        addr = [f"{h}:{p}" for h, p in ups]
        self.vals = {
            "dir": d, "http_port": http_port, "tls_port": tls_port, "threads": threads,
            "cert": certs["cert"], "key": certs["key"], "pem": certs["pem"],
            "upstreams_csv": ",".join(addr), "upstreams_space": " ".join(addr), "upstreams_json": json.dumps(addr),
            "n_upstreams": len(ups), "keepalive": max(128, 2 * len(ups)), "host": HOST,
            "policy": policy, "key_header": KEY_HEADER, "conns_max": CONNS_MAX,
        }

    def fill(self, text: str, extra: Optional[dict] = None) -> str:
        vals = {**self.vals, **(extra or {})}
        return re.sub(r"\{(\w+)\}", lambda m: str(vals[m.group(1)]) if m.group(1) in vals else m.group(0), text)

    def render(self, template: str) -> str:
        out = []
        for line in template.split("\n"):
            m = re.match(r"%(!?[\w,!]+) ?(.*)$", line)
            if m:
                if not all((w[1:] not in self.conds) if w.startswith("!") else (w in self.conds)
                           for w in m.group(1).split(",")):
                    continue
                line = m.group(2)
            if re.search(r"\{upstream(_host|_port)?\}", line):
                out += [self.fill(line, {"upstream": f"{h}:{p}", "upstream_host": h, "upstream_port": p, "i": i})
                        for i, (h, p) in enumerate(self.ups)]
            elif "{i}" in line:
                out += [self.fill(line, {"i": i}) for i in range(len(self.ups))]
            else:
                out.append(self.fill(line))
        return "\n".join(out)


# --------------------------------------------------------------------------
# /proc accounting
# --------------------------------------------------------------------------


def children_map() -> Dict[int, List[int]]:
    kids: Dict[int, List[int]] = {}
    for e in os.listdir("/proc"):
        if e.isdigit():
            try:
                with open(f"/proc/{e}/stat") as f:
                    ppid = int(f.read().rsplit(")", 1)[1].split()[1])
                kids.setdefault(ppid, []).append(int(e))
            except (OSError, IndexError, ValueError):
                pass
    return kids


def tree(pid: int) -> List[int]:
    kids, todo, out = children_map(), [pid], []
    while todo:
        p = todo.pop()
        out.append(p)
        todo += kids.get(p, [])
    return out


def cpu_ticks(pids) -> int:
    """utime+stime (exited threads included) plus reaped children, in ticks."""
    total = 0
    for p in pids:
        try:
            with open(f"/proc/{p}/stat") as f:
                s = f.read().rsplit(")", 1)[1].split()
            total += sum(int(x) for x in s[11:15])
        except OSError:
            pass
    return total


def user_ticks(pids) -> int:
    """utime alone; the kernel samples the user/sys split per tick, so it is rougher than the sum."""
    total = 0
    for p in pids:
        try:
            with open(f"/proc/{p}/stat") as f:
                total += int(f.read().rsplit(")", 1)[1].split()[11])
        except OSError:
            pass
    return total


def mem_kb(pids) -> Dict[str, int]:
    out = {"rss": 0, "pss": 0, "peak": 0}
    for p in pids:
        try:
            with open(f"/proc/{p}/status") as f:
                for l in f:
                    if l.startswith("VmRSS:"):
                        out["rss"] += int(l.split()[1])
                    elif l.startswith("VmHWM:"):
                        out["peak"] += int(l.split()[1])
            with open(f"/proc/{p}/smaps_rollup") as f:
                for l in f:
                    if l.startswith("Pss:"):
                        out["pss"] += int(l.split()[1])
        except OSError:
            pass
    return out


def switches(pids) -> int:
    total = 0
    for p in pids:
        for t in glob.glob(f"/proc/{p}/task/*/status"):
            try:
                with open(t) as f:
                    for l in f:
                        if "ctxt_switches" in l:
                            total += int(l.split()[1])
            except OSError:
                pass
    return total


def system_ticks() -> Tuple[int, int]:
    """(busy, steal) ticks of the whole machine."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    return v[0] + v[1] + v[2] + v[5] + v[6], v[7]


# --------------------------------------------------------------------------
# processes
# --------------------------------------------------------------------------

RUNNING: List[subprocess.Popen] = []


def start(argv, cwd, env, log) -> subprocess.Popen:
    f = open(log, "ab")
    p = subprocess.Popen(argv, cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
    f.close()
    RUNNING.append(p)
    return p


def stop(p: subprocess.Popen) -> None:
    """Stop only what we started: the process and its own descendants, by pid."""
    pids = tree(p.pid) if p.poll() is None else []
    if p.poll() is None:
        p.terminate()
        try:
            p.wait(3)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait(3)
    for q in pids[1:]:
        for _ in range(20):
            if not os.path.exists(f"/proc/{q}"):
                break
            time.sleep(0.05)
        else:
            try:
                os.kill(q, signal.SIGKILL)
            except OSError:
                pass
    if p in RUNNING:
        RUNNING.remove(p)


def tls_ctx() -> ssl.SSLContext:
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


def probe(port: int, w: Workload, timeout=2.0) -> Tuple[bool, str]:
    """One real request; True when status and body size are right."""
    s = None
    try:
        s = socket.create_connection(("127.0.0.1", port), timeout)
        cipher = ""
        if w.tls:
            s = tls_ctx().wrap_socket(s, server_hostname=HOST)
            cipher = "/".join(str(x) for x in (s.version(), s.cipher()[0]))
        body = b"x" * w.post
        s.sendall((f"{'POST' if w.post else 'GET'} {w.path} HTTP/1.1\r\nHost: {HOST}\r\n"
                   + (f"Content-Length: {w.post}\r\n" if w.post else "") + "\r\n").encode() + body)
        r = http.client.HTTPResponse(s)
        r.begin()
        data = r.read()
        ok = r.status == 200 and len(data) == w.size
        return ok, cipher if ok else f"status {r.status}, {len(data)} bytes"
    except (OSError, http.client.HTTPException, ValueError) as e:
        return False, repr(e)
    finally:
        if s:
            s.close()


# --------------------------------------------------------------------------
# load generators: each returns {requests, rps, errors, p50_us, ...}
# --------------------------------------------------------------------------

WRK_LUA = r"""
done = function(s, l, r)
  io.stderr:write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"bytes":%d,"e_connect":%d,"e_read":%d,"e_write":%d,"e_status":%d,' ..
    '"e_timeout":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d,"max_us":%d}\n',
    s.requests, s.duration, s.bytes, s.errors.connect, s.errors.read, s.errors.write, s.errors.status,
    s.errors.timeout, l:percentile(50), l:percentile(99), l:percentile(99.9), l.max))
end
"""

# Made once, so that the load generator does no more per request than without keys.
WRK_KEYS = r"""
local made, at = {{}}, 0
init = function(args)
  for i = 1, {keys} do
    wrk.headers["{header}"] = "client-" .. i
    made[i] = wrk.format()
  end
end
request = function()
  at = at % {keys} + 1
  return made[at]
end
"""


def run_tool(argv, seconds) -> Tuple[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    r = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if r.returncode != 0:
        raise RuntimeError(f"{argv[0]} exit {r.returncode}: {r.stderr[-300:]} {r.stdout[-300:]}")
    return r.stdout + r.stderr, cpu


def load_wrk(w: Workload, port: int, seconds: float, o, tmp) -> dict:
    lua = os.path.join(tmp, f"{w.name}.lua")
    with open(lua, "w") as f:
        if w.post:
            f.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {w.post})\n')
        if w.algo in KEYED:
            f.write(WRK_KEYS.format(header=KEY_HEADER, keys=KEYS))
        f.write(WRK_LUA)
    url = f"{'https' if w.tls else 'http'}://{HOST}:{port}{w.path}"
    argv = ["wrk", f"-t{o.gen_threads}", f"-c{w.conns}", f"-d{max(1, round(seconds))}s", "--timeout", "5s", "-s", lua]
    if w.close:
        argv += ["-H", "Connection: close"]
    out, cpu = run_tool(argv + [url], seconds)
    r = json.loads(re.search(r"RESULT (\{.*\})", out).group(1))
    r["errors"] = sum(r.pop(k) for k in ("e_connect", "e_read", "e_write", "e_status", "e_timeout"))
    r["rps"] = r["requests"] / (r.pop("duration_us") / 1e6)
    r["gen_cpu_s"] = cpu
    return r


def h2load_requests(out: str) -> dict:
    m = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    ok2xx = int(re.search(r"status codes: (\d+) 2xx", out).group(1))
    fin = float(re.search(r"finished in ([\d.]+)s", out).group(1))
    n = int(m.group(2))
    return {"requests": n, "rps": n / fin, "errors": int(m.group(3)) + max(0, n - ok2xx)}


def load_h2load(w: Workload, port: int, seconds: float, o, tmp) -> dict:
    argv = ["h2load", "-t", str(o.gen_threads), "-c", str(w.conns), "-m", "10", "-D", str(max(1, round(seconds))),
            f"--connect-to=127.0.0.1:{port}", f"https://{HOST}:{port}{w.path}"]
    out, cpu = run_tool(argv, seconds)
    if "Application protocol: h2" not in out:
        raise RuntimeError("h2 was not negotiated")
    r = h2load_requests(out)
    r["gen_cpu_s"] = cpu
    return r


def load_rate(w: Workload, port: int, seconds: float, o, tmp) -> dict:
    url = f"{'https' if w.tls else 'http'}://{HOST}:{port}{w.path}"
    oha = next((b for b in (os.path.join(HERE, "tools/bin/oha"), shutil.which("oha")) if b and os.path.exists(b)), None)
    if oha and o.rate_tool in ("auto", "oha"):
        argv = [oha, "--no-tui", "--output-format", "json", "--latency-correction", "--disable-compression", "-w",
                "-z", f"{max(1, round(seconds))}s", "-q", str(o.rate), "-c", str(w.conns), "--ipv4"] + (["--insecure"] if w.tls else []) + [url]
        out, cpu = run_tool(argv, seconds)
        j = json.loads(out[out.index("{"):out.rindex("}") + 1])
        n = sum(j["statusCodeDistribution"].values())
        p = j["latencyPercentiles"]
        return {"requests": n, "rps": j["summary"]["requestsPerSec"], "gen_cpu_s": cpu, "tool": "oha",
                "errors": n - j["statusCodeDistribution"].get("200", 0) + sum(
                    v for k, v in j.get("errorDistribution", {}).items() if "deadline" not in k),
                "p50_us": p["p50"] * 1e6, "p99_us": p["p99"] * 1e6, "p999_us": p["p99.9"] * 1e6,
                "max_us": j["summary"]["slowest"] * 1e6}
    log = os.path.join(tmp, "h2load.log")
    if os.path.exists(log):
        os.unlink(log)
    argv = ["h2load", "--h1", "-t", "1", "-c", str(w.conns), "-D", str(max(1, round(seconds))),
            f"--rps={o.rate / w.conns:.3f}", f"--log-file={log}", f"--connect-to=127.0.0.1:{port}", url]
    out, cpu = run_tool(argv, seconds)
    r = h2load_requests(out)
    with open(log) as f:
        us = sorted(int(l.split("\t")[2]) for l in f)
    r.update(gen_cpu_s=cpu, tool="h2load", **{k: us[min(len(us) - 1, int(len(us) * q))] for k, q in
                                              (("p50_us", .5), ("p99_us", .99), ("p999_us", .999))}, max_us=us[-1])
    return r


def load_idle(w: Workload, port: int, conns: int, pid: int) -> dict:
    """Open conns connections, one request on each, then leave them idle."""
    pids = tree(pid)
    base = mem_kb(pids)
    base_cpu = cpu_ticks(pids)
    req = f"GET /1k HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    ctx, socks, bad = tls_ctx() if w.tls else None, [], 0
    t0 = time.time()
    try:
        for _ in range(conns):
            if time.time() - t0 > 60:
                break
            try:
                s = socket.create_connection(("127.0.0.1", port), 5)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)      # else 40 ms each after the handshake
                if ctx:
                    s = ctx.wrap_socket(s, server_hostname=HOST)
                s.sendall(req)
                buf = b""
                while b"\r\n\r\n" not in buf or len(buf.split(b"\r\n\r\n", 1)[1]) < SMALL:
                    d = s.recv(8192)
                    if not d:
                        raise OSError("closed")
                    buf += d
                socks.append(s)
            except OSError:
                bad += 1
                if bad > 20:
                    break
        took = time.time() - t0
        cpu = cpu_ticks(pids) - base_cpu
        time.sleep(2)
        full = mem_kb(tree(pid))
        alive = 0
        for s in socks:                       # still open from the server's side?
            s.setblocking(False)
            try:
                s.recv(1)
            except (BlockingIOError, ssl.SSLWantReadError):
                alive += 1
            except OSError:
                pass
        idle0 = cpu_ticks(tree(pid))
        time.sleep(1)
        idle_cpu = cpu_ticks(tree(pid)) - idle0
    finally:
        for s in socks:
            s.close()
    time.sleep(1)
    after = mem_kb(tree(pid))
    n = max(1, len(socks))
    return {"requests": len(socks), "errors": bad + len(socks) - alive, "rps": len(socks) / took, "conns": len(socks),
            "alive": alive, "base_rss_kb": base["rss"], "full_rss_kb": full["rss"], "after_rss_kb": after["rss"],
            "kb_per_conn": (full["rss"] - base["rss"]) / n, "pss_kb_per_conn": (full["pss"] - base["pss"]) / n,
            "idle_cpu_ms_per_s": idle_cpu * 1000 / TICK, "conn_cpu_us": cpu * 1e6 / TICK / n}


# --------------------------------------------------------------------------
# one cell
# --------------------------------------------------------------------------


class Bench:
    def __init__(self, o):
        self.o = o
        self.tmp = tempfile.mkdtemp(prefix="proxybench.", dir=o.tmp)
        os.chmod(self.tmp, 0o755)
        self.shm = tempfile.mkdtemp(prefix="proxybench.", dir="/dev/shm" if os.path.isdir("/dev/shm") else self.tmp)
        os.chmod(self.shm, 0o755)
        with open(os.path.join(self.shm, "100k"), "wb") as f:
            f.write((b"0123456789abcdef" * (LARGE // 16)))
        self.certs = self.make_certs()
        self.cell = 0
        self.up: Optional[subprocess.Popen] = None
        self.up_ports = [o.base_port + 90 + i for i in range(o.upstreams)]

    def make_certs(self):
        c = {k: os.path.join(self.tmp, v) for k, v in (("cert", "cert.pem"), ("key", "key.pem"), ("pem", "both.pem"))}
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1",
                        "-keyout", c["key"], "-out", c["cert"]], check=True, capture_output=True)
        os.chmod(c["key"], 0o644)
        with open(c["pem"], "w") as out:
            for k in ("cert", "key"):
                with open(c[k]) as f:
                    out.write(f.read())
        return c

    def start_upstream(self, wildcard: bool):
        d = os.path.join(self.tmp, "upstream")
        os.makedirs(d, exist_ok=True)
        e = Env(d, 0, 0, [], self.certs, self.o.upstream_workers, [])
        bind = "0.0.0.0" if wildcard else "127.0.0.1"
        # 100 KiB body comes from tmpfs through sendfile, 1 KiB from the config
        text = UPSTREAM.replace("listen {upstream_port_bind} backlog=4096;",
                                "\n".join(f"    listen {bind}:{p} backlog=4096;" for p in self.up_ports))
        conf = os.path.join(d, "nginx.conf")
        with open(conf, "w") as f:
            f.write(e.render(text.replace("{body1k}", "x" * SMALL).replace("{shm}", self.shm)))
        binary = shutil.which("nginx") or "/usr/sbin/nginx"
        self.up = start([binary, "-p", d, "-c", conf, "-g", "daemon off;"], d, {}, os.path.join(d, "log"))
        for _ in range(100):
            if probe(self.up_ports[0], WORKLOADS[0])[0]:
                return
            time.sleep(0.05)
        raise SystemExit("upstream nginx did not start; see " + d)

    def up_stats(self) -> Tuple[int, int]:
        c = http.client.HTTPConnection("127.0.0.1", self.up_ports[0], timeout=3)
        c.request("GET", "/stub")
        m = re.search(r"\n\s*(\d+) (\d+) (\d+)", c.getresponse().read().decode())
        c.close()
        return int(m.group(1)), int(m.group(3))          # accepted connections, requests

    def endpoints(self, n: int):
        if not n:
            return [("127.0.0.1", p) for p in self.up_ports]
        return [(f"127.0.{1 + i // 250}.{1 + i % 250}", self.up_ports[i % len(self.up_ports)]) for i in range(n)]

    def run(self, c: Contestant, w: Workload, rnd: int) -> dict:
        o = self.o
        self.cell += 1
        hp = o.base_port + 100 + 2 * (self.cell % 400)
        tp = hp + 1
        row = {"workload": w.name, "contestant": c.name, "round": rnd, "ok": False, "when": time.strftime("%FT%TZ", time.gmtime())}
        d = os.path.join(self.tmp, f"{c.name}.{w.name}.{rnd}")
        for sub in ("",) + c.dirs:
            os.makedirs(os.path.join(d, sub), exist_ok=True)
        conds = [w.algo, "cache" if w.cache else "nocache"] + (["tls", "h2"] if w.tls else [])
        env = Env(d, hp, tp, self.endpoints(w.endpoints), self.certs, o.threads, conds)
        conf = os.path.join(d, c.config_name)
        env.vals.update(config=conf, bin=c.find() or "", conns_max=max(CONNS_MAX, o.idle_conns + 1000))
        proxy, log = None, os.path.join(d, "log")
        try:
            if c.name == "direct":
                port, pids = self.up_ports[0], []
            else:
                with open(conf, "w") as f:
                    f.write(env.render(c.template))
                if c.check:
                    r = subprocess.run(shlex.split(env.fill(c.check)), capture_output=True, text=True, cwd=d)
                    if r.returncode:
                        raise RuntimeError("config check: " + (r.stderr or r.stdout)[-400:])
                t0 = time.time()
                argv = shlex.split(env.fill(c.cmd))
                if o.proxy_cpus:
                    argv = ["taskset", "-c", o.proxy_cpus] + argv
                proxy = start(argv, o.cwd if c.note == "extra" else d, {k: env.fill(v) for k, v in c.env.items()}, log)
                port, ok, why = (tp if w.tls else hp), False, ""
                while time.time() - t0 < 20:
                    ok, why = probe(port, w)
                    if ok or proxy.poll() is not None:
                        break
                    time.sleep(0.05)
                if not ok:
                    tail = open(log, errors="replace").read()[-600:]
                    raise RuntimeError(f"not ready: {why}; exit={proxy.poll()}; log: {tail}")
                row["start_ms"] = round((time.time() - t0) * 1000)
                row["cipher"] = why
                pids = tree(proxy.pid)
            gen = {"wrk": load_wrk, "h2load": load_h2load, "rate": load_rate}.get(w.tool)
            if gen is None:
                for _ in range(20):
                    probe(port, w)
                row.update(load_idle(w, port, o.idle_conns, proxy.pid))
                row["ok"] = row["alive"] >= 0.99 * o.idle_conns
                return row
            gen(w, port, o.warmup, o, self.tmp)
            pids = tree(proxy.pid) if proxy else []
            ups = tree(self.up.pid)
            a0, r0 = self.up_stats()
            sys0, steal0 = system_ticks()
            sw0, up0, us0, c0, t0 = switches(pids), cpu_ticks(ups), user_ticks(pids), cpu_ticks(pids), time.monotonic()
            row.update(gen(w, port, o.seconds, o, self.tmp))
            wall = time.monotonic() - t0
            c1, us1, up1, sw1 = cpu_ticks(pids), user_ticks(pids), cpu_ticks(ups), switches(pids)
            sys1, steal1 = system_ticks()
            a1, r1 = self.up_stats()
            n = max(1, row["requests"])
            mem = mem_kb(pids)
            row.update(
                cpu_s=(c1 - c0) / TICK, cpu_us=(c1 - c0) / TICK * 1e6 / n,
                user_us=(us1 - us0) / TICK * 1e6 / n, upstream_us=(up1 - up0) / TICK * 1e6 / n,
                gen_us=row["gen_cpu_s"] * 1e6 / n, wall_s=wall, switches_per_req=(sw1 - sw0) / n,
                up_reqs_per_req=(r1 - r0 - 1) / n, up_conns_per_req=(a1 - a0 - 1) / n,
                other_cpu_pct=100 * max(0.0, ((sys1 - sys0) - (c1 - c0) - (up1 - up0)) / TICK - row["gen_cpu_s"]) / wall
                / (os.cpu_count() or 1),
                busy_pct=100 * (sys1 - sys0) / TICK / wall / (os.cpu_count() or 1),
                steal_pct=100 * (steal1 - steal0) / TICK / wall / (os.cpu_count() or 1),
                rss_mb=mem["rss"] / 1024, pss_mb=mem["pss"] / 1024, peak_mb=mem["peak"] / 1024, procs=len(pids))
            row["ok"] = row["errors"] <= 0.001 * n
            if w.cache and c.name != "direct" and row["up_reqs_per_req"] > 0.01:
                row["ok"], row["error"] = False, "not served from cache"
            if proxy and proxy.poll() is not None:
                row["ok"], row["error"] = False, "proxy died"
        except (RuntimeError, OSError, subprocess.TimeoutExpired, ValueError, AttributeError, KeyError) as e:
            row["error"] = f"{type(e).__name__}: {e}"[:900]
        finally:
            if proxy:
                stop(proxy)
            if not o.keep and row.get("ok"):
                shutil.rmtree(d, ignore_errors=True)
        return row

    def close(self):
        for p in list(RUNNING):
            stop(p)
        shutil.rmtree(self.shm, ignore_errors=True)
        if not self.o.keep:
            shutil.rmtree(self.tmp, ignore_errors=True)


# --------------------------------------------------------------------------
# report
# --------------------------------------------------------------------------


def med(rows, k):
    v = [r[k] for r in rows if k in r]
    return statistics.median(v) if v else None


def rng(rows, k, f="{:.1f}"):
    v = [r[k] for r in rows if k in r]
    return f"{f.format(min(v))}–{f.format(max(v))}" if v else "–"


def num(x, f="{:.1f}"):
    return "–" if x is None else f.format(x)


def spread(rows, k):
    v = [r[k] for r in rows if k in r]
    return (max(v) - min(v)) / statistics.median(v) * 100 if len(v) > 1 and statistics.median(v) else None


def gathered(runs) -> Tuple[dict, dict]:
    """All rounds of each (workload, contestant), and those of them that count."""
    by: dict = {}
    for r in runs:
        by.setdefault((r["workload"], r["contestant"]), []).append(r)
    return by, {k: [r for r in v if r["ok"]] for k, v in by.items()}


def latency_table(ws, order, good, m) -> List[str]:
    """p50, p99 and p99.9 at the fixed rate, each beside the baseline's of the same run."""
    L, base = [], m["baseline"]
    for w in (w for w in ws if w.tool == "rate"):
        b = good.get((w.name, base))
        tools = sorted({r["tool"] for (n, _), rows in good.items() if n == w.name for r in rows if "tool" in r})
        L += [f"## Latency at {m['rate']}/s ({w.name}), µs, median of the rounds (ratio to {base})", "",
              f"Measured with {', '.join(tools) or 'nothing'}"
              + (", which does not correct for coordinated omission: a stall hides the requests that it held up."
                 if "h2load" in tools else ", corrected for coordinated omission."), "",
              "| | p50 | p99 | p99.9 | max | reached /s | errors | other CPU % |", "|---|" + "---:|" * 7]
        for c in order:
            g = good.get((w.name, c))
            if not g:
                continue
            cells = []
            for k in ("p50_us", "p99_us", "p999_us", "max_us"):
                v, of = med(g, k), med(b, k) if b else None
                cells.append(num(v, "{:,.0f}") + (f" ({v / of:.2f})" if v is not None and of and c != base else ""))
            L.append(f"| {c} | " + " | ".join(cells + [num(med(g, "rps"), "{:,.0f}"), str(sum(r["errors"] for r in g)),
                                                       num(med(g, "other_cpu_pct"))]) + " |")
        L.append("")
    return L


def pool_table(ws, order, good, by) -> List[str]:
    """What a request costs as the pool grows: a line for each policy and proxy, with the ratio to its smallest pool."""
    sizes = sorted({w.endpoints for w in ws if w.endpoints})
    if not sizes:
        return []
    L = ["## Pool size: proxy CPU µs per request (ratio to the smallest pool of the same line; new upstream connections per request)",
         "", "| policy | | " + " | ".join(f"{n} backends" for n in sizes) + " |", "|---|---|" + "---:|" * len(sizes)]
    for algo in dict.fromkeys(w.algo for w in ws if w.endpoints):
        names = {w.endpoints: w.name for w in ws if w.endpoints and w.algo == algo}
        for c in order:
            if not any((n, c) in by for n in names.values()):
                continue
            cells, least = [], None
            for n in sizes:
                g = good.get((names.get(n), c))
                if not g:
                    cells.append("fail" if by.get((names.get(n), c)) else "–")
                    continue
                v = med(g, "cpu_us")
                cells.append(f"{v:.1f} ({f'{v / least:.2f}; ' if least else ''}{med(g, 'up_conns_per_req'):.3f})")
                least = least or v
            L.append(f"| {algo} | {c} | " + " | ".join(cells) + " |")
    return L + [""]


def report(data: dict) -> str:
    runs, base = data["runs"], data["meta"]["baseline"]
    order = [c for c in data["meta"]["order"] if any(r["contestant"] == c for r in runs)]
    by, good = gathered(runs)
    ws = [w for w in WORKLOADS if any(k[0] == w.name for k in by)]
    L = ["# Reverse proxies side by side", ""]
    m = data["meta"]
    L += [f"{m['cpu']}, {m['ncpu']} CPUs, Linux {m['kernel']}; {m['threads']} workers/threads per proxy, upstream nginx "
          f"x{m['upstream_workers']} worker, {m['seconds']} s per cell, medians over rounds, contestants interleaved, "
          f"each cell a fresh proxy process. Last run {m['date']}.", ""]
    L += ["Versions: " + "; ".join(f"{k} {v}" for k, v in m["versions"].items()), ""]

    main = [w for w in ws if w.tool != "idle" and not w.endpoints]
    for title, stat in (("median of the rounds", lambda v: statistics.median(v)), ("lowest of the rounds", min)) if main else ():
        L += [f"## Proxy CPU, µs per request, {title} (ratio to {base})", "",
              "| | " + " | ".join(w.name for w in main) + " |", "|---|" + "---:|" * len(main)]
        for c in order:
            if c == "direct":
                continue
            cells = []
            for w in main:
                v, b = ([r["cpu_us"] for r in good.get((w.name, x), [])] for x in (c, base))
                if v:
                    cells.append(f"{stat(v):.1f}" + (f" ({stat(v) / stat(b):.2f})" if b else ""))
                else:
                    cells.append("fail" if by.get((w.name, c)) else "–")
            if any(x != "–" for x in cells):
                L.append(f"| {c} | " + " | ".join(cells) + " |")
        L.append("")
    if main:
        L += ["## Requests per second, median of the rounds", "",
              "| | " + " | ".join(w.name for w in main) + " |", "|---|" + "---:|" * len(main)]
        for c in order:
            cells = [num(med(good.get((w.name, c), []), "rps"), "{:,.0f}") for w in main]
            if any(x != "–" for x in cells):
                L.append(f"| {c} | " + " | ".join(cells) + " |")
        L.append("")

    idle = [w for w in ws if w.tool == "idle"]
    if idle:
        L += ["## Memory per idle client connection", "",
              "| | " + " | ".join(f"{w.name}: KiB/conn | base → full → after close, MiB | CPU to open, µs" for w in idle) + " |",
              "|---|" + "---:|" * (3 * len(idle))]
        for c in order:
            cells = []
            for w in idle:
                g = good.get((w.name, c))
                if g:
                    cells += [f"{med(g, 'kb_per_conn'):.2f}", " → ".join(f"{med(g, k) / 1024:.0f}" for k in
                              ("base_rss_kb", "full_rss_kb", "after_rss_kb")), f"{med(g, 'conn_cpu_us'):.0f}"]
                else:
                    cells += ["fail" if by.get((w.name, c)) else "–", "–", "–"]
            if any(x != "–" for x in cells):
                L.append(f"| {c} | " + " | ".join(cells) + " |")
        L.append("")

    L += latency_table(ws, order, good, m)
    L += pool_table(ws, order, good, by)
    L += ["## Each workload in full", ""]
    for w in ws:
        if w.tool == "idle":
            continue
        L += [f"### {w.name}: {w.title}" + (f" ({m['rate']}/s)" if w.tool == "rate" else ""), "",
              "| | CPU µs/req | min–max | of it user | ratio | req/s | min–max | p50 µs | p99 µs | p99.9 µs | peak RSS MiB | PSS MiB | "
              "ctx-sw/req | upstream reqs/req | upstream conns/req | errors | other CPU % |",
              "|---|" + "---:|" * 16]
        b = good.get((w.name, base))
        for c in order:
            rows = by.get((w.name, c))
            if not rows:
                continue
            g = good[(w.name, c)]
            if not g:
                L.append(f"| {c} | fail: {rows[-1].get('error', 'errors %s' % rows[-1].get('errors'))[:160]!r} |"
                         .replace("\n", " ") + " |" * 15)
                continue
            ratio = med(g, "cpu_us") / med(b, "cpu_us") if b and c != "direct" else None
            d = c == "direct"
            L.append("| " + " | ".join([
                c, "–" if d else num(med(g, "cpu_us"), "{:.2f}"), "–" if d else rng(g, "cpu_us"),
                "–" if d else num(med(g, "user_us")), num(ratio, "{:.2f}"),
                num(med(g, "rps"), "{:,.0f}"), rng(g, "rps", "{:,.0f}"), num(med(g, "p50_us"), "{:,.0f}"),
                num(med(g, "p99_us"), "{:,.0f}"), num(med(g, "p999_us"), "{:,.0f}"),
                "–" if d else num(med(g, "peak_mb")), "–" if d else num(med(g, "pss_mb")),
                "–" if d else num(med(g, "switches_per_req"), "{:.3f}"),
                num(med(g, "up_reqs_per_req"), "{:.3f}"), num(med(g, "up_conns_per_req"), "{:.4f}"),
                str(sum(r["errors"] for r in g)), num(med(g, "other_cpu_pct"))]) + " |")
        L.append("")

    cells = [spread(v, "cpu_us") for k, v in good.items() if k[1] != "direct" and v and "cpu_us" in v[0]]
    cells = sorted(x for x in cells if x is not None)
    rcells = sorted(x for x in (spread(v, "rps") for v in good.values() if v and "cpu_us" in v[0]) if x is not None)
    oth = [r["other_cpu_pct"] for r in runs if "other_cpu_pct" in r]
    stl = [r["steal_pct"] for r in runs if "steal_pct" in r]
    if cells:
        q = lambda v, p: v[min(len(v) - 1, int(len(v) * p))]
        L += ["## Noise", "",
              f"(max−min)/median over rounds, per cell: CPU/request median {q(cells, .5):.1f} %, 90th percentile "
              f"{q(cells, .9):.1f} %, worst {cells[-1]:.1f} %; throughput median {q(rcells, .5):.1f} %, 90th percentile "
              f"{q(rcells, .9):.1f} %, worst {rcells[-1]:.1f} %. CPU used by anything else on the machine during cells: median "
              f"{statistics.median(oth):.1f} %, worst {max(oth):.1f} %; stolen by the hypervisor: median "
              f"{statistics.median(stl):.1f} %, worst {max(stl):.1f} %.", ""]
    bad = [r for r in runs if not r["ok"]]
    if bad:
        L += ["## Failed cells", ""] + [f"* {r['workload']} / {r['contestant']} / round {r['round']}: "
                                        f"{r.get('error', 'errors=%s' % r.get('errors'))!r}"[:400] for r in bad] + [""]
    L += ["## How to read", "",
          "* CPU µs/req: utime+stime of the proxy's process tree / completed requests; loopback softirq work done in the "
          "proxy's context is inside it, the upstream's and the load generator's own CPU are not.",
          "* `rate` is the fairest CPU figure when throughputs differ much: at saturation a slower proxy batches more events "
          "per wake-up. Its latencies are corrected for coordinated omission when the tool is oha.",
          "* Interference only ever adds CPU time, so the lowest round is the better estimate on a busy machine; the median "
          "shows what was typical. A large gap between them for one proxy alone means its cost depends on scheduling.",
          "* Saturated p50/p99 describe queueing with every core busy, not the proxy alone.",
          "* peak RSS sums VmHWM over processes (shared pages count once per process); PSS counts shared pages once.",
          "* Kernel socket memory is in neither RSS nor PSS.", ""]
    return "\n".join(L)


def versions(cs) -> dict:
    out = {}
    for name, argv in (("wrk", ["wrk", "-v"]), ("h2load", ["h2load", "--version"])):
        try:
            r = subprocess.run(argv, capture_output=True, text=True)
            out[name] = (re.search(r"\d+\.\d+[\w.+-]*", r.stdout + r.stderr) or ["?"])[0]
        except OSError:
            pass
    args = {"nginx": "-v", "haproxy": "-v", "envoy": "--version", "caddy": "version", "varnish": "-V", "sozu": "--version"}
    for c in cs:
        b = c.find()
        if c.name in args and b:
            r = subprocess.run([b, args[c.name]], capture_output=True, text=True)
            line = next((l for l in (r.stdout + r.stderr).split("\n") if l.strip()), "")
            out[c.name] = re.sub(r".*?(\d+\.\d+(\.\d+)?[\w.+~-]*).*", r"\1", line)[:40] if re.search(r"\d+\.\d+", line) else line[:40]
            if c.name == "envoy":
                out[c.name] = (re.search(r"/(\d+\.\d+\.\d+)/", line) or [0, line])[1]
    try:
        with open(os.path.join(HERE, "pingora-lb/Cargo.lock")) as f:
            out["pingora"] = re.search(r'name = "pingora"\nversion = "([^"]+)"', f.read()).group(1)
    except (OSError, AttributeError):
        pass
    return out


def parse_extra(spec: str) -> Contestant:
    kv = {}
    for part in spec.split(";"):
        k, _, v = part.partition("=")
        kv.setdefault(k.strip(), v.strip())
    if "name" not in kv or "cmd" not in kv:
        raise SystemExit("--extra needs at least name= and cmd=")
    text = ""
    if kv.get("config_template"):
        with open(kv["config_template"]) as f:
            text = f.read()
    env = dict(x.split("=", 1) for x in kv.get("env", "").split(",") if "=" in x)
    base = os.path.basename(kv.get("config_template", "config"))
    return Contestant(kv["name"], kv["cmd"], text, kv.get("config_name", base),
                      tuple(kv.get("features", "h1,tls,h2,cache,pool,least").split(",")), env=env, note="extra")


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument("--workload", default="small,large,post,close,tls,h2,cache,rate", help="comma list, a prefix such as pool-*, or 'all'")
    ap.add_argument("--contestants", default="", help="comma list (default: every one installed); '-name' leaves one out")
    ap.add_argument("--extra", action="append", default=[], metavar="SPEC",
                    help="name=..;cmd=..;config_template=PATH[;features=h1,tls,h2,cache,pool,least][;env=K=V,..][;config_name=..]; "
                         "cmd runs in the current directory; repeatable")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--first-round", type=int, default=1, help="number of the first round; with --merge, adds rounds to earlier ones")
    ap.add_argument("--seconds", type=float, default=5)
    ap.add_argument("--warmup", type=float, default=1)
    ap.add_argument("--threads", type=int, default=2, help="workers/threads of each proxy")
    ap.add_argument("--gen-threads", type=int, default=1, help="threads of wrk/h2load")
    ap.add_argument("--upstreams", type=int, default=3)
    ap.add_argument("--upstream-workers", type=int, default=1)
    ap.add_argument("--rate", type=int, default=4000, help="requests per second in the rate workload")
    ap.add_argument("--latency", action="store_true",
                    help="also print the table of latencies at the fixed rate; adds the workload rate if no rate-* is chosen")
    ap.add_argument("--rate-tool", choices=("auto", "oha", "h2load"), default="auto")
    ap.add_argument("--idle-conns", type=int, default=5000)
    ap.add_argument("--proxy-cpus", default="", help="taskset list for the proxy, e.g. 0 (default: scheduler decides)")
    ap.add_argument("--base-port", type=int, default=21000)
    ap.add_argument("--baseline", default="haproxy")
    ap.add_argument("--out", default="results", help="writes OUT.json and OUT.md")
    ap.add_argument("--merge", action="store_true", help="keep other cells of an existing OUT.json")
    ap.add_argument("--report-only", action="store_true", help="re-render OUT.md from OUT.json")
    ap.add_argument("--tmp", default=None, help="parent of the scratch directory")
    ap.add_argument("--keep", action="store_true", help="keep configs and logs")
    ap.add_argument("--list", action="store_true")
    o = ap.parse_args()
    o.cwd = os.getcwd()

    allc = CONTESTANTS + [parse_extra(s) for s in o.extra]
    if o.list:
        for c in allc:
            print(f"{c.name:10} {'installed' if c.find() is not None else 'MISSING':10} {','.join(c.features):24} {c.note}")
        for w in WORKLOADS:
            print(f"  {w.name:16} {w.title}")
        return
    jpath, mpath = o.out + ".json", o.out + ".md"
    old = None
    if (o.merge or o.report_only) and os.path.exists(jpath):
        with open(jpath) as f:
            old = json.load(f)
    if o.report_only:
        with open(mpath, "w") as f:
            f.write(report(old))
        return

    want = [x for x in o.contestants.split(",") if x and not x.startswith("-")]
    drop = [x[1:] for x in o.contestants.split(",") if x.startswith("-")]
    unknown = set(want + drop) - {c.name for c in allc}
    if unknown:
        raise SystemExit(f"unknown contestants: {', '.join(sorted(unknown))}")
    cs = []
    for c in allc:
        if (want and c.name not in want) or c.name in drop:
            continue
        if c.find() is None:
            print(f"skip {c.name}: not installed", file=sys.stderr)
            continue
        cs.append(c)
    names = o.workload.split(",")
    if o.latency and not any(n == "all" or n.startswith("rate") for n in names):
        names.append("rate")
    ws = [w for w in WORKLOADS if any(n == "all" or n == w.name or (n.endswith("*") and w.name.startswith(n[:-1])) for n in names)]
    if not ws:
        raise SystemExit("no such workload")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    order = [c.name for c in allc]
    if old:
        order = order + [x for x in old["meta"]["order"] if x not in order]
    data = {"meta": {"cpu": cpu, "ncpu": os.cpu_count(), "kernel": platform.release(), "threads": o.threads,
                     "upstream_workers": o.upstream_workers, "seconds": o.seconds, "warmup": o.warmup, "rate": o.rate,
                     "gen_threads": o.gen_threads, "baseline": o.baseline, "order": order, "proxy_cpus": o.proxy_cpus,
                     "versions": {**(old["meta"]["versions"] if old else {}), **versions(cs)},
                     "date": time.strftime("%F %TZ", time.gmtime())},
            "runs": old["runs"] if old else []}

    def save():
        for path, text in ((jpath, json.dumps(data, indent=1)), (mpath, report(data))):
            with open(path + ".new", "w") as f:
                f.write(text)
            os.replace(path + ".new", path)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    b = Bench(o)
    try:
        b.start_upstream(any(w.endpoints for w in ws))
        for w in ws:
            print(f"== {w.name}: {w.title}", flush=True)
            runners = [c for c in cs if set(w.need) & set(c.features) and not (c.name in ("direct",) and (w.tls or w.tool == "idle"))
                       and w.name not in c.skip]
            for rnd in range(o.first_round, o.first_round + o.rounds):
                for c in runners:
                    row = b.run(c, w, rnd)
                    data["runs"] = [r for r in data["runs"] if (r["workload"], r["contestant"], r["round"]) !=
                                    (w.name, c.name, rnd)] + [row]
                    save()
                    if "kb_per_conn" in row:
                        line = f"{row['kb_per_conn']:8.2f} KiB/conn  {row['alive']} alive"
                    elif "cpu_us" in row:
                        line = (f"{row['cpu_us']:8.2f} µs/req {row['rps']:9.0f} req/s  errors {row['errors']}  "
                                f"other {row['other_cpu_pct']:.1f}%")
                    else:
                        line = ""
                    print(f"   r{rnd} {c.name:10} {line} {'' if row['ok'] else 'FAIL ' + row.get('error', '')}", flush=True)
    finally:
        b.close()
    save()
    if o.latency:
        print("\n".join(latency_table(ws, order, gathered(data["runs"])[1], data["meta"])))
    print(f"wrote {mpath} and {jpath}")


if __name__ == "__main__":
    main()
