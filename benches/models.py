"""Writes a dbt project of so many models: layers that read each other, macros, documentation and tests of columns.

    python3 benches/models.py FOLDER [MODELS]
"""

import pathlib
import sys

LAYERS = ("staging", "intermediate", "marts", "reports")
WIDTH = 12


def model(layer, number, before):
    columns = ",\n    ".join(f"a{column}" for column in range(WIDTH))
    name = f"{LAYERS[layer]}_{number}"
    if layer == 0:
        return name, f"select\n    id,\n    {columns}\nfrom {{{{ ref('events') }}}}\nwhere id % 7 <> {number % 7}\n"
    first, second = before[number % len(before)], before[(number * 7 + 3) % len(before)]
    sums = ",\n    ".join(f"{{{{ or_zero('l.a{c}') }}}} + {{{{ or_zero('r.a{c}') }}}} as a{c}" for c in range(WIDTH))
    text = (
        "{% set since = var('since', '2025-01-01') %}\n\n"
        f"select\n    l.id,\n    {sums}\nfrom {{{{ ref('{first}') }}}} as l\n"
        f"left join {{{{ ref('{second}') }}}} as r on l.id = r.id\n"
        f"where '{{{{ since }}}}' <> '' {{% if target.name == 'small' %}}and l.id < 10{{% endif %}}\n"
    )
    return name, text


def properties(names):
    lines = ["models:"]
    for name in names:
        lines += [
            f"  - name: {name}",
            f"    description: One row an id, as {name} has it.",
            "    columns:",
            "      - name: id",
            "        description: Whose row it is.",
            "        data_tests: [unique, not_null]",
        ]
        lines += [f"      - {{name: a{c}, description: A sum.}}" for c in range(WIDTH)]
    return "\n".join(lines) + "\n"


def main():
    root = pathlib.Path(sys.argv[1])
    models = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    for folder in ("seeds", "macros", *(f"models/{layer}" for layer in LAYERS)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "dbt_project.yml").write_text("name: thousand\nversion: '1.0'\nmodels: {thousand: {+materialized: table}}\n")
    (root / "macros/or_zero.sql").write_text("{% macro or_zero(x) %}coalesce({{ x }}, 0){% endmacro %}\n")
    rows = [",".join([str(i)] + [str(i * c % 11) for c in range(WIDTH)]) for i in range(100)]
    header = ",".join(["id"] + [f"a{c}" for c in range(WIDTH)])
    (root / "seeds/events.csv").write_text("\n".join([header, *rows]) + "\n")
    before = []
    for layer, name in enumerate(LAYERS):
        made = [model(layer, number, before) for number in range(models // len(LAYERS))]
        for stem, text in made:
            (root / f"models/{name}/{stem}.sql").write_text(text)
        before = [stem for stem, _ in made]
        (root / f"models/{name}/models.yml").write_text(properties(before))


main()
