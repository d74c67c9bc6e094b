"""Prints P50 and P95 of every stage's commits from saved /metrics pages.

  latency.py DIR    reads DIR/<stage>.metrics
"""

import pathlib
import re
import sys

LINE = re.compile(r'^(\w+)_bucket\{(.*)\} (\S+)$')


def histogram(text, metric, labels):
    """Upper bound -> cumulative count, over all series that carry these labels."""
    buckets = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if not match or match.group(1) != metric:
            continue
        found = dict(re.findall(r'(\w+)="([^"]*)"', match.group(2)))
        if any(found.get(key) != value for key, value in labels.items()):
            continue
        bound = float(found["le"].replace("+Inf", "inf"))
        buckets[bound] = buckets.get(bound, 0) + float(match.group(3))
    return sorted(buckets.items())


def quantile(buckets, share):
    """Linear within its bucket, as Prometheus estimates it."""
    if not buckets or buckets[-1][1] == 0:
        return None
    rank = share * buckets[-1][1]
    below_bound, below_count = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if bound == float("inf") or count == below_count:
                return below_bound
            return below_bound + (bound - below_bound) * (rank - below_count) / (count - below_count)
        below_bound, below_count = bound, count
    return below_bound


def text_of(seconds):
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def main():
    rows = []
    for stage in ("ingest", "policy", "send", "status-reconcile"):
        text = (pathlib.Path(sys.argv[1]) / f"{stage}.metrics").read_text()
        cells = [stage]
        for metric, labels in (
            ("sendplane_hop_seconds", {}),
            ("sendplane_commit_seconds", {"part": "cycle"}),
            ("sendplane_commit_seconds", {"part": "commit"}),
        ):
            buckets = histogram(text, metric, labels)
            cells += [text_of(quantile(buckets, 0.5)), text_of(quantile(buckets, 0.95))]
        rows.append(cells)
    head = ["stage", "hop P50", "hop P95", "cycle P50", "cycle P95", "EndTxn P50", "EndTxn P95"]
    widths = [max(len(row[n]) for row in [head] + rows) for n in range(len(head))]
    for row in [head] + rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)))


main()
