"""Sums a perf report by what the functions are for, and lists the first ten of them. Reads perf's text."""

import re
import sys

# The first that matches counts.
GROUPS = [
    ("reading JSON into cells", r"medallion::contracts::(reader|json|field|number|timestamp|datum|members|cells|time)|simdutf8"),
    ("appending to Arrow builders", r"medallion::contracts::decode|medallion::ingest::buffer|GenericByteBuilder|arrow_array::builder|arrow_buffer"),
    ("encoding Parquet", r"parquet::|hashbrown|ahash|twox|xxh"),
    ("zstd", r"ZSTD|HUF|FSE|zstd|XXH"),
    ("librdkafka", r"rd_|rdk|rdbuf|crc32|mtx_|cnd_|thrd_"),
    ("lz4", r"LZ4"),
    ("copying and allocating memory", r"mem(cpy|move|set|cmp)|malloc|free|realloc|calloc|_int_|mi_"),
    ("kernel", r"\[k\]"),
]
sums, functions = dict.fromkeys([name for name, _ in GROUPS] + ["the rest"], 0.0), []
for line in sys.stdin:
    found = re.match(r"\s*([\d.]+)%\s+(\[.\])\s+(.*\S)", line)
    if not found:
        continue
    share, mode, name = float(found[1]), found[2], found[3]
    text = f"{mode} {name}" if mode == "[k]" else name
    group = next((group for group, pattern in GROUPS if re.search(pattern, text)), "the rest")
    if mode == "[k]":
        group = "kernel"
    sums[group] += share
    functions.append((share, name))
print("| share of CPU | what |\n|---|---|")
for group, share in sorted(sums.items(), key=lambda entry: -entry[1]):
    print(f"| {share:.1f} % | {group} |")
print("\n| share of CPU | function |\n|---|---|")
for share, name in sorted(functions, reverse=True)[:10]:
    print(f"| {share:.1f} % | `{name.strip()[:100]}` |")
