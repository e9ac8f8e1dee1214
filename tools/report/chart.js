// SPDX-License-Identifier: Apache-2.0

// A chart: one tab stop, whose arrow keys step through its marks as a pointer does.
//
// spec.id, name     of the figure; what to call the chart
// spec.summary      a sentence that says what it shows
// spec.hint         what keys do besides left and right
// spec.legend       [{swatch, text}]
// spec.note         what one should know about the drawing, or a function that says it after drawing
// spec.height       of the drawing, for a width
// spec.draw(svg, width, height, chart) draws, and returns its marks:
//   count            how many there are
//   mark(i)          {x, y} or {box: [x, y, width, height]} in pixels; title, rows [[name, value]], text
//   find(x, y)       the mark under a pointer, or -1
//   move(i, key)     where another key leads, if anywhere
// spec.keys(event, chart) and spec.pointer(chart): more ways to use it
// spec.tables()     the data

const tip = document.getElementById('tip');
const live = document.getElementById('live');
let tipOwner = null;
let tipMark = null;

function hideTip() {
  tip.hidden = true;
  tipOwner?.clearCursor();
  tipOwner = null;
}

// Beside its mark, and inside of the window.
function placeTip() {
  if (!tipOwner) return;
  const plot = tipOwner.plot.getBoundingClientRect();
  const [x, y] = tipMark.box ? [tipMark.box[0] + tipMark.box[2] / 2, tipMark.box[1]] : [tipMark.x, tipMark.y];
  const {offsetWidth, offsetHeight} = tip;
  const room = document.documentElement.clientWidth - offsetWidth - 8;
  const right = plot.left + x + 14;
  tip.style.left = `${clamp(right > room ? right - offsetWidth - 28 : right, 8, Math.max(8, room))}px`;
  const above = plot.top + y - offsetHeight - 12;
  tip.style.top = `${above < 8 ? Math.min(plot.top + y + 18, window.innerHeight - offsetHeight - 8) : above}px`;
}

function showTip(chart, mark) {
  if (tipOwner !== chart) tipOwner?.clearCursor();
  tipOwner = chart;
  tipMark = mark;
  const rows = mark.rows ?? [];
  tip.replaceChildren(
      ...[el('p', {class: 'tip-title'}, mark.title),
          rows.length > 0 ?
              el('dl', {}, rows.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value)))) :
              null,
          mark.text ? el('p', {class: 'tip-text'}, mark.text) : null,
  ].filter(Boolean));
  tip.hidden = false;
  placeTip();
  live.textContent =
      [mark.title, ...rows.map(([name, value]) => `${name} ${value}`), mark.text].filter(Boolean).join(', ');
}

const legendOf = (items) => el(
    'ul', {class: 'legend'},
    items.map(({swatch, text}) => el('li', {}, el('span', {class: `swatch ${swatch}`, 'aria-hidden': 'true'}), text)));

class Chart {
  constructor(spec) {
    this.spec = spec;
    this.index = -1;
    this.width = 0;
    this.canvas = svg('svg', {role: 'img', 'aria-label': spec.summary});
    this.plot =
        el('div', {
          class: 'plot',
          tabindex: '0',
          role: 'application',
          'aria-label':
              `${spec.name}: left and right arrow keys step through the chart${spec.hint ? `, ${spec.hint}` : ''}.`,
        },
           this.canvas);
    this.noteLine = el('p', {class: 'note'});
    this.figure = el(
        'figure', {id: spec.id, class: 'chart'}, spec.legend?.length ? legendOf(spec.legend) : null, spec.tools?.(this),
        this.plot, this.noteLine, spec.tables ? details(`${spec.id}-data`, `Table: ${spec.name}`, spec.tables) : null);
    this.plot.addEventListener('pointermove', (event) => this.point(event));
    this.plot.addEventListener('pointerdown', (event) => this.point(event));
    this.plot.addEventListener('pointerleave', () => tipOwner === this && hideTip());
    this.plot.addEventListener('blur', () => tipOwner === this && hideTip());
    this.plot.addEventListener('focus', () => {
      if (this.plot.matches(':focus-visible')) this.choose(Math.max(0, this.index));
    });
    this.plot.addEventListener('keydown', (event) => this.key(event));
    spec.pointer?.(this);
    this.observer = new ResizeObserver(() => {
      if (Math.floor(this.plot.clientWidth) !== this.width) this.redraw();
    });
  }

  // After the figure has its place on the page.
  start() {
    this.redraw();
    this.observer.observe(this.plot);
  }

  stop() {
    this.observer.disconnect();
    if (tipOwner === this) hideTip();
  }

  redraw() {
    const width = Math.floor(this.plot.clientWidth);
    if (width < 40) return;
    if (tipOwner === this) hideTip();
    this.width = width;
    const height = this.spec.height(width);
    this.canvas.setAttribute('width', width);
    this.canvas.setAttribute('height', height);
    this.canvas.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.canvas.replaceChildren();
    this.marks = this.spec.draw(this.canvas, width, height, this);
    this.cursor = svg('g', {class: 'cursor'});
    this.canvas.append(this.cursor);
    const note = typeof this.spec.note === 'function' ? this.spec.note() : this.spec.note;
    this.noteLine.textContent = note ?? '';
    this.noteLine.hidden = !note;
  }

  clearCursor() { this.cursor?.replaceChildren(); }

  point(event) {
    if (!this.marks || (event.buttons !== 0 && event.type === 'pointermove' && event.pointerType === 'mouse')) return;
    const place = this.canvas.getBoundingClientRect();
    const i = this.marks.find(event.clientX - place.left, event.clientY - place.top);
    if (i >= 0)
      this.choose(i);
    else if (tipOwner === this)
      hideTip();
  }

  choose(i) {
    if (!this.marks || this.marks.count === 0) return;
    const index = clamp(i, 0, this.marks.count - 1);
    if (index === this.index && tipOwner === this) return;
    this.index = index;
    this.spec.reveal?.(this, index);
    const mark = this.marks.mark(index);
    showTip(this, mark);
    const {top, bottom} = this.marks.rule ?? {};
    this.cursor.replaceChildren(...(
        mark.box ?
            [svg(
                'rect',
                {x: mark.box[0], y: mark.box[1], width: Math.max(1, mark.box[2]), height: Math.max(1, mark.box[3])})] :
            [
              this.marks.rule ? svg('line', {x1: mark.x, x2: mark.x, y1: top, y2: bottom}) : null,
              ...(mark.dots ?? [mark.y]).filter(Number.isFinite).map((y) => svg('circle', {cx: mark.x, cy: y, r: 4}))
            ].filter(Boolean)));
  }

  key(event) {
    if (event.altKey || event.metaKey || !this.marks) return;
    if (event.key === 'Escape') {
      hideTip();
      event.preventDefault();
      return;
    }
    if (this.spec.keys?.(event, this)) {
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.shiftKey) return;
    const at = this.index;
    const jump = Math.max(1, Math.round(this.marks.count / 10));
    const plain = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      Home: 0,
      End: this.marks.count - 1,
      PageUp: at - jump,
      PageDown: at + jump,
    };
    const next = this.marks.move?.(Math.max(0, at), event.key) ?? plain[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.choose(next);
  }
}

// Escape hides what a pointer shows, too.
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') hideTip();
});
window.addEventListener('scroll', placeTip, {passive: true});
