// SPDX-License-Identifier: Apache-2.0

// (d) Latency against context depth, over all runs, beside what memory allows; and the table of all runs.

function linesOf(source) {
  const threads = [...new Set(runsOf(source.report).map((run) => run.threads))].sort((a, b) => a - b);
  return threads
      .map((count) => ({
             ...source,
             threads: count,
             points: runsOf(source.report)
                         .filter((run) => run.threads === count && Number.isFinite(object(run.token).ms_p50))
                         .map((run) => ({
                                run,
                                depth: run.depth,
                                ms: run.token.ms_p50,
                                high: run.token.ms_p99,
                                memory: memoryMs(run)
                              }))
                         .sort((a, b) => a.depth - b.depth),
           }))
      .filter(({points}) => points.length > 0);
}

function contextsSummary(line) {
  const [first, last] = [line.points[0], line.points[line.points.length - 1]];
  const memory = Number.isFinite(last.memory) ? `, where memory alone would take ${duration(last.memory)}` : '';
  return of(
      line,
      `${plural(line.threads, 'thread')}: a token takes ${duration(first.ms)} at ${
          plural(first.depth, 'token')} of context, ` +
          `${duration(last.ms)} at ${whole(last.depth)}${memory}.`);
}

function contextsSection(chosen) {
  const lines = reports.flatMap(linesOf);
  const everything = reports.flatMap((source) => runsOf(source.report));
  if (everything.length < 2 || lines.length === 0) return null;
  const depths = [...new Set(lines.flatMap(({points}) => points.map(({depth}) => depth)))];
  if (depths.length < 2) return [section('contexts-section', 'All runs', runsTable())];

  // Without a second report colours tell thread counts apart; with one they tell the reports, and shapes the threads.
  const threadCounts = [...new Set(lines.map(({threads}) => threads))].sort((a, b) => a - b);
  lines.forEach((line) => {
    line.mark = threadCounts.indexOf(line.threads);
    line.colour = comparing ? line.tone : `hue${line.mark % 6}`;
    line.name = of(line, plural(line.threads, 'thread'));
  });
  const greatest =
      Math.max(...lines.flatMap(({points}) => points.map((point) => Math.max(point.ms, point.memory || 0))));
  const deepest = Math.max(...depths);
  const flat = lines.flatMap((line) => line.points.map((point) => ({line, point})));

  function draw(canvas, width, height) {
    const high = roundUp(greatest * 1.05, 5);
    const values = ticks(0, high, 5);
    const area = plotArea(width, height, values.map(tickText(values)), {right: 24});
    const x = linear(0, deepest, area.left + 10, area.right);
    const y = linear(0, high, area.bottom, area.top);
    drawY(canvas, area, y, values, 'milliseconds a token');
    drawX(canvas, area, x, ticks(0, deepest, xTickCount(area)), 'tokens of context');
    for (const {points, colour} of lines) {
      canvas.append(svg('path', {
        class: `line memory ${colour}`,
        d: pathOf(points.filter(({memory}) => Number.isFinite(memory)).map(({depth, memory}) => [x(depth), y(memory)]))
      }));
      canvas.append(
          svg('path', {class: `line thick ${colour}`, d: pathOf(points.map(({depth, ms}) => [x(depth), y(ms)]))}));
    }
    for (const {line, point} of flat) {
      const now = runKey(point.run) === chosen;
      canvas.append(shape(
          line.mark, x(point.depth), y(point.ms), now ? 6.5 : 4.5, `point ${now ? 'chosen ' : ''}${line.colour}`));
    }
    return {
      count: flat.length,
      mark(i) {
        const {line, point} = flat[i];
        return {
          x: x(point.depth),
          y: y(point.ms),
          title: of(line, runName(point.run)),
          rows: [
            ['median', milliseconds(point.ms)], ['p99', milliseconds(point.high)],
            ['memory alone', milliseconds(point.memory)],
            [
              'median over memory',
              Number.isFinite(point.memory) ? `${fixed(point.ms / point.memory, 2)}${SPACE}×` : NONE
            ]
          ],
        };
      },
      find(px, py) {
        let [best, least] = [-1, 60];
        flat.forEach(({point}, i) => {
          const distance = Math.hypot(x(point.depth) - px, y(point.ms) - py);
          if (distance < least) [best, least] = [i, distance];
        });
        return best;
      },
      move(i, key) {
        if (key !== 'ArrowUp' && key !== 'ArrowDown') return undefined;
        const at = lines.indexOf(flat[i].line) + (key === 'ArrowDown' ? 1 : -1);
        if (at < 0 || at >= lines.length) return i;
        const near = lines[at].points.reduce(
            (best, point) =>
                (Math.abs(point.depth - flat[i].point.depth) < Math.abs(best.depth - flat[i].point.depth) ? point :
                                                                                                            best));
        return flat.findIndex(({point}) => point === near);
      },
    };
  }
  const said = lines.map(contextsSummary);
  const summary = said.join(' ');
  const chart = new Chart({
    id: 'contexts',
    name: 'Latency against context',
    summary,
    draw,
    hint: 'up and down change the line',
    legend: [
      ...lines.map(
          (line) => ({swatch: `line thick mark${line.mark % 4} ${line.colour}`, text: `${line.name}, median`})),
      ...(lines.some(({points}) => points.some(({memory}) => Number.isFinite(memory))) ?
              [{swatch: 'line memory plain', text: 'dashed: what memory allows'}] :
              []),
    ],
    note: 'The larger mark is the run that is shown.',
    height: (width) => (width < 600 ? 260 : 320),
  });
  return [
    section(
        'contexts-section', 'Latency against context', el('div', {class: 'lede'}, paragraphs(said)), chart.figure,
        details('contexts-data', 'Table: all runs', () => [runsTable()])),
    chart
  ];
}

function runsTable() {
  const rows = reports.flatMap((source) => runsOf(source.report).map((run) => {
    const token = object(run.token);
    const name = of(source, runName(run));
    return [
      name, fixed(token.ms_p50, 3), fixed(token.ms_p90, 3), fixed(token.ms_p99, 3), fixed(token.ms_p999, 3),
      fixed(token.ms_max, 3), fixed(memoryMs(run), 3), fixed(token.tokens_per_s, 1), bytes(token.bytes),
      fixed(token.gb_per_s, 1), fixed(run.bandwidth_gb_per_s, 1), percent(token.bandwidth_share, 0),
      fixed(object(run.prefill).tokens_per_s, 1), fixed(object(run.ttft).ms_p50, 1)
    ];
  }));
  return table({
    id: 'runs-table',
    caption: 'all runs; latencies in milliseconds',
    columns: [
      'run', 'p50', 'p90', 'p99', 'p99.9', 'max', 'memory alone', 'tokens/s', 'bytes a token', 'GB/s', 'memory\'s GB/s',
      'share', 'prefill, tokens/s', 'first token'
    ].map((name, i) => ({name, text: i === 0})),
    groups: [{rows}],
  });
}
