// The pages: an overview, one page a node, the whole graph. Which one stands behind the # of the address.

const read = id => JSON.parse(document.getElementById(id).textContent);
const manifest = read("manifest"), catalog = read("catalog"), columnLineage = read("column-lineage");
const KINDS = [["model", "Models"], ["source", "Sources"], ["seed", "Seeds"], ["snapshot", "Snapshots"],
  ["exposure", "Exposures"], ["test", "Tests"], ["unit_test", "Unit tests"], ["macro", "Macros"]];
const COLOURS = { unit_test: "test", saved_query: "exposure" };

const own = manifest.metadata.project_name;
const all = new Map();
for (const part of ["nodes", "sources", "exposures", "unit_tests", "macros"])
  for (const [id, node] of Object.entries(manifest[part] || {}))
    if (part !== "macros" || node.package_name !== "dbt") all.set(id, node);

const nameOf = n => n.resource_type === "source" ? `${n.source_name}.${n.name}`
  : n.version != null ? `${n.name} v${n.version}` : n.resource_type === "exposure" ? n.label || n.name : n.name;
const kindOf = id => { const kind = all.get(id)?.resource_type || "test"; return COLOURS[kind] || kind; };
const parents = id => (manifest.parent_map[id] || []).filter(p => all.has(p));
const children = id => (manifest.child_map[id] || []).filter(c => all.has(c));
const isTest = id => ["test", "unit_test"].includes(all.get(id)?.resource_type);
const hidden = n => n.docs?.show === false || n.config?.docs?.show === false;
const tableOf = id => catalog.nodes[id] || catalog.sources[id];
const grouped = n => Number(n).toLocaleString("en");
const bytes = n => { let i = 0; for (n = Number(n); n >= 1000 && i < 4; i++) n /= 1000; return `${n < 10 && i ? n.toFixed(1) : Math.round(n)} ${["B", "kB", "MB", "GB", "TB"][i]}`; };
const escape = text => String(text ?? "").replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);
const link = id => `#/${encodeURIComponent(id)}`;
const dot = kind => `<i class="dot" style="--kind: var(--${COLOURS[kind] || kind})"></i>`;
const $ = selector => document.querySelector(selector);

// --- text ------------------------------------------------------------------------------------------------------------

/** The Markdown that descriptions are written in. All of it is escaped first, so no text can become markup. */
function markdown(text) {
  const inline = s => escape(s)
    .replace(/`([^`]+)`/g, "<code>$1</code>")
    .replace(/!?\[([^\]]+)\]\((https?:[^)\s]+|mailto:[^)\s]+|#[^)\s]*)\)/g, '<a href="$2">$1</a>')
    .replace(/\*\*([^*]+)\*\*|__([^_]+)__/g, "<b>$1$2</b>")
    .replace(/(^|[\s(])[*_]([^*_\s][^*_]*)[*_](?=[\s).,;:!?]|$)/g, "$1<em>$2</em>");
  const out = [], lines = String(text ?? "").replace(/\r/g, "").split("\n");
  const cells = line => line.trim().replace(/^\||\|$/g, "").split("|").map(c => inline(c.trim()));
  for (let i = 0; i < lines.length;) {
    const line = lines[i], heading = /^(#{1,6})\s+(.*)/.exec(line), item = /^\s*([-*+]|\d+[.)])\s+/;
    if (!line.trim()) { i++; continue; }
    if (/^\s*```/.test(line)) {
      const body = [];
      while (++i < lines.length && !/^\s*```/.test(lines[i])) body.push(lines[i]);
      i++; out.push(`<pre>${escape(body.join("\n"))}</pre>`);
    } else if (heading) {
      const n = Math.min(6, heading[1].length + 2);
      out.push(`<h${n}>${inline(heading[2])}</h${n}>`); i++;
    } else if (line.includes("|") && /^[\s|:-]+$/.test(lines[i + 1] || "") && lines[i + 1].includes("-")) {
      const head = cells(line), rows = [];
      for (i += 2; i < lines.length && lines[i].includes("|"); i++) rows.push(cells(lines[i]));
      const row = (cs, tag) => `<tr>${cs.map(c => `<${tag}>${c}</${tag}>`).join("")}</tr>`;
      out.push(`<table><thead>${row(head, "th")}</thead><tbody>${rows.map(r => row(r, "td")).join("")}</tbody></table>`);
    } else if (item.test(line)) {
      const tag = /^\s*\d/.test(line) ? "ol" : "ul", items = [];
      for (; i < lines.length && lines[i].trim(); i++)
        item.test(lines[i]) ? items.push(lines[i].replace(item, "")) : items.push(`${items.pop()} ${lines[i].trim()}`);
      out.push(`<${tag}>${items.map(t => `<li>${inline(t)}</li>`).join("")}</${tag}>`);
    } else {
      const body = [];
      for (; i < lines.length && lines[i].trim() && !/^\s*(```|#{1,6}\s)/.test(lines[i]) && !(body.length && item.test(lines[i])); i++) body.push(lines[i]);
      out.push(`<p>${inline(body.join("\n"))}</p>`);
    }
  }
  return out.join("");
}

