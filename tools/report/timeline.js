// SPDX-License-Identifier: Apache-2.0

// (e) One typical token, thread by thread: what each works on and when it waits.

const LANE = 30;
const LANE_GAP = 8;
const LEAST_WINDOW = 2;  // microseconds
const TIMELINE_ROWS = 500;

function lanesOf(series) {
  return list(object(series.run.timeline).lanes)
      .filter(isObject)
      .map((lane) => ({
             name: comparing ? `${series.letter}${SPACE}${lane.thread}` : `${lane.thread}`,
             thread: lane.thread,
             of: comparing ? `${series.letter}, thread ${lane.thread}` : `thread ${lane.thread}`,
             spans: list(lane.spans)
                        .filter((span) => isObject(span) && Number.isFinite(span.start_us) && span.us >= 0)
                        .sort((a, b) => a.start_us - b.start_us),
           }))
      .filter(({spans}) => spans.length > 0);
}

function spanAt(spans, time) {
  let [low, high] = [0, spans.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (spans[middle].start_us <= time)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

function timelineSection(all) {
  const lanes = all.flatMap(lanesOf);
  if (lanes.length === 0) return null;
  const ends = lanes.flatMap(({spans}) => spans.map(({start_us: start, us}) => start + us));
  const end = ends.reduce((most, value) => Math.max(most, value), 0);
  const first = [];  // index of each lane's first span
  let count = 0;
  for (const {spans} of lanes) {
    first.push(count);
    count += spans.length;
  }
  const place = (i) => {
    let lane = lanes.length - 1;
    while (first[lane] > i) --lane;
    return [lane, i - first[lane]];
  };
  let [from, to] = [0, end];
  let scale = null;
  const zoomed = () => to - from < end * 0.9999;

  function look(chart, start, stop) {
    const wide = clamp(stop - start, Math.min(LEAST_WINDOW, end), end);
    from = clamp(start, 0, end - wide);
    to = from + wide;
    chart.redraw();
    chart.figure.querySelector('.window').textContent =
        zoomed() ? `${fixed(from, 1)} to ${fixed(to, 1)} of ${fixed(end, 1)}${SPACE}µs` : 'the whole token';
    const data = chart.figure.querySelector('details');
    if (data.open) data.replaceChildren(data.firstChild, spansTable());
  }
  const zoom = (chart, factor, centre = (from + to) / 2) =>
      look(chart, centre - (centre - from) * factor, centre + (to - centre) * factor);

  function draw(canvas, width, height) {
    const laneName = ({name, of: long}) => (width < 600 ? name : long);
    const area = plotArea(width, height, lanes.map(laneName), {top: 26, bottom: 38});
    const x = scale = linear(from, to, area.left, area.right);
    const rowTop = (lane) => area.top + lane * (LANE + LANE_GAP);
    const clip = svg(
        'clipPath', {id: 'timeline-clip'}, svg('rect', {x: area.left, y: 0, width: area.right - area.left, height}));
    const hatch = svg(
        'pattern', {id: 'hatch', width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)'},
        svg('rect', {class: 'hatch-ground', width: 6, height: 6}),
        svg('line', {class: 'hatch-line', x1: 0, y1: 0, x2: 0, y2: 6}));
    const body = svg('g', {'clip-path': 'url(#timeline-clip)'});
    canvas.append(svg('defs', {}, clip, hatch), body);
    const group = svg('g', {class: 'axis'});
    lanes.forEach((one, lane) => {
      const {spans} = one;
      const y = rowTop(lane);
      group.append(svg('text', {x: area.left - 7, y: y + LANE / 2 + 4, 'text-anchor': 'end'}, laneName(one)));
      body.append(svg('rect', {class: 'lane', x: area.left, y, width: area.right - area.left, height: LANE}));
      let drawnTo = -Infinity;  // spans thinner than a pixel are drawn once for each half pixel
      for (let i = spanAt(spans, from); i < spans.length && spans[i].start_us <= to; ++i) {
        const span = spans[i];
        const [left, wide] = [x(span.start_us), (span.us * (area.right - area.left)) / (to - from)];
        if (left + wide < drawnTo + 0.5) continue;
        drawnTo = left + wide;
        const colour = colourOf(span.name, span.wait === true);
        body.append(
            svg('rect',
                {class: `span ${colour}`, x: left.toFixed(2), y, width: Math.max(0.5, wide).toFixed(2), height: LANE}));
        const label = span.wait                                 ? 'waits' :
            span.layer >= 0 && wide > textWidth(span.name) + 34 ? `${span.name} ${span.layer}` :
                                                                  span.name;
        const [seenFrom, seenTo] = [Math.max(left, area.left), Math.min(left + wide, area.right)];
        if (seenTo - seenFrom > textWidth(label) + 8)
          body.append(
              svg('text', {
                class: `span-text on-${colour}`,
                x: (seenFrom + seenTo) / 2,
                y: y + LANE / 2 + 4,
                'text-anchor': 'middle'
              },
                  label));
      }
    });
    // Where layers begin, as the first lane has it.
    let last = -1;
    let free = -Infinity;
    for (const span of lanes[0].spans) {
      if (span.wait || span.layer < 0 || span.layer === last) continue;
      last = span.layer;
      const at = x(span.start_us);
      const text = free === -Infinity ? `layer ${last}` : `${last}`;
      if (at < area.left - 0.5 || at > area.right - textWidth(text) || at < free) continue;
      free = at + textWidth(text) + 12;
      group.append(
          svg('line', {class: 'tick', x1: at, x2: at, y1: area.top - 9, y2: area.top}),
          svg('text', {x: at + 3, y: area.top - 5}, text));
    }
    canvas.append(group);
    const values = ticks(from, to, xTickCount(area));
    drawX(canvas, area, x, values, 'microseconds');
    return {
      count,
      mark(i) {
        const [lane, at] = place(i);
        const span = lanes[lane].spans[at];
        const left = clamp(x(span.start_us), area.left, area.right);
        const right = clamp(x(span.start_us + span.us), area.left, area.right);
        const where = span.layer >= 0 ? `, layer ${span.layer}` : '';
        return {
          box: [left, rowTop(lane), right - left, LANE],
          title: `${span.name}${where}${span.wait ? ': waits' : ''}`,
          rows: [
            ['on', lanes[lane].of], ['from', withUnit(fixed(span.start_us, 1), 'µs')],
            ['takes', withUnit(fixed(span.us, 1), 'µs')]
          ],
          text: span.wait ? 'at a barrier, for the other threads' : meaningOf(span.name),
        };
      },
      find(px, py) {
        const lane = Math.floor((py - area.top + LANE_GAP / 2) / (LANE + LANE_GAP));
        if (lane < 0 || lane >= lanes.length || px < area.left || px > area.right) return -1;
        const {spans} = lanes[lane];
        const time = x.invert(px);
        const at = spanAt(spans, time);
        const slack = (3 * (to - from)) / (area.right - area.left);
        if (spans[at].start_us - slack <= time && time <= spans[at].start_us + spans[at].us + slack)
          return first[lane] + at;
        const next = spans[at + 1];
        return next && next.start_us - slack <= time ? first[lane] + at + 1 : -1;
      },
      move(i, key) {
        const [lane, at] = place(i);
        const {spans} = lanes[lane];
        if (key === 'ArrowLeft' || key === 'ArrowRight')
          return first[lane] + clamp(at + (key === 'ArrowRight' ? 1 : -1), 0, spans.length - 1);
        if (key === 'Home') return first[lane];
        if (key === 'End') return first[lane] + spans.length - 1;
        if (key !== 'ArrowUp' && key !== 'ArrowDown') return undefined;
        const other = clamp(lane + (key === 'ArrowDown' ? 1 : -1), 0, lanes.length - 1);
        return first[other] + spanAt(lanes[other].spans, spans[at].start_us + spans[at].us / 2);
      },
    };
  }

  // What the keys lead to is moved into the window.
  function reveal(chart, i) {
    const [lane, at] = place(i);
    const {start_us: start, us} = lanes[lane].spans[at];
    if (start >= to || start + us <= from)
      look(chart, start + us / 2 - (to - from) / 2, start + us / 2 + (to - from) / 2);
  }

  function keys(event, chart) {
    const wide = to - from;
    const centre = () => {
      if (chart.index < 0) return (from + to) / 2;
      const [lane, at] = place(chart.index);
      const {start_us: start, us} = lanes[lane].spans[at];
      return clamp(start + us / 2, from, to);
    };
    const again = () => chart.index >= 0 && chart.choose(chart.index);
    if (event.key === '+' || event.key === '=')
      zoom(chart, 0.5, centre());
    else if (event.key === '-')
      zoom(chart, 2, centre());
    else if (event.key === '0')
      look(chart, 0, end);
    else if (event.shiftKey && event.key === 'ArrowLeft')
      look(chart, from - wide / 4, to - wide / 4);
    else if (event.shiftKey && event.key === 'ArrowRight')
      look(chart, from + wide / 4, to + wide / 4);
    else
      return false;
    if (!event.shiftKey || event.key === '+') again();
    return true;
  }

  // The wheel zooms once the chart has the focus (or with Ctrl), so that the page scrolls past it otherwise. Dragging
  // chooses what to look at; with Shift it moves the window.
  function pointer(chart) {
    const {plot} = chart;
    plot.classList.add('drags');
    const timeAt = (event) => clamp(scale.invert(event.clientX - chart.canvas.getBoundingClientRect().left), 0, end);
    plot.addEventListener('wheel', (event) => {
      if (!event.ctrlKey && document.activeElement !== plot) return;
      event.preventDefault();
      zoom(chart, clamp(2 ** (event.deltaY / 240), 0.25, 4), timeAt(event));
    }, {passive: false});
    let drag = null;
    plot.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      drag = {x: event.clientX, time: timeAt(event), from, to, pan: event.shiftKey};
      drag.box = drag.pan ?
          null :
          chart.canvas.appendChild(svg('rect', {class: 'brush', y: 18, height: lanes.length * (LANE + LANE_GAP) + 8}));
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener('pointermove', (event) => {
      if (!drag) return;
      if (drag.pan) {
        const shift = ((event.clientX - drag.x) * (drag.to - drag.from)) / (scale(drag.to) - scale(drag.from) || 1);
        look(chart, drag.from - shift, drag.to - shift);
        return;
      }
      const [a, b] = [scale(drag.time), scale(timeAt(event))].sort((p, q) => p - q);
      drag.box.setAttribute('x', a);
      drag.box.setAttribute('width', b - a);
    });
    const finish = (event) => {
      if (!drag) return;
      const done = drag;
      drag = null;
      done.box?.remove();
      if (!done.pan && event.type === 'pointerup' && Math.abs(event.clientX - done.x) > 5) {
        const [a, b] = [done.time, timeAt(event)].sort((p, q) => p - q);
        look(chart, a, b);
      }
    };
    plot.addEventListener('pointerup', finish);
    plot.addEventListener('pointercancel', finish);
    plot.addEventListener('dblclick', (event) => zoom(chart, 0.5, timeAt(event)));
  }

  const tools = (chart) => {
    const button = (id, name, text, act) => {
      const node = el('button', {type: 'button', id, 'aria-label': name}, text);
      node.addEventListener('click', act);
      return node;
    };
    return el(
        'div', {class: 'tools'}, button('zoom-in', 'Zoom in', '+', () => zoom(chart, 0.5)),
        button('zoom-out', 'Zoom out', '−', () => zoom(chart, 2)),
        button('zoom-all', 'Show the whole token', 'Whole token', () => look(chart, 0, end)),
        el('span', {class: 'window', role: 'status'}, 'the whole token'));
  };

  function spansTable() {
    const seen = lanes.flatMap(
        (lane) => lane.spans.filter((span) => span.start_us < to && span.start_us + span.us > from)
                      .map((span) => [lane, span]));
    const caption = `spans ${zoomed() ? `from ${fixed(from, 1)} to ${fixed(to, 1)} µs` : 'of the token'}` +
        (seen.length > TIMELINE_ROWS ? `; the first ${TIMELINE_ROWS} of ${whole(seen.length)}: zoom in for others` :
                                       '');
    return table({
      id: 'timeline-table',
      caption,
      columns: [
        {name: 'operation', text: true}, {name: 'thread'}, {name: 'layer'}, {name: 'from, µs'}, {name: 'takes, µs'},
        {name: 'waits', text: true}
      ],
      groups: [{
        rows: seen.slice(0, TIMELINE_ROWS)
                  .map(
                      ([lane, span]) =>
                          [span.name, lane.name, span.layer >= 0 ? `${span.layer}` : NONE, fixed(span.start_us, 1),
                           fixed(span.us, 1), span.wait ? 'yes' : ''])
      }],
    });
  }

  const waits = (lane) => sum(lane.spans.filter(({wait}) => wait).map(({us}) => us));
  const said =
      all.map((series) => {
           const own = lanesOf(series);
           if (own.length === 0) return null;
           const idle = own.slice(0, 4).map(
               (lane, i) => `thread ${lane.thread}${i === 0 ? ' waits' : ''} ${duration(waits(lane) / 1000)}${
                   i === 0 ? ' of it' : ''}`);
           const {ms} = series.run.timeline;
           return of(
               series,
               `a typical token of ${duration(ms)} on ${plural(own.length, 'thread')}` +
                   (own.some((lane) => waits(lane) > 0) ? `: ${idle.join(', ')}${own.length > 4 ? ' …' : ''}.` : '.'));
         })
          .filter(Boolean)
          .map(upperFirst);
  const shown = new Set(lanes.flatMap(({spans}) => spans.filter(({wait}) => !wait).map(({name}) => name)));
  const known = operationNames.filter((name) => shown.has(name));
  const chart = new Chart({
    id: 'timeline',
    name: 'Threads in one token',
    summary: said.join(' '),
    draw,
    keys,
    pointer,
    reveal,
    tools,
    hint:
        'up and down change the thread, plus and minus zoom, 0 shows the whole token, shift and arrows move the window',
    legend: [
      ...known.map((name) => ({swatch: `box ${colourOf(name)}`, text: name})),
      ...([...shown].some((name) => colourOf(name) === 'rest') ? [{swatch: 'box rest', text: 'what is no operation'}] :
                                                                 []),
      {swatch: 'box wait', text: 'waits'}
    ],
    note: 'Drag to look closer. The wheel, + and − zoom while the chart has the focus; 0 shows the whole token.',
    height: () => 26 + lanes.length * (LANE + LANE_GAP) - LANE_GAP + 46,
    tables: () => [spansTable()],
  });
  return [
    section('timeline-section', 'Threads in one token', paragraphs(said, 'lede'), chart.figure, all.map(workersTable)),
    chart
  ];
}

function workersTable(series) {
  const workers = list(series.run.workers).filter(isObject);
  if (workers.length === 0) return null;
  return table({
    id: `workers-table-${series.tone}`,
    caption: of(series, 'threads, a token'),
    columns: ['thread', 'works, ms', 'waits, ms', 'waits, share', 'pieces of work', 'pace'].map((name) => ({name})),
    groups: [{
      rows: workers.map(
          (worker) =>
              [`${worker.thread}`, fixed(worker.busy_ns / 1e6, 3), fixed(worker.wait_ns / 1e6, 3),
               percent(worker.wait_ns / (worker.busy_ns + worker.wait_ns)), fixed(worker.pieces, 1),
               fixed(worker.pace, 3)])
    }],
  });
}
