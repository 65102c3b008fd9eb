// A layered drawing of a directed graph without circles: columns by the longest way from a start, rows so that edges
// cross little, long edges led through empty places.

const BOX = { width: 226, height: 44, gapX: 74, gapY: 16 };

/** Places for `ids`, whose parents are told by `parentsOf`; answers boxes and the bends of edges. */
function layOut(all, parentsOf) {
  const inside = new Set(all), tied = new Set();
  all.forEach(id => parentsOf(id).filter(p => inside.has(p)).forEach(p => tied.add(id).add(p)));
  const drawn = layOutTied(all.filter(id => tied.has(id)), parentsOf);
  // What nothing is made from, and is made from nothing, stands below in rows.
  const loose = all.filter(id => !tied.has(id)), stepX = BOX.width + BOX.gapX, stepY = BOX.height + BOX.gapY;
  const perRow = Math.max(1, Math.round((drawn.width + BOX.gapX) / stepX), Math.ceil(Math.sqrt(loose.length)));
  const top = drawn.boxes.length ? drawn.height + 2.5 * BOX.gapY : 0;
  loose.forEach((id, i) => drawn.boxes.push({ id, x: i % perRow * stepX, y: top + Math.floor(i / perRow) * stepY }));
  if (loose.length) {
    drawn.width = Math.max(drawn.width, Math.min(perRow, loose.length) * stepX - BOX.gapX);
    drawn.height = top + Math.ceil(loose.length / perRow) * stepY - BOX.gapY;
  }
  return drawn;
}

function layOutTied(ids, parentsOf) {
  if (!ids.length) return { boxes: [], edges: [], width: 0, height: 0 };
  const inside = new Set(ids);
  const parents = new Map(ids.map(id => [id, parentsOf(id).filter(p => inside.has(p))]));
  const children = new Map(ids.map(id => [id, []]));
  parents.forEach((ps, id) => ps.forEach(p => children.get(p).push(id)));
  const rank = new Map();
  const rankOf = id => {
    if (!rank.has(id)) { rank.set(id, 0); rank.set(id, Math.max(-1, ...parents.get(id).map(rankOf)) + 1); }
    return rank.get(id);
  };
  ids.forEach(rankOf);
  // A start stands next to the first of its children, not far to the left of it.
  ids.filter(id => !parents.get(id).length && children.get(id).length)
    .forEach(id => rank.set(id, Math.min(...children.get(id).map(c => rank.get(c))) - 1));

  // An edge over several columns gets a place to pass through in each.
  const layers = [], at = new Map(), up = new Map(), down = new Map(), chains = [];
  const put = (key, r) => { (layers[r] ||= []).push(key); at.set(key, r); up.set(key, []); down.set(key, []); };
  ids.forEach(id => put(id, rank.get(id)));
  const join = (a, b) => { down.get(a).push(b); up.get(b).push(a); };
  parents.forEach((ps, id) => ps.forEach(p => {
    const chain = [p];
    for (let r = rank.get(p) + 1; r < rank.get(id); r++) {
      const bend = `${p}\n${id}\n${r}`;
      put(bend, r); join(chain.at(-1), bend); chain.push(bend);
    }
    join(chain.at(-1), id); chain.push(id); chains.push({ from: p, to: id, chain });
  }));
  for (let r = 0; r < layers.length; r++) layers[r] ||= [];

  const place = new Map();
  const number = layer => layer.forEach((key, i) => place.set(key, i));
  layers.forEach(layer => { layer.sort((a, b) => a < b ? -1 : 1); number(layer); });
  const middle = (keys, fallback) => {
    if (!keys.length) return fallback;
    const xs = keys.map(k => place.get(k)).sort((a, b) => a - b), half = xs.length >> 1;
    return xs.length % 2 ? xs[half] : (xs[half - 1] + xs[half]) / 2;
  };
  const crossings = () => {
    let n = 0;
    for (let r = 1; r < layers.length; r++) {
      const pairs = layers[r].flatMap(k => up.get(k).map(p => [place.get(p), place.get(k)]));
      for (let i = 0; i < pairs.length; i++) for (let j = i + 1; j < pairs.length; j++)
        if ((pairs[i][0] - pairs[j][0]) * (pairs[i][1] - pairs[j][1]) < 0) n++;
    }
    return n;
  };
  const many = at.size > 700;
  let best = many ? Infinity : crossings(), kept = layers.map(l => [...l]);
  for (let sweep = 0; sweep < (many ? 6 : 24) && best > 0; sweep++) {
    const forth = sweep % 2 === 0, near = forth ? up : down;
    const order = forth ? layers.keys() : [...layers.keys()].reverse();
    for (const r of order) {
      const want = new Map(layers[r].map(k => [k, middle(near.get(k), place.get(k))]));
      layers[r].sort((a, b) => want.get(a) - want.get(b) || place.get(a) - place.get(b));
      number(layers[r]);
    }
    const now = many ? best : crossings();
    if (now < best || many) { best = now; kept = layers.map(l => [...l]); }
  }
  kept.forEach(number);

  // Each key drifts towards its neighbours as far as those beside it in the column allow.
  const high = key => key.includes("\n") ? 14 : BOX.height, y = new Map();
  kept.forEach(layer => { let top = 0; layer.forEach(k => { y.set(k, top + high(k) / 2); top += high(k) + BOX.gapY; }); });
  for (let round = 0; round < 30; round++) {
    const order = round % 2 ? [...kept.keys()].reverse() : [...kept.keys()];
    for (const r of order) {
      const layer = kept[r];
      const want = layer.map(k => {
        const near = [...up.get(k), ...down.get(k)];
        return near.length ? near.reduce((sum, n) => sum + y.get(n), 0) / near.length : y.get(k);
      });
      spread(layer.map(high), want, BOX.gapY).forEach((v, i) => y.set(layer[i], v));
    }
  }
  const least = Math.min(...y.values());
  const x = key => at.get(key) * (BOX.width + BOX.gapX);
  const boxes = ids.map(id => ({ id, x: x(id), y: y.get(id) - least - BOX.height / 2 }));
  const edges = chains.map(({ from, to, chain }) => {
    const points = chain.flatMap((key, i) => {
      const level = y.get(key) - least, left = x(key), right = left + BOX.width;
      return i === 0 ? [[right, level]] : i === chain.length - 1 ? [[left, level]] : [[left, level], [right, level]];
    });
    return { from, to, path: curve(points) };
  });
  return { boxes, edges, width: kept.length * (BOX.width + BOX.gapX) - BOX.gapX,
    height: Math.max(BOX.height, ...boxes.map(b => b.y + BOX.height)) };
}

