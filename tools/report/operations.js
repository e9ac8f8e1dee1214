// SPDX-License-Identifier: Apache-2.0

// (c) Where a token's time goes: by layer as bars, by operation as a table that adds up.

const partsOf = (value) => list(value).filter((part) => isObject(part) && typeof part.name === 'string');

function layersOf(series) {
  const {ops, ns} = object(series.run.layers);
  const names = list(ops).filter((name) => typeof name === 'string');
  const rows = list(ns).filter((row) => Array.isArray(row) && row.length === names.length);
  return names.length > 0 && rows.length > 0 ? {...series, names, rows, totals: rows.map(sum)} : null;
}

function layersChart(layers, highest) {
  const {names, rows, totals} = layers;
  function draw(canvas, width, height) {
    const high = roundUp((highest / 1000) * 1.02, 4);
    const values = ticks(0, high, 4);
    const area = plotArea(width, height, values.map(tickText(values)));
    const x = linear(0, rows.length, area.left, area.right);
    const y = linear(0, high, area.bottom, area.top);
    const pitch = x(1) - x(0);
    const gap = pitch > 8 ? 2 : pitch > 4 ? 1 : 0;
    drawY(canvas, area, y, values, 'microseconds in a layer');
    drawX(canvas, area, (layer) => x(layer + 0.5), ticks(0, rows.length - 1, xTickCount(area), 1), 'layer');
    const boxes = [];
    rows.forEach((row, layer) => {
      let below = 0;
      row.forEach((ns, k) => {
        const [bottom, edge] = [y(below / 1000), y((below + (ns || 0)) / 1000)];
        below += ns || 0;
        boxes.push([x(layer) + gap / 2, edge, pitch - gap, bottom - edge]);
        canvas.append(svg('rect', {
          class: `segment ${colourOf(names[k])}`,
          x: x(layer) + gap / 2,
          y: edge,
          width: pitch - gap,
          height: Math.max(0, bottom - edge)
        }));
      });
    });
    return {
      count: boxes.length,
      mark(i) {
        const [layer, k] = [Math.floor(i / names.length), i % names.length];
        return {
          box: boxes[i],
          title: `layer ${layer}, ${names[k]}`,
          text: meaningOf(names[k]),
          rows: [
            ['time', duration(rows[layer][k] / 1e6)], ['of the layer', percent(rows[layer][k] / totals[layer])],
            ['layer in all', duration(totals[layer] / 1e6)]
          ],
        };
      },
      find(px, py) {
        const layer = Math.floor(x.invert(px));
        if (layer < 0 || layer >= rows.length || py < area.top - 10 || py > area.bottom + 20) return -1;
        for (let k = names.length - 1; k > 0; --k)
          if (py <= boxes[layer * names.length + k][1] + boxes[layer * names.length + k][3])
            return layer * names.length + k;
        return layer * names.length;
      },
      move(i, key) {
        const to = {ArrowLeft: i - names.length, ArrowRight: i + names.length, ArrowUp: i + 1, ArrowDown: i - 1}[key];
        return to === undefined ? undefined : to < 0 || to >= boxes.length ? i : to;
      },
    };
  }
  const byOperation = names.map((name, k) => [name, sum(rows.map((row) => row[k]))]).sort((a, b) => b[1] - a[1]);
  const all = sum(totals);
  const slow = totals.indexOf(Math.max(...totals));
  const most = byOperation.slice(0, 2).map(([name, ns]) => `${name} (${percent(ns / all, 0)})`).join(' and ');
  const summary =
      of(layers,
         `${plural(rows.length, 'layer')} take ${duration(all / 1e6)} of a typical token, most of it in ${most}. ` +
             `Layer ${slow} takes longest, ${duration(totals[slow] / 1e6)}.`);
  return new Chart({
    id: `layers-${layers.tone}`,
    name: `Operations by layer${comparing ? `, ${layers.letter}` : ''}`,
    summary,
    draw,
    hint: 'up and down through the operations of a layer',
    legend: names.map((name) => ({swatch: `box ${colourOf(name)}`, text: name})),
    height: (width) => (width < 600 ? 240 : 290),
    tables: () => [table({
      id: `layers-table-${layers.tone}`,
      caption: of(layers, 'operations by layer, microseconds of a typical token'),
      columns: ['layer', ...names, 'in all'].map((name) => ({name})),
      groups: [
        {rows: rows.map((row, i) => [whole(i), ...row.map((ns) => fixed(ns / 1000, 1)), fixed(totals[i] / 1000, 1)])}
      ],
    })],
  });
}

const nameCell = (name) => [el('span', {class: `swatch box ${colourOf(name)}`, 'aria-hidden': 'true'}), name];

function shareCell(share, greatest) {
  const bar = el('span', {class: 'bar', 'aria-hidden': 'true'});
  bar.style.width = `${clamp((4.5 * share) / greatest, 0, 4.5)}rem`;
  return el('span', {class: 'with-bar'}, el('span', {class: 'bar-box', 'aria-hidden': 'true'}, bar), percent(share));
}

