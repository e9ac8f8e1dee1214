// SPDX-License-Identifier: Apache-2.0

// (a) Every token's latency, round after round.

const roundOf = (series, i) => {
  const length = object(series.report.options).n_tokens;
  return length > 0 ? [Math.floor(i / length), i % length] : [0, i];
};

// What one column of pixels shows, where there are more tokens than columns.
function columnsOf(values, count, total) {
  const columns = [];
  for (let c = 0; c < count; ++c) {
    const from = Math.ceil((c * total) / count);
    const to = Math.min(values.length, Math.ceil(((c + 1) * total) / count));
    if (from >= to) continue;
    let [least, greatest] = [Infinity, -Infinity];
    for (let i = from; i < to; ++i) {
      least = Math.min(least, values[i]);
      greatest = Math.max(greatest, values[i]);
    }
    columns.push({from, to, least, greatest});
  }
  return columns;
}

function medianOf(series) {
  const {ms_p50: given} = object(series.run.token);
  return Number.isFinite(given) ? given : quantile(ascending(numbersOf(series.run.itl_ms)), 0.5);
}

function latencySummary(series) {
  const itl = numbersOf(series.run.itl_ms);
  const sorted = ascending(itl);
  const memory = memoryMs(series.run);
  const rounds = Math.max(1, roundOf(series, itl.length - 1)[0] + 1);
  const p99 = object(series.run.token).ms_p99 ?? quantile(sorted, 0.99);
  return `${plural(itl.length, 'token')} in ${plural(rounds, 'round')}: the median is ${duration(medianOf(series))}, ` +
      `1 in 100 takes more than ${duration(p99)}, the slowest took ${duration(sorted[sorted.length - 1])}.` +
      (Number.isFinite(memory) ? ` Reading memory alone would take ${duration(memory)}.` : '');
}

function slowestOf(series, itl) {
  const length = object(series.report.options).n_tokens;
  return list(series.run.slowest)
      .filter(isObject)
      .map((slow, rank) => ({
             ...slow,
             rank: rank + 1,
             at: slow.round > 0 && length > 0 ? slow.round * length + slow.token : slow.token,
           }))
      .filter((slow) => slow.at >= 0 && slow.at < itl.length);
}

const tokenPlace = (series, i) => {
  const [round, token] = roundOf(series, i);
  return `round ${whole(round)}, token ${whole(token)}`;
};

