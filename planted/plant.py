#!/usr/bin/env python3
"""Plants the bugs of bugs.toml one at a time, and tells which of them the workbench finds.

    planted/plant.py                        every bug, up to 20 seeds each; prints the table
    planted/plant.py --write                the same, and puts the table into docs/workbench.md
    planted/plant.py --only hedge --seeds 3 bugs whose name or area says so
    planted/plant.py --quick                the model engine alone, 2 seeds
    planted/plant.py --list                 the list, and nothing else

The tree is copied, and every bug is written into the copy behind a switch: `if BUG { wrong } else { right }`.
That is built once. Then the sweep runs over the committed scenarios with one bug on at a time, seed after
seed, in the model engine and in the net engine, until something is amiss that is not amiss without the bug.
The product itself stays free of all this. It takes python3 (3.11) and cargo, and some tens of minutes.
"""

import argparse
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
COPY = TARGET / "planted-tree"
PAGE = ROOT / "docs/workbench.md"
BEGINS, ENDS = "<!-- planted: begins -->", "<!-- planted: ends -->"

# A sweep that takes longer than this does not end: a bug may well be one that goes round for ever.
SWEEP_SECONDS_MAX = 900
BUILD_SECONDS_MAX = 3600

SWITCH = """//! Which planted bug is on. Written by planted/plant.py; no part of the product.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

static ON: AtomicU32 = AtomicU32::new(0);
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Switches one on; 0 is none.
pub fn choose(bug: u32) {
    ON.store(bug, Ordering::Relaxed);
}

/// Whether it is this one.
pub fn is(bug: u32) -> bool {
    let is = ON.load(Ordering::Relaxed) == bug;
    if is {
        TAKEN.fetch_add(1, Ordering::Relaxed);
    }
    is
}

/// How often the one that is on was come by.
pub fn taken() -> u64 {
    TAKEN.load(Ordering::Relaxed)
}
"""

MAIN = "lb-sim/src/bin/lb-sim/main.rs"
MAIN_FINDS = "fn main() -> ExitCode {\n"
MAIN_PLANTS = """fn main() -> ExitCode {
    let bug = std::env::var("LB_PLANTED").ok().and_then(|bug| bug.parse().ok());
    lb_core::planted::choose(bug.unwrap_or(0));
    let code = unplanted();
    say(&format!("planted: come by {} times", lb_core::planted::taken()));
    code
}

fn unplanted() -> ExitCode {
"""

FAILURE = re.compile(r"^\r?(?P<file>\S+\.toml) seed (?P<seed>\d+) fails, (?P<what>[^:]+): (?P<why>.*)$")


def main():
    said = arguments()
    listed = tomllib.loads((ROOT / "planted/bugs.toml").read_text())
    bugs = [dict(bug, number=number) for number, bug in enumerate(listed["bug"], 1)]
    chosen = [bug for bug in bugs if said.only in f"{bug['number']}: {bug['area']}: {bug['name']}"]
    if said.list:
        for bug in chosen:
            print(f"{bug['number']:3}  {bug['area']:10}  {bug['name']:34}  {bug['story']}")
        return 0
    if not chosen:
        sys.exit(f"no bug's name or area has {said.only!r} in it; --list shows them all")
    binary = TARGET / "lb-sim-planted"
    if not (said.built and binary.exists()):
        plant(listed.get("prepare", []), bugs)
        binary = build()
    engines = ["model"] if said.quick else [said.engine] if said.engine else ["model", "net"]
    seeds = 2 if said.quick else said.seeds
    hunt = Hunt(binary, said.scenarios, engines, seeds, said.jobs)
    results = []
    for bug in chosen:
        result = hunt.seek(bug)
        results.append(result)
        print(line(result), flush=True)
    found = [result for result in results if result["found"]]
    print(f"\n{len(found)} of {len(results)} planted bugs found")
    if said.write:
        write(table(results))
    return 0 if len(found) == len(results) or not said.quick else 1


