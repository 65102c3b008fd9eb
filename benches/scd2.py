"""dim_customers of so many customers, then one percent of them with a new plan.

    scd2.py MEDALLION CUSTOMERS

Called by benches/scd2. Extracts of the CRM are written with DuckDB; medallion loads them and builds the history and the
dimension, without tests. What the second build left is compared with what the extracts say.
"""

import subprocess
import sys

import duckdb
from deltalake import DeltaTable
from measure import folder, timed

MEDALLION, CUSTOMERS = sys.argv[1], int(sys.argv[2])
lake = f"{folder}/lake"

EXTRACT = """
    select format('CUST-{:08d}', i) as customer_id, format('ACC-{:010d}', i) as account_number,
        'First' || i % 997 as first_name, 'Last' || i % 4999 as last_name, format('c{}@example.com', i) as email,
        format('+1202{:07d}', i % 10000000) as phone_number, i % 9999 || ' Oak Street' as billing_address_street,
        'City ' || i % 211 as billing_address_city, 'TX' as billing_address_state,
        format('{:05d}', i % 99999) as billing_address_zip, PLAN as plan_code, 30 + i % 5 * 10 as plan_monthly_fee_usd,
        date '2020-01-01' + (i % 1500)::int as contract_start_date, null as contract_end_date, true as is_active,
        1 + i % 4 as number_of_lines, 'iPhone' as device_type, format('{:015d}', 350000000000000 + i) as device_imei,
        'Online' as acquisition_channel, i % 5000 as lifetime_value_usd, 'LOW' as churn_risk, i % 21 - 10 as nps_score,
        timestamp '2020-01-01' + to_seconds((i % 86400)::int) as created_at, UPDATED as updated_at
    from range(CUSTOMERS) t(i) where CONDITION
"""


def extract(name, plan, updated, condition):
    query = EXTRACT.replace("PLAN", plan).replace("UPDATED", updated).replace("CONDITION", condition)
    query = query.replace("CUSTOMERS", str(CUSTOMERS))
    duckdb.execute(f"copy ({query}) to '{folder}/{name}.csv' (header, timestampformat '%Y-%m-%dT%H:%M:%S.%fZ')")
    wall, _, peak = timed(MEDALLION, "load", "crm_customers", "--from", f"{folder}/{name}.csv", "--lake", lake)
    print(f"| load {name} | {wall:.1f} | | {peak:,.0f} |", flush=True)


def build(name):
    command = ["build", "-q", "--select", "+dim_customers", "--exclude", "resource_type:test"]
    wall, cpu, peak = timed(MEDALLION, *command, "--lake", lake, stderr=subprocess.DEVNULL)
    print(f"| build {name} | {wall:.1f} | {cpu:.1f} | {peak:,.0f} |", flush=True)
    return wall


print(f"\n{CUSTOMERS:,} customers\n\n| | seconds | CPU-seconds | peak MB |\n|---|---|---|---|")
extract("everybody", "'Basic_30'", "timestamp '2025-01-01' + to_milliseconds(i % 1000)", "true")
full = build("from nothing")
# Spread over all of them, so that every file of the dimension holds a version that ends.
extract("one percent", "'Premium_80'", "timestamp '2025-02-01' + to_milliseconds(i % 1000)", "i % 100 = 7")
change = build("of the change")
print(f"\nthe change over the build from nothing: {change / full:.2f}")

files = DeltaTable(f"{lake}/gold/dim_customers").file_uris()
found = duckdb.execute(
    "select count(*), count(*) filter (is_current), count(distinct customer_id), count(*) filter (plan_code = 'Premium_80' and is_current)"
    f" from read_parquet({files!r}) where customer_id <> 'UNKNOWN'"
).fetchone()
changed = len(range(7, CUSTOMERS, 100))
if found != (CUSTOMERS + changed, CUSTOMERS, CUSTOMERS, changed):
    sys.exit(f"the dimension holds {found}")