function latencySection(all) {
  const drawn = all.map((series) => ({...series, itl: numbersOf(series.run.itl_ms)}))
                    .filter(({itl}) => itl.length > 0)
                    .map((series) => ({
                           ...series,
                           median: medianOf(series),
                           memory: memoryMs(series.run),
                           slow: slowestOf(series, series.itl)
                         }));
  if (drawn.length === 0) return null;
  const total = Math.max(...drawn.map(({itl}) => itl.length));
  const sorted = drawn.map(({itl}) => ascending(itl));
  const greatest = Math.max(...sorted.map((values) => values[values.length - 1]));
  // A few tokens that took many times as long must not flatten the rest: they stand at the edge, with their figures.
  const needed = Math.max(...drawn.map(
      (series, i) => Math.max(quantile(sorted[i], 0.99) * 1.3, series.median * 1.5, (series.memory || 0) * 1.2)));
  const limit = greatest > needed * 1.25 ? needed : greatest;
  let folded = false;
  let beyond = 0;

  function draw(canvas, width, height) {
    const high = roundUp(limit * 1.02, 5);
    const values = ticks(0, high, 5);
    const area = plotArea(width, height, values.map(tickText(values)));
    const y = linear(0, high, area.bottom, area.top);
    const x = linear(-0.5, total - 0.5, area.left, area.right);
    const within = (ms) => Math.max(area.top, y(ms));
    drawY(canvas, area, y, values, 'milliseconds a token');
    drawX(canvas, area, x, ticks(0, total - 1, xTickCount(area), 1), 'token, over all rounds');
    const length = object(drawn[0].report.options).n_tokens;
    if (length > 0 && total / length <= 40) {
      for (let at = length; at < total; at += length) {
        const edge = Math.round(x(at - 0.5)) + 0.5;
        canvas.append(svg('line', {class: 'round', x1: edge, x2: edge, y1: area.top, y2: area.bottom}));
      }
    }
    const count = Math.max(1, Math.floor(area.right - area.left));
    folded = total > count;
    beyond = 0;
    for (const series of drawn) {
      if (folded) {
        series.columns = columnsOf(series.itl, count, total);
        const path = series.columns.map(({from, to, least, greatest: most}) => {
          const at = x((from + to - 1) / 2).toFixed(1);
          return `M${at} ${(Math.min(within(least), area.bottom) + 0.5).toFixed(1)}V${(within(most) - 0.5).toFixed(1)}`;
        });
        canvas.append(svg('path', {class: `range ${series.tone}`, d: path.join('')}));
      } else {
        canvas.append(
            svg('path', {class: `line ${series.tone}`, d: pathOf(series.itl.map((ms, i) => [x(i), within(ms)]))}));
      }
    }
    for (const series of drawn) {
      if (Number.isFinite(series.memory) && series.memory <= high)
        canvas.append(horizontal(area, y(series.memory), `memory ${comparing ? series.tone : ''}`));
      if (series.median <= high)
        canvas.append(horizontal(area, y(series.median), `median ${comparing ? series.tone : ''}`));
    }
    for (const series of drawn) {
      series.itl.forEach((ms, i) => {
        if (ms <= high || series.slow.some((slow) => slow.at === i)) return;
        ++beyond;
        canvas.append(svg('path', {class: `beyond ${series.tone}`, d: `M${x(i) - 4} ${area.top + 3}l4 -7l4 7z`}));
      });
    }
    drawSlowest(canvas, x, y, area, high, width);
    return marksOf(x, within, area, count);
  }

  function drawSlowest(canvas, x, y, area, high, width) {
    const taken = [];
    // A label that would lie on another one moves down, or is left out: the list below the chart has them all.
    const label = (text, left, baseline, tries) => {
      const right = left + textWidth(text);
      for (let line = baseline; tries > 0; --tries, line += 14) {
        if (taken.some((one) => left < one.right + 3 && one.left < right + 3 && Math.abs(one.line - line) < 13))
          continue;
        taken.push({left, right, line});
        canvas.append(svg('text', {class: 'mark-text', x: left, y: line}, text));
        return;
      }
    };
    for (const series of drawn) {
      for (const slow of series.slow) {
        const ms = series.itl[slow.at];
        const cx = x(slow.at);
        const cy = ms > high ? area.top : y(ms);
        if (ms > high) ++beyond;
        canvas.append(shape(series.tone === 'b' ? 1 : 0, cx, cy, 4.5, `slow ${comparing ? series.tone : ''}`));
        const name = comparing ? `${series.letter}${slow.rank}` : `${slow.rank}`;
        if (ms <= high) {
          label(name, cx - textWidth(name) / 2, cy - 9, 1);
        } else {
          const text = `${name}: ${duration(ms)}`;
          label(text, cx + 9 + textWidth(text) < width ? cx + 9 : cx - 9 - textWidth(text), cy + 4, 4);
        }
      }
    }
  }

  function marksOf(x, within, area, columns) {
    const count = folded ? columns : total;
    // The slowest tokens, wherever they are, in the order of the axis.
    const peaks = [
      ...new Set(drawn.flatMap(
          (series) => series.slow.map((slow) => (folded ? Math.floor((slow.at * columns) / total) : slow.at))))
    ].sort((a, b) => a - b);
    const slowIn = (series, from, to) => series.slow.filter(({at}) => at >= from && at < to);
    return {
      count,
      rule: area,
      mark(i) {
        const [from, to] =
            folded ? [Math.ceil((i * total) / columns), Math.ceil(((i + 1) * total) / columns)] : [i, i + 1];
        const rows = [];
        const dots = [];
        for (const series of drawn) {
          const values = series.itl.slice(from, to);
          if (values.length === 0) continue;
          const most = Math.max(...values);
          dots.push(within(most));
          const name = comparing ? series.letter : 'latency';
          rows.push([
            name, values.length === 1 ? milliseconds(most) : `${fixed(Math.min(...values), 3)} to ${milliseconds(most)}`
          ]);
          if (!comparing && Number.isFinite(series.median))
            rows.push(['over the median', milliseconds(most - series.median)]);
        }
        const reasons =
            drawn.flatMap((series) => slowIn(series, from, to).map((slow) => of(series, String(slow.reason ?? ''))));
        const place = tokenPlace(drawn[0], from);
        const title = to - from > 1 ? `tokens ${whole(from)} to ${whole(to - 1)} of all` : place;
        return {
          x: x((from + to - 1) / 2),
          y: Math.min(...dots, area.bottom),
          dots,
          title,
          rows,
          text: reasons.join(' · ')
        };
      },
      find(px, py) {
        if (px < area.left - 4 || px > area.right + 4 || py > area.bottom + 20) return -1;
        // Close to a slow token, that one is meant.
        for (const series of drawn)
          for (const slow of series.slow)
            if (Math.hypot(x(slow.at) - px, within(series.itl[slow.at]) - py) < 9)
              return folded ? Math.floor((slow.at * columns) / total) : slow.at;
        const at = clamp(Math.round(x.invert(px)), 0, total - 1);
        return folded ? Math.floor((at * columns) / total) : at;
      },
      move(i, key) {
        if (key === 'ArrowDown') return peaks.find((at) => at > i) ?? peaks[0] ?? i;
        if (key === 'ArrowUp') return peaks.findLast((at) => at < i) ?? peaks[peaks.length - 1] ?? i;
        return undefined;
      },
    };
  }

  const legend = drawn.flatMap(
      (series) =>
          [{swatch: `line ${series.tone}`, text: of(series, 'each token')},
           {
             swatch: `line median ${comparing ? series.tone : ''}`,
             text: of(series, `median ${duration(series.median)}`)
           },
           ...(Number.isFinite(series.memory) ? [{
             swatch: `line memory ${comparing ? series.tone : ''}`,
             text: of(series, `memory alone ${duration(series.memory)}`)
           }] :
                                                []),
  ]);
  if (roundOf(drawn[0], total - 1)[0] > 0) legend.push({swatch: 'line round', text: 'a round ends'});
  for (const series of drawn) {
    if (series.slow.length === 0) continue;
    legend.push({swatch: `dot ${comparing ? series.tone : 'slow'}`, text: of(series, 'the slowest, numbered')});
  }
  const said = drawn.map((series) => of(series, latencySummary(series)));
  const summary = said.join(' ');
  const chart = new Chart({
    id: 'latency',
    name: 'Latency of each token',
    summary,
    legend,
    draw,
    hint: 'up and down lead to the slowest tokens',
    height: (width) => (width < 600 ? 240 : 300),
    note:
        () => [folded ?
                   `${plural(total, 'token')}: each column of pixels shows the least and the greatest of its tokens.` :
                   '',
               beyond > 0 ? `${plural(beyond, 'token')} took longer than the axis is high and stand${
                                beyond === 1 ? 's' : ''} at its upper edge.` :
                            '',
  ].filter(Boolean)
                  .join(' '),
    tables: () => drawn.map(latencyTable),
  });
  return [
    section(
        'latency-section', 'Latency of each token', paragraphs(said, 'lede'), chart.figure,
        el('div', {class: comparing ? 'side-by-side' : null}, drawn.map(slowestList))),
    chart
  ];
}