def arguments():
    says = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    says.add_argument("--only", default="", metavar="TEXT", help="bugs with this in '<number>: <area>: <name>'")
    says.add_argument("--seeds", type=int, default=20, help="seeds that each is looked for under (20)")
    says.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at the same time (one per core)")
    says.add_argument("--scenarios", type=Path, default=ROOT / "scenarios", help="the folder to sweep")
    says.add_argument("--engine", choices=["model", "net"], help="one of the two alone")
    says.add_argument("--quick", action="store_true", help="the model engine alone, 2 seeds; fails if one is missed")
    says.add_argument("--write", action="store_true", help="put the table into docs/workbench.md")
    says.add_argument("--built", action="store_true", help="take what was built last time")
    says.add_argument("--list", action="store_true", help="show the bugs and stop")
    return says.parse_args()


# --- planting -------------------------------------------------------------------------------------------


def plant(prepare, bugs):
    """Brings the copy up to date, touching no file that stays as it is: what is built stays built."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    wanted = {name for name in names if name and (ROOT / name).is_file()}
    texts = {name: (ROOT / name).read_bytes() for name in wanted}
    edits = [dict(edit, number=0, name="prepare") for edit in prepare] + bugs
    edits.append({"number": 0, "name": "main", "file": MAIN, "find": MAIN_FINDS, "plant": MAIN_PLANTS})
    for name in sorted({edit["file"] for edit in edits}):
        texts[name] = planted(name, texts[name].decode(), [it for it in edits if it["file"] == name]).encode()
    # What cargo builds of the copy must not be taken for what it builds of the original.
    version = b'\nversion = "'
    if texts["Cargo.toml"].count(version) != 1:
        sys.exit("Cargo.toml: the version of the workspace is not where it was; mend plant.py")
    texts["Cargo.toml"] = texts["Cargo.toml"].replace(version, version + b"0.0.0-planted+")
    texts["lb-core/src/planted.rs"] = SWITCH.encode()
    texts["lb-core/src/lib.rs"] += b"\npub mod planted;\n"
    for name, text in texts.items():
        path = COPY / name
        if not path.exists() or path.read_bytes() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    for path in [path for path in COPY.rglob("*") if path.is_file()]:
        if str(path.relative_to(COPY)) not in texts:
            path.unlink()


def planted(name, text, edits):
    """The text of a file with all its bugs in it. Places are found in what was there before."""
    places = []
    for edit in edits:
        count = text.count(edit["find"])
        if count != 1:
            sys.exit(f"{name}: what {edit['name']!r} looks for occurs {count} times; mend `find` in bugs.toml")
        at = text.index(edit["find"])
        crate = "crate" if name.startswith("lb-core/") else "lb_core"
        bug = f"{crate}::planted::is({edit['number']})"
        places.append((at, at + len(edit["find"]), edit["plant"].replace("BUG", bug)))
    for (_, end, _), (start, _, new) in zip(sorted(places), sorted(places)[1:]):
        if start < end:
            sys.exit(f"{name}: two edits overlap before {new!r}; make one `find` in bugs.toml shorter")
    for start, end, new in sorted(places, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def build():
    command = ["cargo", "build", "--offline", "-p", "lb-sim", "--bin", "lb-sim"]
    built = subprocess.run(
        command, cwd=COPY, env=dict(os.environ, CARGO_TARGET_DIR=str(TARGET)),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=BUILD_SECONDS_MAX,
    )
    if built.returncode != 0:
        sys.exit(f"{built.stderr}\nthe planted tree does not build; mend `plant` in bugs.toml")
    # Kept beside: whoever builds here next writes over the other.
    kept = TARGET / "lb-sim-planted"
    kept.unlink(missing_ok=True)
    kept.write_bytes((TARGET / "debug/lb-sim").read_bytes())
    kept.chmod(0o755)
    return kept


# --- hunting --------------------------------------------------------------------------------------------


class Hunt:
    """Sweeps with a bug on, and compares with sweeps in which none is."""

    def __init__(self, binary, scenarios, engines, seeds, jobs):
        self.binary, self.scenarios, self.engines = binary, scenarios, engines
        self.seeds, self.jobs = seeds, jobs
        self.innocent = {}

    def seek(self, bug):
        began, taken, sweeps = time.monotonic(), 0, 0.0
        for seed in range(1, self.seeds + 1):
            for engine in self.engines:
                before = time.monotonic()
                failures, come_by = self.sweep(bug["number"], engine, seed)
                sweeps += time.monotonic() - before
                taken += come_by
                if not failures:
                    continue
                # What fails without the bug says nothing about it.
                if (engine, seed) not in self.innocent:
                    self.innocent[engine, seed] = {it[0] for it in self.sweep(0, engine, seed)[0]}
                guilty = [it for it in failures if it[0] not in self.innocent[engine, seed]]
                if guilty:
                    return dict(bug=bug, found=guilty, seed=seed, engine=engine, took=sweeps, taken=taken)
        return dict(bug=bug, found=[], seed=self.seeds, engine="", took=time.monotonic() - began, taken=taken)

    def sweep(self, number, engine, seed):
        """What fails, as (scenario, reasons); and how often the bug was come by."""
        command = [
            str(self.binary), "sweep", str(self.scenarios), "--seeds", f"{seed}..{seed}",
            "--engine", engine, "--jobs", str(self.jobs),
        ]
        environment = dict(os.environ, LB_PLANTED=str(number))
        try:
            ran = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SWEEP_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            return [("all", ["the sweep does not end"])], 0
        if ran.returncode in (1, 2):
            sys.exit(f"{' '.join(command)}\n{ran.stderr}")
        failures, come_by = [], 0
        for said in ran.stderr.splitlines():
            if match := FAILURE.match(said):
                failures.append((Path(match["file"]).name, reasons(match["why"])))
            elif said.startswith("planted: come by "):
                come_by = int(said.split()[3])
        if not failures and ran.returncode not in (0, 127, 128, 129, 130, 131):
            failures.append(("all", [f"the sweep ends with {ran.returncode}"]))
        return failures, come_by


def reasons(text):
    """`invariant "a", expectation "b"` as a list."""
    return re.findall(r'(?:invariant|liveness|expectation) "[^"]*"|[^,]+', text) if text else ["nothing said"]


def best(found):
    """The plainest of what was found: a broken invariant says more than a number that is off."""
    named = [(scenario, reason.strip()) for scenario, list_ in found for reason in list_ if reason.strip()]
    rank = lambda it: next(
        (nth for nth, word in enumerate(["invariant", "liveness", "expectation"]) if it[1].startswith(word)), 3
    )
    counts = {}
    for _, reason in named:
        counts[reason] = counts.get(reason, 0) + 1
    return min(named, key=lambda it: (rank(it), -counts[it[1]], it))


# --- telling --------------------------------------------------------------------------------------------


def line(result):
    bug = result["bug"]
    head = f"{bug['number']:3}  {bug['area']:10}  {bug['name']:34}"
    if not result["found"]:
        return f"{head}  NOT FOUND   in {result['took']:.0f} s; come by {result['taken']} times"
    scenario, reason = best(result["found"])
    also = len(result["found"]) - 1
    more = f" (and {also} more)" if also else ""
    return f"{head}  seed {result['seed']:2} {result['engine']:5}  {result['took']:6.1f} s  {scenario}: {reason}{more}"


def table(results):
    found = [result for result in results if result["found"]]
    rows = [
        f"**{len(found)} of {len(results)} planted bugs found.**",
        "",
        "| # | area | bug | found by | in | engine | seeds | seconds |",
        "|--:|---|---|---|---|---|--:|--:|",
    ]
    for result in results:
        bug = result["bug"]
        head = f"| {bug['number']} | {bug['area']} | {bug['name']} |"
        if result["found"]:
            scenario, reason = best(result["found"])
            reason = reason.replace("|", "\\|")
            rows.append(
                f"{head} {reason} | `{scenario}` | {result['engine']} | {result['seed']} | {result['took']:.1f} |"
            )
        else:
            rows.append(f"{head} **not found** | | | {result['seed']} | {result['took']:.0f} |")
    return "\n".join(rows)


def write(text):
    page = PAGE.read_text()
    before, rest = page.split(BEGINS)
    after = rest.split(ENDS)[1]
    PAGE.write_text(f"{before}{BEGINS}\n{text}\n{ENDS}{after}")


if __name__ == "__main__":
    sys.exit(main())