/** Middles near the wanted ones, in order and without overlap: overlapping neighbours move as one block. */
function spread(heights, want, gap) {
  const blocks = [];
  heights.forEach((height, i) => {
    let block = { first: i, size: height, want: want[i], weight: 1, offsets: [height / 2] };
    block.top = block.want - height / 2;
    while (blocks.length && blocks.at(-1).top + blocks.at(-1).size + gap > block.top) {
      const before = blocks.pop(), shift = before.size + gap;
      const offsets = [...before.offsets, ...block.offsets.map(o => o + shift)];
      const weight = before.weight + block.weight;
      const sum = offsets.reduce((s, o, k) => s + want[before.first + k] - o, 0);
      block = { first: before.first, size: shift + block.size, weight, offsets, top: sum / weight };
    }
    blocks.push(block);
  });
  return blocks.flatMap(block => block.offsets.map(o => block.top + o));
}

function curve(points) {
  let path = `M${points[0]}`;
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1], [x1, y1] = points[i], mid = (x0 + x1) / 2;
    path += y0 === y1 ? `L${x1},${y1}` : `C${mid},${y0} ${mid},${y1} ${x1},${y1}`;
  }
  return path;
}

const svg = (name, attributes = {}, ...inner) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...inner);
  return made;
};

/** Draws `ids` into `host`: pan by dragging, zoom by wheel or buttons, one click focuses, a second opens. */
function drawGraph(host, ids, { parentsOf, labelOf, kindOf, subOf, focus, open }) {
  const { boxes, edges, width, height } = layOut(ids, parentsOf);
  const canvas = svg("svg", { class: "canvas", role: "img", "aria-label": "lineage" });
  const layer = svg("g");
  const lines = edges.map(e => Object.assign(e, { line: svg("path", { class: "edge", d: e.path }) }));
  layer.append(...lines.map(e => e.line));
  const shapes = new Map();
  for (const { id, x, y } of boxes) {
    const label = labelOf(id), sub = subOf(id);
    const short = label.length > 31 ? label.slice(0, 29) + "…" : label;
    const box = svg("g", { class: "box", transform: `translate(${x},${y})`, tabindex: 0, role: "link",
      style: `--kind: var(--${kindOf(id)})` },
      svg("title", {}, `${kindOf(id)} ${label}`),
      svg("rect", { class: "face", width: BOX.width, height: BOX.height, rx: 8 }),
      svg("rect", { class: "bar", x: 0, y: 9, width: 3.5, height: BOX.height - 18, rx: 1.75 }),
      svg("text", { x: 14, y: sub ? 16 : BOX.height / 2 }, short),
      svg("text", { class: "sub", x: 14, y: 31 }, sub || ""));
    shapes.set(id, box);
    layer.append(box);
  }
  canvas.append(layer);
  host.append(canvas);

  let chosen = null;
  const mark = id => {
    chosen = id;
    const lit = id && kin(id, new Set(ids), parentsOf);
    shapes.forEach((box, key) => {
      box.classList.toggle("focus", key === (id || focus));
      box.classList.toggle("faded", Boolean(lit) && !lit.has(key));
    });
    lines.forEach(({ from, to, line }) => {
      const on = Boolean(lit) && lit.has(from) && lit.has(to);
      line.classList.toggle("on", on);
      line.classList.toggle("faded", Boolean(lit) && !on);
    });
  };
  mark(null);

  let view = { x: 0, y: 0, k: 1 };
  const show = () => layer.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.k})`);
  const fit = () => {
    const w = canvas.clientWidth, h = canvas.clientHeight, edge = 40;
    const k = Math.min(1.1, (w - 2 * edge) / width, (h - 2 * edge) / height);
    view = { k: Math.max(k, .12), x: 0, y: 0 };
    view.x = (w - width * view.k) / 2; view.y = (h - height * view.k) / 2;
    // What would be too small to read is shown in part, around the node that it is about.
    const about = focus && boxes.find(b => b.id === focus);
    if (about && view.k < .55) {
      view.k = .8;
      view.x = w / 2 - (about.x + BOX.width / 2) * view.k; view.y = h / 2 - (about.y + BOX.height / 2) * view.k;
    }
    show();
  };
  const zoom = (by, cx = canvas.clientWidth / 2, cy = canvas.clientHeight / 2) => {
    const k = Math.min(2.5, Math.max(.08, view.k * by)), f = k / view.k;
    view = { k, x: cx - (cx - view.x) * f, y: cy - (cy - view.y) * f };
    show();
  };
  canvas.addEventListener("wheel", e => {
    e.preventDefault();
    const r = canvas.getBoundingClientRect();
    zoom(Math.exp(-e.deltaY * .0015), e.clientX - r.left, e.clientY - r.top);
  }, { passive: false });
  let drag = null;
  canvas.addEventListener("pointerdown", e => { drag = { x: e.clientX, y: e.clientY, vx: view.x, vy: view.y, far: false }; });
  canvas.addEventListener("pointermove", e => {
    if (!drag) return;
    const dx = e.clientX - drag.x, dy = e.clientY - drag.y;
    if (!drag.far && Math.hypot(dx, dy) > 4) { drag.far = true; canvas.setPointerCapture(e.pointerId); canvas.classList.add("moving"); }
    if (drag.far) { view.x = drag.vx + dx; view.y = drag.vy + dy; show(); }
  });
  const drop = () => { setTimeout(() => { drag = null; }); canvas.classList.remove("moving"); };
  canvas.addEventListener("pointerup", drop);
  canvas.addEventListener("pointercancel", drop);
  canvas.addEventListener("click", e => {
    if (drag?.far) return;
    const box = e.target.closest?.(".box"), id = box && [...shapes].find(([, b]) => b === box)?.[0];
    if (id && (id === chosen || e.metaKey || e.ctrlKey)) open(id); else mark(id || null);
  });
  shapes.forEach((box, id) => box.addEventListener("keydown", e => { if (e.key === "Enter") open(id); }));
  // The canvas has no size before it stands in the page.
  requestAnimationFrame(fit);
  return { fit, zoom };
}

/** A node with all that it is made from and all that is made from it. */
function kin(id, among, parentsOf, childrenOf) {
  const found = new Set([id]);
  const go = (from, next) => { for (const n of next(from)) if (among.has(n) && !found.has(n)) { found.add(n); go(n, next); } };
  go(id, parentsOf);
  const down = childrenOf || (key => [...among].filter(n => parentsOf(n).includes(key)));
  const seen = new Set([id]);
  const below = from => { for (const n of down(from)) if (among.has(n) && !seen.has(n)) { seen.add(n); found.add(n); below(n); } };
  below(id);
  return found;
}
