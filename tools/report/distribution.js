// SPDX-License-Identifier: Apache-2.0

// (b) How many tokens took how long: bars, and below them the share that took no longer.

const QUANTILES = [[0.5, 'p50', 'ms_p50'], [0.9, 'p90', 'ms_p90'], [0.99, 'p99', 'ms_p99']];

function binsOf(drawn) {
  const low = Math.min(...drawn.map(({sorted}) => sorted[0]));
  const high = Math.max(...drawn.map(({sorted}) => {
    const [p50, p99] = [quantile(sorted, 0.5), quantile(sorted, 0.99)];
    return Math.min(sorted[sorted.length - 1], p99 + 0.5 * (p99 - p50) + 0.02 * p50);
  }));
  const spread = Math.max(high - low, low * 0.01, 1e-6);
  // Freedman and Diaconis (1981): twice the middle half's width over the cube root of the count.
  const width = Math.min(
      ...drawn.map(({sorted}) => (2 * (quantile(sorted, 0.75) - quantile(sorted, 0.25))) / Math.cbrt(sorted.length)));
  const {step} = ticks(low, low + spread, clamp(spread / width || 0, 10, 60));
  const first = Math.floor(low / step + 1e-9);
  const count = Math.max(1, Math.floor(high / step + 1e-9) - first + 1);
  const bounds = Array.from({length: count + 1}, (_, i) => (first + i) * step);
  bounds.step = step;
  return bounds;
}

// One more than there are bins: the last is above all.
function countIn(sorted, bounds) {
  const counts = new Array(bounds.length).fill(0);
  for (const ms of sorted) counts[clamp(Math.floor((ms - bounds[0]) / bounds.step + 1e-9), 0, bounds.length - 1)] += 1;
  return counts;
}

