#!/usr/bin/env python3
"""Syscalls per request of each contestant, counted with perf tracepoints (root, perf).

./syscalls.py small,large,h2 haproxy,nginx,envoy
"""
import sys, os, subprocess, signal, re, argparse, time, collections
HERE = os.path.dirname(os.path.abspath(__file__)); sys.path.insert(0, HERE); import proxybench as pb
class O: threads=2; gen_threads=1; upstreams=3; upstream_workers=1; base_port=24000; warmup=1; seconds=3; tmp=None; keep=False; cwd=HERE; proxy_cpus=''; idle_conns=5000; rate=4000; rate_tool='auto'
o=O(); b=pb.Bench(o); w0=pb.WORKLOADS[0]
loads={'wrk':pb.load_wrk,'h2load':pb.load_h2load}; state={'n':0}
def traced(w,port,seconds,o,tmp):
    orig=loads[w.tool]
    state['n']+=1
    if state['n']%2==1: return orig(w,port,seconds,o,tmp)
    pids=pb.tree(pb.RUNNING[-1].pid); out=os.path.join(tmp,'perf.stat')
    names='epoll_wait epoll_pwait epoll_ctl recvfrom sendto read write readv writev recvmsg sendmsg futex accept4 close connect socket setsockopt getsockopt getsockname getpeername shutdown splice sched_yield ioctl fcntl clock_gettime getpid'.split()
    ev=['raw_syscalls:sys_enter']+['syscalls:sys_enter_'+n for n in names if os.path.isdir('/sys/kernel/tracing/events/syscalls/sys_enter_'+n)]
    st=subprocess.Popen(['perf','stat','-x',',','-o',out,'-e',','.join(ev),'-p',','.join(map(str,pids))],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL)
    time.sleep(.3)
    r=orig(w,port,seconds,o,tmp)
    st.send_signal(signal.SIGINT); st.wait(5)
    cnt={}
    for l in open(out):
        f=l.split(',')
        if len(f)>2 and f[0].isdigit(): cnt[f[2].replace('syscalls:sys_enter_','').replace('raw_syscalls:sys_enter','TOTAL')]=int(f[0])
    r['sys']={k:round(v/r['requests'],2) for k,v in sorted(cnt.items(),key=lambda t:-t[1]) if v/r['requests']>=.02}
    return r
pb.load_wrk=pb.load_h2load=traced
try:
    b.start_upstream(False)
    for wn in sys.argv[1].split(','):
        w=next(x for x in pb.WORKLOADS if x.name==wn)
        for n in sys.argv[2].split(','):
            c=next(x for x in pb.CONTESTANTS if x.name==n); state['n']=0
            r=b.run(c,w,1); print(wn,n,r.get('sys'),r.get('error',''),flush=True)
finally: b.close()