const SQL_WORDS = new Set(`all and any array as asc between by case cast cross current date delete desc distinct else end except
  exists extract false filter first following for from full group grouping having if in inner insert intersect interval into
  is join lateral left like limit natural not null nulls offset on or order outer over partition preceding qualify range
  right row rows select set then time timestamp true try_cast unbounded union unnest update using values when where window with`.split(/\s+/));

function highlight(code) {
  const token = /(\{#[\s\S]*?#\}|--[^\n]*|\/\*[\s\S]*?\*\/)|(\{\{[\s\S]*?\}\}|\{%[\s\S]*?%\})|('(?:[^']|'')*')|\b(\d+(?:\.\d+)?)\b|([A-Za-z_]\w*)/g;
  let out = "", end = 0;
  for (const m of code.matchAll(token)) {
    out += escape(code.slice(end, m.index));
    end = m.index + m[0].length;
    const kind = m[1] ? "c" : m[2] ? "j" : m[3] ? "s" : m[4] ? "n" : SQL_WORDS.has(m[5].toLowerCase()) ? "w" : "";
    out += kind ? `<span class="${kind}">${escape(m[0])}</span>` : escape(m[0]);
  }
  return out + escape(code.slice(end));
}

// --- the side --------------------------------------------------------------------------------------------------------

const searched = [...all].map(([id, n]) => ({
  id, n, name: nameOf(n).toLowerCase(), columns: Object.keys(n.columns || {}),
  text: `${n.description || ""} ${(n.tags || []).join(" ")} ${Object.values(n.columns || {}).map(c => c.description).join(" ")}`,
}));

function find(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const score = ({ n, name, columns, text }) => {
    let sum = 0, why = "";
    for (const w of wanted) {
      const column = columns.find(c => c.toLowerCase().includes(w)), at = text.toLowerCase().indexOf(w);
      if (name === w) sum += 100; else if (name.startsWith(w)) sum += 60; else if (name.includes(w)) sum += 40;
      else if (column) { sum += 15; why ||= `column ${column}`; }
      else if (at >= 0) { sum += 5; why ||= text.slice(Math.max(0, at - 20), at + 60); }
      else return null;
    }
    return { sum: sum + ({ model: 2, test: -30, macro: -30 }[n.resource_type] || 0), why };
  };
  return searched.map(s => ({ ...s, hit: score(s) })).filter(s => s.hit)
    .sort((a, b) => b.hit.sum - a.hit.sum || a.name.localeCompare(b.name)).slice(0, 60);
}

const entry = (id, label, why) => `<a href="${link(id)}" data-id="${escape(id)}" ${why ? 'class="found"' : ""}>${dot(all.get(id).resource_type)}<span title="${escape(label)}">${escape(label)}${why ? `<small>${escape(why)}</small>` : ""}</span></a>`;

function tree() {
  const folder = n => n.resource_type === "source" ? n.source_name
    : ["test", "macro", "exposure", "unit_test"].includes(n.resource_type) ? "" : n.fqn.slice(1, -1).join(" / ");
  return KINDS.map(([kind, title]) => {
    const of = [...all].filter(([, n]) => n.resource_type === kind && !hidden(n));
    if (!of.length) return "";
    const folders = Map.groupBy ? Map.groupBy(of, ([, n]) => folder(n)) : of.reduce((m, e) => m.set(folder(e[1]), [...(m.get(folder(e[1])) || []), e]), new Map());
    const list = es => es.sort((a, b) => nameOf(a[1]).localeCompare(nameOf(b[1]))).map(([id, n]) => entry(id, kind === "source" ? n.name : nameOf(n))).join("");
    const inner = [...folders].sort((a, b) => a[0].localeCompare(b[0])).map(([name, es]) =>
      name ? `<details open><summary>${escape(name)}<span class="count">${es.length}</span></summary><div>${list(es)}</div></details>` : `<div>${list(es)}</div>`).join("");
    const open = !["test", "macro", "unit_test"].includes(kind);
    return `<details class="kind" ${open ? "open" : ""}><summary>${title}<span class="count">${of.length}</span></summary>${inner}</details>`;
  }).join("");
}

const search = $("#search input");
function side() {
  const words = search.value.trim();
  if (!words) $("#tree").innerHTML = tree();
  else {
    const found = find(words);
    $("#tree").innerHTML = found.length ? found.map(({ id, n, hit }) => entry(id, nameOf(n), hit.why)).join("")
      : `<div class="none">Nothing is called that, and no text says it.</div>`;
  }
  here();
}
function here() {
  const id = decodeURIComponent(location.hash.slice(2));
  document.querySelectorAll("#tree a").forEach(a => a.classList.toggle("here", a.dataset.id === id));
  const a = $("#tree a.here");
  for (let d = a?.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
  a?.scrollIntoView({ block: "nearest" });
}
search.addEventListener("input", side);
search.addEventListener("keydown", e => {
  if (e.key === "Enter") { const first = $("#tree a"); if (first) location.hash = first.hash; }
  if (e.key === "Escape") { search.value = ""; side(); search.blur(); }
});
addEventListener("keydown", e => {
  if (e.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { e.preventDefault(); search.focus(); search.select(); }
});

// --- pages -----------------------------------------------------------------------------------------------------------

const stat = (table, id) => table?.stats?.[id]?.include ? table.stats[id].value : undefined;
const fact = (key, value) => value == null || value === "" || value === false ? "" : `<div><div class="k">${key}</div><div class="v">${value}</div></div>`;
const listed = ids => ids.length ? `<ul>${ids.map(id => `<li><a href="${link(id)}">${dot(all.get(id).resource_type)}${escape(nameOf(all.get(id)))}<small>${escape(all.get(id).resource_type.replace("_", " "))}</small></a></li>`).join("")}</ul>`
  : `<ul><li class="silent" style="padding: 5px 10px">none</li></ul>`;

function graphCard(host, ids, focus, tests) {
  host.innerHTML = `<div class="tools card"><label><input type="checkbox" ${tests ? "checked" : ""}> tests</label>
    <button data-do="in" title="Larger" aria-label="Larger">+</button><button data-do="out" title="Smaller" aria-label="Smaller">−</button>
    <button data-do="fit">Fit</button>${host.classList.contains("whole") ? "" : '<button data-do="whole">Whole graph</button>'}</div>
    <div class="legend">${[...new Set(ids.map(kindOf))].map(k => `<span>${dot(k)}${k}</span>`).join("")}</div>`;
  const sub = id => { const n = all.get(id), t = tableOf(id), rows = stat(t, "num_rows"), made = n.config?.materialized;
    const parts = [n.resource_type === "model" ? made : n.resource_type, rows != null ? `${grouped(rows)} rows` : null];
    return parts.filter(Boolean).join(" · "); };
  const drawn = drawGraph(host, ids, { parentsOf: parents, labelOf: id => nameOf(all.get(id)), kindOf, subOf: sub, focus,
    open: id => { location.hash = link(id); } });
  host.querySelector("input").addEventListener("change", e => { host.dispatchEvent(new CustomEvent("tests", { detail: e.target.checked })); });
  host.querySelector(".tools").addEventListener("click", e => {
    const what = e.target.dataset.do;
    if (what === "in") drawn.zoom(1.25); if (what === "out") drawn.zoom(.8); if (what === "fit") drawn.fit();
    if (what === "whole") location.hash = "#/graph";
  });
}
function mountGraph(host, choose, focus) {
  const draw = tests => { host.replaceChildren(); graphCard(host, choose(tests), focus, tests); };
  host.addEventListener("tests", e => draw(e.detail));
  draw(false);
}
const drawable = tests => [...all.keys()].filter(id => manifest.parent_map[id] && (tests || !isTest(id)) && (!hidden(all.get(id)) || isTest(id)));

function overview(page) {
  const counts = KINDS.map(([kind, title]) => [kind, title, [...all.values()].filter(n => n.resource_type === kind).length]).filter(c => c[2]);
  const text = manifest.docs[`doc.${own}.__overview__`]?.block_contents;
  page.innerHTML = `<div class="inner"><div class="crumb">Project</div><h1>${escape(own)}</h1>
    ${text ? `<div class="lead">${markdown(text)}</div>` : ""}
    <div class="tiles">${counts.map(([kind, title, n]) => `<div class="tile card"><div class="n">${grouped(n)}</div><div class="l" style="display:flex;align-items:center;gap:7px">${dot(kind)}${title}</div></div>`).join("")}</div>
    <h2>Lineage</h2><div class="graph card"></div></div>`;
  mountGraph(page.querySelector(".graph"), drawable);
}

function wholeGraph(page) {
  page.innerHTML = `<div class="inner" style="max-width: none; padding-bottom: 20px"><div class="crumb"><a href="#/">${escape(own)}</a></div><h1>Lineage</h1><div style="height: 14px"></div><div class="graph whole card"></div></div>`;
  mountGraph(page.querySelector(".graph"), drawable);
}

/** The tests of a column, or of the node as a whole. */
function testsOf(id, column) {
  return children(id).filter(c => all.get(c).resource_type === "test").map(c => [c, all.get(c)])
    .filter(([, t]) => t.attached_node === id && (t.column_name || null)?.toLowerCase() === column?.toLowerCase());
}
const pill = ([id, t]) => {
  const kwargs = t.test_metadata?.kwargs || {}, name = t.test_metadata?.name || t.name;
  const to = name === "relationships" ? ` → ${(/ref\(['"]([^'"]+)/.exec(kwargs.to) || [, kwargs.to])[1]}.${kwargs.field}` : "";
  return `<a class="pill ${/warn/i.test(t.config.severity) ? "warn" : ""}" href="${link(id)}" title="${escape(t.name)}">${escape(name + to)}</a>`;
};

function columnsOf(id, node) {
  const table = tableOf(id), said = new Map(Object.values(node.columns || {}).map(c => [c.name.toLowerCase(), c]));
  const real = Object.values(table?.columns || {}).sort((a, b) => a.index - b.index);
  const names = [...real.map(c => c.name), ...[...said.values()].map(c => c.name).filter(n => !real.some(r => r.name.toLowerCase() === n.toLowerCase()))];
  if (!names.length) return "";
  const from = columnLineage.nodes?.[id] || {};
  const rows = names.map(name => {
    const c = said.get(name.toLowerCase()), r = real.find(x => x.name.toLowerCase() === name.toLowerCase());
    const sources = (from[name]?.from || []).map(s => `<a href="${link(s.node)}">${escape(all.has(s.node) ? nameOf(all.get(s.node)) : s.node)}.${escape(s.column)}</a>`);
    const checks = testsOf(id, name).map(pill).join("") + (c?.constraints || []).map(k => `<span class="pill">${escape(k.type.replace("_", " "))}</span>`).join("");
    const tags = [...(c?.tags || [])].map(t => `<span class="chip">${escape(t)}</span>`).join(" ");
    return `<tr id="column-${escape(name)}"><td class="name">${escape(name)}</td><td><span class="type">${escape((r?.type || c?.data_type || "").toLowerCase())}</span></td>
      <td>${c?.description ? markdown(c.description) : ""}${tags}${sources.length ? `<div class="from">from ${sources.join(", ")}</div>` : ""}</td><td>${checks}</td></tr>`;
  });
  return `<h2>Columns <small>${names.length}</small></h2><div class="card scroll"><table><thead><tr><th>Name</th><th>Type</th><th>Description</th><th>Tests</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>`;
}

function code(node) {
  const texts = [["Source", node.raw_code || node.macro_sql], ["Compiled", node.compiled_code]].filter(t => t[1]?.trim());
  if (!texts.length || node.resource_type === "source") return "";
  return `<h2>Code <small class="mono">${escape(node.original_file_path)}</small></h2><div class="card" id="code"><div class="tabs" role="tablist">
    ${texts.map(([title], i) => `<button role="tab" aria-selected="${!i}" data-tab="${i}">${title}</button>`).join("")}<button class="copy">Copy</button></div>
    ${texts.map(([, text], i) => `<pre ${i ? "hidden" : ""}>${highlight(text.trim().replace(/\n\s*\n\s*\n/g, "\n\n"))}</pre>`).join("")}</div>`;
}

function nodePage(page, id, node) {
  const kind = node.resource_type, table = tableOf(id), meta = node.meta && Object.keys(node.meta).length ? node.meta : node.config?.meta || {};
  const owner = node.owner || manifest.groups[`group.${own}.${node.group}`]?.owner;
  const size = stat(table, "num_bytes"), rows = stat(table, "num_rows"), changed = stat(table, "last_modified");
  const key = [node.config?.unique_key || []].flat().join(", ");
  const facts = [
    fact("Relation", node.relation_name && `<span class="mono">${escape(node.relation_name.replace(/"/g, ""))}</span>`),
    fact("Made as", kind === "model" && escape(node.config.materialized)),
    fact("Strategy", node.config?.materialized === "incremental" && escape(node.config.incremental_strategy)),
    fact("Unique key", escape(key)), fact("Rows", rows != null ? grouped(rows) : null), fact("Size", size != null ? bytes(size) : null),
    fact("Last changed", changed && escape(String(changed).slice(0, 16).replace("T", " "))),
    fact("Owner", owner && escape([owner.name, [owner.email].flat().join(", ")].filter(Boolean).join(" · "))),
    fact("Group", escape(node.group)), fact("Access", node.access && node.access !== "protected" && escape(node.access)),
    fact("Contract", node.contract?.enforced && "enforced"), fact("Version", node.version != null ? `${escape(node.version)}${node.version == node.latest_version ? " (latest)" : ""}` : null),
    fact("Type", kind === "exposure" && escape(node.type)), fact("Maturity", escape(node.maturity)),
    fact("Severity", kind === "test" && escape(node.config.severity.toLowerCase())), fact("Column", escape(node.column_name)),
    fact("Freshness", node.freshness?.error_after?.count != null ? `error after ${node.freshness.error_after.count} ${escape(node.freshness.error_after.period)}` : node.freshness?.warn_after?.count != null ? `warn after ${node.freshness.warn_after.count} ${escape(node.freshness.warn_after.period)}` : null),
    fact("Package", node.package_name !== own && escape(node.package_name)),
  ].join("");
  const chips = [...(node.tags || []).map(t => `<span class="chip">${escape(t)}</span>`), ...Object.entries(meta).map(([k, v]) => `<span class="chip">${escape(k)}: <b>${escape(typeof v === "object" ? JSON.stringify(v) : v)}</b></span>`)].join("");
  const direct = children(id), inGraph = Boolean(manifest.parent_map[id]);
  const wholeTests = testsOf(id, undefined);
  const crumb = kind === "source" ? node.source_name : (node.fqn || [own]).slice(0, -1).join(" / ");
  const args = kind === "macro" && node.arguments?.length ? `<h2>Arguments</h2><div class="card scroll"><table><tbody>${node.arguments.map(a => `<tr><td class="name">${escape(a.name)}</td><td class="type">${escape(a.type)}</td><td>${markdown(a.description)}</td></tr>`).join("")}</tbody></table></div>` : "";
  page.innerHTML = `<div class="inner" style="--kind: var(--${COLOURS[kind] || kind})"><div class="crumb">${escape(crumb)}</div>
    <h1>${escape(nameOf(node))}<span class="badge">${escape(kind.replace("_", " "))}</span></h1>
    <div class="lead">${node.description ? markdown(node.description) : `<span class="silent">Not described yet.</span>`}</div>
    ${node.url ? `<p><a href="${/^https?:/.test(node.url) ? escape(node.url) : "#/"}">${escape(node.url)}</a></p>` : ""}
    ${chips ? `<div class="chips" style="margin-top: 14px">${chips}</div>` : ""}
    ${facts ? `<div class="facts card">${facts}</div>` : ""}
    ${inGraph ? `<h2>Lineage</h2><div class="graph card"></div>` : ""}
    ${columnsOf(id, node)}
    ${wholeTests.length ? `<h2>Tests of the whole table</h2><div class="chips">${wholeTests.map(pill).join("")}</div>` : ""}
    ${args}${code(node)}
    ${inGraph ? `<div class="lists"><div><h2>Depends on</h2><div class="card">${listed(parents(id))}</div></div>
      <div><h2>Used by</h2><div class="card">${listed([...direct.filter(c => !isTest(c)), ...direct.filter(isTest)])}</div></div></div>` : ""}</div>`;
  if (inGraph) {
    const near = tests => {
      const among = new Set(drawable(tests || isTest(id)));
      among.add(id);
      return [...kin(id, among, parents, children)];
    };
    const host = page.querySelector(".graph");
    host.style.height = `${Math.min(520, Math.max(230, 130 + 26 * near(false).length))}px`;
    mountGraph(host, near, id);
  }
  page.querySelector("#code")?.addEventListener("click", e => {
    const card = e.currentTarget, panes = card.querySelectorAll("pre");
    if (e.target.dataset.tab) {
      card.querySelectorAll("[data-tab]").forEach(b => b.setAttribute("aria-selected", b === e.target));
      panes.forEach((p, i) => { p.hidden = i !== Number(e.target.dataset.tab); });
    }
    if (e.target.classList.contains("copy")) {
      navigator.clipboard?.writeText([...panes].find(p => !p.hidden).textContent).then(() => { e.target.textContent = "Copied"; setTimeout(() => { e.target.textContent = "Copy"; }, 1200); });
    }
  });
}

function show() {
  const page = $("#page"), id = decodeURIComponent(location.hash.slice(2)), node = all.get(id);
  if (id === "graph") wholeGraph(page);
  else if (node) nodePage(page, id, node);
  else overview(page);
  document.title = node ? `${nameOf(node)} · ${own}` : own;
  page.scrollTop = 0;
  here();
}

// --- light and dark --------------------------------------------------------------------------------------------------

const SUN = `<svg viewBox="0 0 24 24"><circle cx="12" cy="12" r="4.2"/><path d="M12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M4.9 4.9l1.8 1.8M17.3 17.3l1.8 1.8M19.1 4.9l-1.8 1.8M6.7 17.3l-1.8 1.8"/></svg>`;
const MOON = `<svg viewBox="0 0 24 24"><path d="M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z"/></svg>`;
// A page of a file may have no storage; then the choice holds until it is closed.
const kept = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } }, set: v => { try { localStorage.setItem("theme", v); } catch { /* it holds for now */ } } };
function paint(theme) {
  document.documentElement.dataset.theme = theme;
  $("#theme").innerHTML = theme === "dark" ? SUN : MOON;
}
const dark = matchMedia("(prefers-color-scheme: dark)");
paint(kept.get() || (dark.matches ? "dark" : "light"));
dark.addEventListener("change", e => { if (!kept.get()) paint(e.matches ? "dark" : "light"); });
$("#theme").addEventListener("click", () => { const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark"; kept.set(next); paint(next); });

$("#brand span").textContent = own;
$("#side footer").textContent = `Made ${manifest.metadata.generated_at.slice(0, 16).replace("T", " ")} UTC by medallion`;
addEventListener("hashchange", show);
side();
show();