function distributionSection(all) {
  const drawn = all.map((series) => ({...series, sorted: ascending(numbersOf(series.run.itl_ms))}))
                    .filter(({sorted}) => sorted.length > 1);
  if (drawn.length === 0) return null;
  const bounds = binsOf(drawn);
  const bins = bounds.length - 1;
  for (const series of drawn) {
    series.counts = countIn(series.sorted, bounds);
    series.shares = series.counts.map((count) => count / series.sorted.length);
    let below = 0;
    series.below = series.counts.map((count) => (below += count) / series.sorted.length);
    series.quantiles =
        QUANTILES.map(([q, name, field]) => [name, object(series.run.token)[field] ?? quantile(series.sorted, q), q]);
  }
  const above = Math.max(...drawn.map(({counts}) => counts[bins]));
  const tickFormat = tickText(bounds);
  const nameOf = (i) =>
      (i < bins ? `${tickFormat(bounds[i])} to ${tickFormat(bounds[i + 1])}${SPACE}ms` :
                  `over ${tickFormat(bounds[bins])}${SPACE}ms`);

  function draw(canvas, width, height) {
    const most = Math.max(...drawn.flatMap(({shares}) => shares)) * 100;
    const high = roundUp(most * 1.02, 4);
    const values = ticks(0, high, 4);
    const split = Math.round(height * 0.5);
    const area = plotArea(width, split, [...values.map(tickText(values)), '100'], {bottom: 10});
    const lower = {...area, top: split + 26, bottom: height - 38};
    // Room at the right for the bar of what's above the axis.
    const end = bounds[bins] + (above > 0 ? 2 * bounds.step : 0);
    const x = linear(bounds[0], end, area.left, area.right);
    const y = linear(0, high, area.bottom, area.top);
    const y2 = linear(0, 100, lower.bottom, lower.top);
    const [from, wide] =
        [(i) => x(i < bins ? bounds[i] : bounds[bins] + bounds.step), x(bounds[0] + bounds.step) - x(bounds[0])];
    drawY(canvas, area, y, values, '% of tokens');
    drawY(canvas, lower, y2, [0, 50, 100], '% took no longer', whole);
    drawX(canvas, lower, x, ticks(bounds[0], bounds[bins], xTickCount(area)), 'milliseconds a token');
    const gap = wide > 6 ? 1 : wide > 3 ? 0.5 : 0;
    for (const series of drawn) {
      series.shares.forEach((share, i) => {
        if (share <= 0) return;
        const box = {
          x: from(i) + gap / 2,
          y: y(100 * share),
          width: Math.max(0.5, wide - gap),
          height: area.bottom - y(100 * share)
        };
        canvas.append(svg('rect', {class: `bin ${series.tone}${comparing ? ' over' : ''}`, ...box}));
      });
    }
    if (above > 0 && wide > 2) {
      canvas.append(
          svg('text', {
            class: 'mark-text',
            x: area.right,
            y: y(100 * Math.max(...drawn.map(({shares}) => shares[bins]))) - 5,
            'text-anchor': 'end'
          },
              `over ${tickFormat(bounds[bins])}`));
    }
    for (const series of drawn) {
      const {sorted} = series;
      const points = [[x(bounds[0]), lower.bottom]];
      const stride = Math.max(1, Math.floor(sorted.length / 2000));
      for (let i = 0; i < sorted.length; i += stride)
        if (sorted[i] <= end) points.push([x(sorted[i]), y2((100 * (i + 1)) / sorted.length)]);
      points.push([area.right, points[points.length - 1][1]]);
      canvas.append(svg('path', {class: `line curve ${series.tone}`, d: pathOf(points)}));
      for (const [name, ms, q] of series.quantiles) {
        if (!(ms <= end)) continue;
        canvas.append(shape(series.tone === 'b' ? 1 : 0, x(ms), y2(100 * q), 3.5, `point ${series.tone}`));
        if (comparing) continue;
        const label = `${name} ${duration(ms)}`;
        const fits = x(ms) + 9 + textWidth(label) < width;
        canvas.append(
            svg('text', {
              class: 'mark-text',
              x: fits ? x(ms) + 8 : x(ms) - 8,
              y: y2(100 * q) +
                  (q > 0.95    ? 17 :
                       q > 0.8 ? 12 :
                                 5),
              'text-anchor': fits ? 'start' : 'end'
            },
                label));
      }
    }
    const count = above > 0 ? bins + 1 : bins;
    return {
      count,
      mark: (i) => ({
        box: [from(i), area.top, wide, lower.bottom - area.top],
        title: nameOf(i),
        rows: drawn.flatMap(
            (series) => [
                [of(series, 'tokens'), `${whole(series.counts[i])} (${percent(series.shares[i])})`],
                [of(series, 'this long or less'), percent(series.below[i])],
    ]),
      }),
      find(px, py) {
        if (px < area.left || px > area.right || py < area.top - 10 || py > lower.bottom + 20) return -1;
        const at = x.invert(px);
        return at < bounds[bins] ? clamp(Math.floor((at - bounds[0]) / bounds.step), 0, bins - 1) :
            above > 0            ? bins :
                                   bins - 1;
      },
    };
  }

  const words = (series) => series.quantiles.map(([name, ms]) => `${name}${SPACE}${duration(ms)}`).join(', ');
  const spread = (series) => {
    const [p10, p90] = [quantile(series.sorted, 0.1), quantile(series.sorted, 0.9)];
    return `eight in ten tokens take between ${duration(p10)} and ${duration(p90)}`;
  };
  const said = drawn.map((series) => upperFirst(of(series, `${spread(series)}; ${words(series)}.`)));
  const summary = said.join(' ');
  const chart = new Chart({
    id: 'distribution',
    name: 'How tokens are spread',
    summary,
    draw,
    legend: comparing ?
        drawn.map((series) => ({swatch: `box ${series.tone}`, text: `${series.letter}: ${words(series)}`})) :
        null,
    height: (width) => (width < 600 ? 330 : 360),
    tables: () =>
        [table({
           id: 'distribution-table',
           caption: 'tokens by latency',
           columns: [
             'latency',
             ...drawn.flatMap((series) => [of(series, 'tokens'), of(series, 'share'), of(series, 'this long or less')])
           ].map((name) => ({name})),
           groups: [{
             rows: bounds.map(
                 (_, i) =>
                     [nameOf(i),
                      ...drawn.flatMap(
                          (series) => [whole(series.counts[i]), percent(series.shares[i]), percent(series.below[i])])])
           }],
         }),
         ...drawn.map(histogramTable),
  ],
  });
  return [section('distribution-section', 'How tokens are spread', paragraphs(said, 'lede'), chart.figure), chart];
}

// The library's own histogram, in the bounds that vLLM's metrics have.
function histogramTable(series) {
  const {bounds_s: bounds, counts} = object(series.run.histogram);
  if (numbersOf(bounds).length === 0 || numbersOf(counts).length !== bounds.length + 1) return null;
  return table({
    caption: of(series, 'the same in the buckets of vLLM\'s metrics'),
    columns: [{name: 'seconds'}, {name: 'tokens'}],
    groups: [{
      rows: counts.map(
          (count, i) => [i < bounds.length ? `up to ${bounds[i]}` : `over ${bounds[bounds.length - 1]}`, whole(count)])
    }],
  });
}
