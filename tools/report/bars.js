// SPDX-License-Identifier: Apache-2.0

// (f) Memory by owner; (g) load, first token and prompt: bars with their figures beside them.

// items: [{name, bars: [{tone, value}]}], one bar for each report that has the item; text writes a value.
function barChart({id, name, summary, items, text, note, tables}) {
  const greatest = Math.max(...items.flatMap(({bars}) => bars.map(({value}) => value)), 1e-12);
  const flat = items.flatMap((item) => item.bars.map((bar) => ({item, bar})));
  const THICK = comparing ? 13 : 18;
  const narrow = (width) => width < 520;
  const pitch = (item, width) => item.bars.length * (THICK + 2) + (narrow(width) ? 30 : 12);
  const height = (width) => sum(items.map((item) => pitch(item, width))) + 4;
  function draw(canvas, width) {
    const names =
        narrow(width) ? 0 : Math.min(width * 0.3, Math.max(...items.map((item) => textWidth(item.name))) + 16);
    const values = Math.max(...flat.map(({bar}) => textWidth(text(bar.value)))) + 12;
    const x = linear(0, greatest, names, Math.max(names + 40, width - values));
    const boxes = [];
    let y = 2;
    for (const item of items) {
      const top = y + (narrow(width) ? 19 : 5);
      const middle = top + (item.bars.length * (THICK + 2)) / 2;
      const place = narrow(width) ? {x: 0, y: y + 14} : {x: names - 10, y: middle + 4, 'text-anchor': 'end'};
      canvas.append(svg('text', {class: 'bar-name', ...place}, fitted(item.name, narrow(width) ? width : names - 10)));
      item.bars.forEach(({tone, value}, k) => {
        const box = [x(0), top + k * (THICK + 2), Math.max(1, x(value) - x(0)), THICK];
        boxes.push(box);
        canvas.append(
            svg('rect', {
              class: `bar-mark ${item.pale ? 'pale ' : ''}${tone}`,
              x: box[0],
              y: box[1],
              width: box[2],
              height: THICK
            }),
            svg('text', {class: 'mark-text', x: box[0] + box[2] + 6, y: box[1] + THICK / 2 + 4}, text(value)));
      });
      y += pitch(item, width);
    }
    return {
      count: boxes.length,
      mark: (i) => ({
        box: boxes[i],
        title: flat[i].item.name,
        rows: [[flat[i].bar.letter ?? '', text(flat[i].bar.value)], ...(flat[i].bar.rows ?? [])].map(
            ([a, b]) => [a || 'in all', b]),
        text: flat[i].item.text
      }),
      find: (px, py) => boxes.findIndex(([, top, , thick]) => py >= top - 2 && py < top + thick + 2 && px >= 0),
      move: (i, key) =>
          (key === 'ArrowDown'   ? i + 1 :
               key === 'ArrowUp' ? i - 1 :
                                   undefined),
    };
  }
  const legend = comparing ?
      reports.map(({tone, letter, report}) => ({swatch: `box ${tone}`, text: `${letter}: ${modelName(report)}`})) :
      null;
  return new Chart({id, name, summary, legend, note, height, draw, tables});
}

function memorySection() {
  const owners = new Map();
  for (const {report, tone, letter} of reports) {
    const parts = list(report.memory).filter((part) => isObject(part) && part.bytes >= 0);
    const total = sum(parts.map((part) => part.bytes));
    for (const part of parts) {
      const name = String(part.owner);
      if (!owners.has(name)) owners.set(name, {name, pale: name === 'kv cache free', bars: []});
      owners.get(name).bars.push({
        tone,
        letter: comparing ? letter : undefined,
        value: part.bytes,
        rows: [['share', percent(part.bytes / total)]],
        share: part.bytes / total
      });
    }
  }
  const items = [...owners.values()].sort(
      (p, q) => Math.max(...q.bars.map(({value}) => value)) - Math.max(...p.bars.map(({value}) => value)));
  if (items.length === 0) return null;
  const said = reports.flatMap((source) => {
    const parts = list(source.report.memory).filter((part) => isObject(part) && part.bytes >= 0);
    if (parts.length === 0) return [];
    const most = parts.reduce((p, q) => (q.bytes > p.bytes ? q : p));
    const total = sum(parts.map((part) => part.bytes));
    return [of(source, `${bytes(total)} in all, ${percent(most.bytes / total, 0)} of it ${most.owner}.`)];
  });
  const chart = barChart({
    id: 'memory',
    name: 'Memory by owner',
    summary: said.join(' '),
    items,
    text: bytes,
    tables: () => [table({
      id: 'memory-table',
      caption: 'memory by owner',
      columns: [
        {name: 'owner', text: true},
        ...reports.flatMap((source) => [{name: of(source, 'bytes')}, {name: of(source, 'share')}])
      ],
      groups: [{
        rows: items.map((item) => [item.name, ...reports.flatMap(({tone}) => {
                          const bar = item.bars.find((candidate) => candidate.tone === tone);
                          return bar ? [whole(bar.value), percent(bar.share)] : [NONE, NONE];
                        })])
      }],
    })],
  });
  return [section('memory-section', 'Memory by owner', paragraphs(said, 'lede'), chart.figure), chart];
}

