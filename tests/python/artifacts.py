"""Reads dbt's artifacts of a target folder with a parser that is not ours, which takes no key that dbt does not write.

    artifacts.py FOLDER     prints one line an artifact: its name and how much is in it
"""

import json
import sys
from pathlib import Path

from dbt_artifacts_parser import parser

folder = Path(sys.argv[1])


def read(name):
    return json.loads((folder / name).read_text())


manifest = parser.parse_manifest_v12(read("manifest.json"))
known = {*manifest.nodes, *manifest.sources, *manifest.exposures, *manifest.unit_tests}
for edges in (manifest.parent_map, manifest.child_map):
    assert set(edges) == known, set(edges) ^ known
    assert all(other in known for others in edges.values() for other in others)
for id, node in manifest.nodes.items():
    parents = set(getattr(node.depends_on, "nodes", None) or [])
    assert parents == set(manifest.parent_map[id]), id
    assert all(macro in manifest.macros for macro in node.depends_on.macros or []), id
print("manifest", len(manifest.nodes), len(manifest.sources), len(manifest.exposures), len(manifest.groups))

results = parser.parse_run_results_v6(read("run_results.json"))
assert all(result.unique_id in known for result in results.results)
print("run_results", len(results.results))

catalog = parser.parse_catalog_v1(read("catalog.json"))
assert all(id in known for id in [*catalog.nodes, *catalog.sources])
print("catalog", len(catalog.nodes), len(catalog.sources))