function slowestList(series) {
  if (series.slow.length === 0) return null;
  return el(
      'div', {class: 'slowest'},
      el('h3', {}, comparing ? `The slowest tokens of ${series.letter}` : 'The slowest tokens'),
      el('ol', {},
         series.slow.map(
             (slow) =>
                 el('li', {}, el('span', {class: 'when'}, `${tokenPlace(series, slow.at)}: ${duration(slow.ms)}`),
                    Number.isFinite(slow.excess_ms) ? `, ${duration(slow.excess_ms)} over a typical token` : '',
                    slow.reason ? `: ${slow.reason}` : ''))));
}

const TABLE_ROWS = 1000;

function latencyTable(series) {
  const {itl} = series;
  const step = Math.ceil(itl.length / TABLE_ROWS);
  const caption = of(series, 'latency between tokens, milliseconds') +
      (step > 1 ? `; ${plural(step, 'token')} a row, each of them is in the report's JSON` : '');
  const rows = [];
  for (let i = 0; i < itl.length; i += step) {
    const part = ascending(itl.slice(i, i + step));
    const [round, token] = roundOf(series, i);
    rows.push(
        step > 1 ?
            [
              whole(i), whole(part.length), fixed(part[0], 3), fixed(quantile(part, 0.5), 3),
              fixed(part[part.length - 1], 3)
            ] :
            [whole(i), whole(round), whole(token), fixed(itl[i], 3)]);
  }
  const names = step > 1 ? ['from token', 'tokens', 'least', 'median', 'greatest'] : ['of all', 'round', 'token', 'ms'];
  return table({id: `latency-table-${series.tone}`, caption, columns: names.map((name) => ({name})), groups: [{rows}]});
}