// The parts of a span of time, of all reports that have it: [{name, text, ms(source)}].
function timesChart(id, name, parts, sources, said) {
  const items = parts
                    .map((part) => ({
                           name: part.name,
                           text: part.text,
                           bars: sources
                                     .map((source) => ({
                                            tone: source.tone,
                                            letter: comparing ? source.letter : undefined,
                                            value: part.ms(source)
                                          }))
                                     .filter(({value}) => Number.isFinite(value)),
                         }))
                    .filter(({bars}) => bars.length > 0);
  if (items.length === 0) return null;
  const chart = barChart({
    id,
    name,
    summary: said.join(' '),
    items,
    text: duration,
    tables: () => [table({
      id: `${id}-table`,
      caption: `${name.toLowerCase()}, milliseconds`,
      columns: [{name: 'part', text: true}, ...sources.map((source) => ({name: comparing ? source.letter : 'ms'}))],
      groups: [{
        rows: items.map(
            (item) =>
                [item.name,
                 ...sources.map(({tone}) => fixed(item.bars.find((bar) => bar.tone === tone)?.value ?? NaN, 3))])
      }],
    })],
  });
  return {chart, node: el('div', {}, el('h3', {}, name), paragraphs(said, 'lede'), chart.figure)};
}

function loadChart() {
  const sources = reports.filter(({report}) => Number.isFinite(object(report.load).seconds));
  if (sources.length === 0) return null;
  const seconds = (field) => ({report}) => report.load[field] * 1000;
  const said =
      sources
          .map((source) => {
            const {load} = source.report;
            const cached = Number.isFinite(load.cached_share) ?
                `${percent(load.cached_share, 0)} of the file lay in the page cache` :
                null;
            const disk = load.disk_bytes > 0 ? `${bytes(load.disk_bytes)} came from the disk` :
                load.disk_bytes === 0 ? 'nothing came from the disk' :
                                        null;
            const how = load.weight_bytes > 0 ? `${bytes(load.weight_bytes)} ${load.mapped ? 'mapped' : 'read'} by ${
                                                    plural(load.threads ?? 1, 'thread')}` :
                                                null;
            return of(source,
                      [`loaded in ${duration(load.seconds * 1000)}`, how, cached, disk].filter(Boolean).join(', ')) +
                '.';
          })
          .map(upperFirst);
  return timesChart(
      'load', 'Loading the model',
      [
        {name: 'in all', ms: seconds('seconds')},
        {name: 'metadata', ms: seconds('metadata_seconds')},
        {name: 'weights', ms: seconds('weights_seconds')},
        {name: 'tokenizer', text: 'while weights are loaded', ms: seconds('tokenizer_seconds')},
        {
          name: 'to a first token',
          text: 'from the start of loading to the answer to a short prompt',
          ms: seconds('first_token_seconds')
        },
      ],
      sources, said);
}

function firstTokenChart(all) {
  const sources = all.filter(({run}) => Number.isFinite(object(run.ttft).ms_p50));
  if (sources.length === 0) return null;
  const said = sources.map((source) => {
    const {ttft, prefill} = source.run;
    const prompt = isObject(prefill) ?
        ` for a prompt of ${plural(prefill.n_tokens, 'token')} (${short(prefill.tokens_per_s)} tokens a second)` :
        '';
    return of(source, `${duration(ttft.ms_p50)} to the first token${prompt}.`);
  });
  const part = (field) => ({run}) => run.ttft[field] ?? NaN;
  return timesChart(
      'first-token', 'Time to first token',
      [
        {name: 'in all', ms: part('ms_p50')},
        {name: 'tokenize', ms: part('tokenize_ms')},
        {name: 'prefill', ms: part('prefill_ms')},
        {name: 'sample', ms: part('sample_ms')},
      ],
      sources, said);
}

function startSection(all) {
  const [first, load] = [firstTokenChart(all), loadChart()];
  const prompts = all.filter(({run}) => partsOf(object(run.prefill).ops).length > 0);
  const charts = [first, load].filter(Boolean);  // each with the node that holds it
  if (charts.length === 0 && prompts.length === 0) return null;
  const caption = 'the whole prompt, operation by operation';
  const operations = prompts.length === 0 ?
      null :
      details(
          'prefill-data', 'Table: operations of the prompt',
          () =>
              [prompts.length === 2 ?
                   partsBeside({id: 'prefill-table', caption, pick: ({run}) => run.prefill}, prompts) :
                   partsTable({
                     id: 'prefill-table',
                     caption: of(prompts[0], caption),
                     wholeName: 'prompt',
                     bandwidth: prompts[0].run.bandwidth_gb_per_s,
                     ops: partsOf(prompts[0].run.prefill.ops),
                     other: partsOf(prompts[0].run.prefill.other),
                     ms: 0
                   }),
  ]);
  const rounds = all.filter(({run}) => numbersOf(run.ttft_ms).length > 0);
  const each = rounds.length === 0 ?
      null :
      details(
          'ttft-data', 'Table: first token in each round',
          () => rounds.map((series) => table({
                             caption: of(series, 'time to first token, milliseconds'),
                             columns: [{name: 'round'}, {name: 'ms'}],
                             groups: [{rows: numbersOf(series.run.ttft_ms).map((ms, i) => [whole(i), fixed(ms, 3)])}],
                           })));
  return [
    section(
        'start-section', 'Prompt, first token and load',
        el('div', {class: charts.length > 1 ? 'side-by-side' : null}, charts.map(({node}) => node)), operations, each),
    ...charts.map(({chart}) => chart)
  ];
}
