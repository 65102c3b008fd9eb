"""Checks deploy/ against what a daemon printed: deploy.py METRICS DEPLOY

METRICS is a file with the answer of /metrics. Every metric that an alert or a panel names has to be in it; it is read by
Prometheus' own parser. The manifests are validated by Kubernetes' schemas, and what they name has to exist. The
configuration in the ConfigMap is printed.
"""

import json
import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml
from prometheus_client.parser import text_string_to_metric_families

KUBERNETES = "1.30"


def printed(text):
    names = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, f"{family.name} has no help"
        assert family.type in ("counter", "gauge"), f"{family.name} is of type {family.type}"
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def check_expression(where, expression, known):
    names = re.findall(r"\bmedallion_\w+", expression)
    for name in names:
        assert name in known, f"{where} names {name}, which the daemon does not print"
    assert expression.count("(") == expression.count(")"), f"{where}: {expression}"
    # A label that is named is one of the daemon's, or one that Prometheus gives.
    labels = {label.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for label in group.split(",")}
    have = set().union(*(known[name] for name in names)) | {"instance", "job"}
    assert labels <= have, f"{where} groups by {labels - have}"
    return names


def check_rules(file, known):
    alerts = set()
    for group in yaml.safe_load(file.read_text())["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
            where = rule["alert"]
            assert where not in alerts, f"{where} is there twice"
            alerts.add(where)
            assert check_expression(where, rule["expr"], known) or "up{" in rule["expr"], where
            assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s")), where
            assert rule["labels"]["severity"] in ("page", "ticket"), where
            assert rule["annotations"]["summary"] and rule["annotations"]["description"], where
    return alerts


def check_dashboard(file, known):
    dashboard = json.loads(file.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        for target in panel["targets"]:
            assert check_expression(panel["title"], target["expr"], known), panel["title"]
    for variable in dashboard["templating"]["list"]:
        check_expression(variable["name"], variable["query"], known)
    return len(panels)


def pod_of(manifest):
    spec = manifest["spec"]
    return (spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec)["template"]


def check_pod(name, pod, configs, secrets):
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    for volume in volumes.values():
        if "configMap" in volume:
            assert volume["configMap"]["name"] in configs, f"{name}: {volume}"
        if "secret" in volume:
            keys = secrets[volume["secret"]["secretName"]]
            assert {item["key"] for item in volume["secret"]["items"]} <= keys, f"{name}: {volume}"
    for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= set(volumes), f"{name}: {mounted}"
        assert container["resources"]["limits"]["memory"], name
        for variable in container["env"]:
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] in secrets[reference["name"]], f"{name}: {reference}"
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports, f"{name}: {probe}"


def check_manifests(folder):
    files = sorted(folder.glob("*.yaml"))
    manifests = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    configs, secrets, pods = {}, {}, []
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "ConfigMap":
            configs[name] = manifest["data"]
        elif manifest["kind"] == "Secret":
            secrets[name] = set(manifest["stringData"])
        elif manifest["kind"] in ("Deployment", "CronJob"):
            pods.append((name, manifest))
    assert {manifest["kind"] for manifest in manifests} == {
        "ConfigMap", "Secret", "Deployment", "CronJob", "PodDisruptionBudget"}
    for name, manifest in pods:
        check_pod(name, pod_of(manifest), configs, secrets)
    deployment = next(manifest for _, manifest in pods if manifest["kind"] == "Deployment")
    labels = pod_of(deployment)["metadata"]["labels"]
    budget = next(manifest for manifest in manifests if manifest["kind"] == "PodDisruptionBudget")
    for selecting in (deployment, budget):
        assert selecting["spec"]["selector"]["matchLabels"] == labels, selecting["metadata"]["name"]
    return configs["medallion"]["medallion.toml"]


def main(metrics, deploy):
    known = printed(Path(metrics).read_text())
    alerts = check_rules(deploy / "prometheus" / "rules.yml", known)
    assert len(alerts) >= 10, alerts
    assert check_dashboard(deploy / "grafana" / "medallion-ingest.json", known) >= 10
    print(check_manifests(deploy / "kubernetes"), end="")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