// Operations and the named rest of one whole: a token's or a prompt's. `ms` is what they should add up to, `bandwidth`
// what was measured beside, in GB/s.
function partsTable({id, caption, ops, other, ms, wholeName, bandwidth}) {
  const total = sum([...ops, ...other].map(({ns}) => ns));
  const wholeNs = ms > 0 ? ms * 1e6 : total;
  const greatest = Math.max(...[...ops, ...other].map(({ns}) => ns / wholeNs), 1e-9);
  const totalBytes = sum(ops.map((part) => part.bytes));
  const row = (part) =>
      [nameCell(part.name),
       fixed(part.ns / 1e6, 4),
       shareCell(part.share ?? part.ns / wholeNs, greatest),
       part.bytes > 0 ? bytes(part.bytes) : NONE,
       Number.isFinite(part.gb_per_s) ? fixed(part.gb_per_s, 1) : NONE,
       percent(part.bandwidth_share, 0),
  ];
  const groups = [{name: 'Operations', rows: ops.map(row)}];
  if (other.length > 0) groups.push({name: 'What is no operation', rows: other.map(row)});
  groups.push({
    foot: true,
    rows: [[
      'total',
      fixed(total / 1e6, 4),
      percent(total / wholeNs),
      totalBytes > 0 ? bytes(totalBytes) : NONE,
      totalBytes > 0 ? fixed(totalBytes / total, 1) : NONE,
      totalBytes > 0 ? percent(totalBytes / total / bandwidth, 0) : NONE,
    ]]
  });
  const columns =
      ['', `ms a ${wholeName}`, 'share', 'bytes read', 'GB/s', 'of measured bandwidth'].map((name) => ({name}));
  columns[0] = {name: 'operation', text: true};
  return table({id, caption, columns, groups});
}

// The same of two runs, side by side.
function partsBeside({id, caption, pick}, [a, b]) {
  const both = (field) => {
    const [left, right] = [partsOf(pick(a)[field]), partsOf(pick(b)[field])];
    const names = [...new Set([...left, ...right].map(({name}) => name))];
    const order = [...operationNames, ...Object.keys(OTHERS)];
    names.sort((p, q) => (order.indexOf(p) + 1 || 99) - (order.indexOf(q) + 1 || 99));
    return names.map(
        (name) =>
            [name, left.find((part) => part.name === name) ?? {}, right.find((part) => part.name === name) ?? {}]);
  };
  const row = ([name, left, right]) =>
      [nameCell(name),
       fixed(left.ns / 1e6, 4),
       fixed(right.ns / 1e6, 4),
       fixed((right.ns - left.ns) / 1e6, 4),
       ratioText(right.ns / left.ns),
       fixed(left.gb_per_s, 1),
       fixed(right.gb_per_s, 1),
  ];
  const [ops, other] = [both('ops'), both('other')];
  const totals = [1, 2].map((at) => sum([...ops, ...other].map((part) => part[at].ns)));
  const groups = [{name: 'Operations', rows: ops.map(row)}];
  if (other.length > 0) groups.push({name: 'What is no operation', rows: other.map(row)});
  groups.push({
    foot: true,
    rows: [[
      'total', fixed(totals[0] / 1e6, 4), fixed(totals[1] / 1e6, 4), fixed((totals[1] - totals[0]) / 1e6, 4),
      ratioText(totals[1] / totals[0]), NONE, NONE
    ]]
  });
  const columns = ['operation', 'A, ms', 'B, ms', 'B − A, ms', 'B ÷ A', 'A, GB/s', 'B, GB/s'].map(
      (name, i) => ({name, text: i === 0}));
  return table({id, caption, columns, groups});
}

const ratioText = (ratio) => (Number.isFinite(ratio) ? fixed(ratio, 3) : NONE);

function operationsTable(all) {
  const having = all.filter(({run}) => partsOf(run.ops).length > 0);
  if (having.length === 2) {
    return partsBeside(
        {id: 'operations-table', caption: 'operations of a typical token, A and B', pick: ({run}) => run}, having);
  }
  return having.map((series) => partsTable({
                      id: 'operations-table',
                      caption: of(series, 'a typical token, all layers together'),
                      wholeName: 'token',
                      ops: partsOf(series.run.ops),
                      other: partsOf(series.run.other),
                      ms: object(series.run.token).ms_typical,
                      bandwidth: series.run.bandwidth_gb_per_s,
                    }))[0] ??
      null;
}

function operationsSection(all) {
  const layers = all.map(layersOf).filter(Boolean);
  const highest = Math.max(...layers.flatMap(({totals}) => totals));
  const charts = layers.map((one) => layersChart(one, highest));
  const parts = operationsTable(all);
  if (charts.length === 0 && !parts) return null;
  const lede = charts.map(({spec}) => el('p', {class: 'lede'}, spec.summary));
  return [
    section(
        'operations-section', 'Where a token\'s time goes', lede,
        el('div', {class: charts.length > 1 ? 'side-by-side' : null}, charts.map(({figure}) => figure)),
        charts.length > 0 && parts ?
            el('p', {class: 'note'}, 'What runs once a token, as embed and head do, is in this table only.') :
            null,
        parts),
    ...charts
  ];
}
