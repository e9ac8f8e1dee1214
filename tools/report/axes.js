// SPDX-License-Identifier: Apache-2.0

function linear(from, to, start, end) {
  const slope = to === from ? 0 : (end - start) / (to - from);
  const scale = (value) => start + (value - from) * slope;
  scale.invert = (pixel) => (slope === 0 ? from : from + (pixel - start) / slope);
  return scale;
}

// How wide a text of a chart is, in pixels.
const ruler = document.createElement('canvas').getContext('2d');
ruler.font = `12px ${getComputedStyle(document.body).fontFamily}`;
const widths = new Map();

function textWidth(text) {
  if (!widths.has(text)) widths.set(text, ruler.measureText(text).width);
  return widths.get(text);
}

// As much of a name as there is room for.
function fitted(text, width) {
  if (textWidth(text) <= width) return text;
  let length = text.length - 1;
  while (length > 1 && ruler.measureText(`${text.slice(0, length)}…`).width > width) --length;
  return `${text.slice(0, length)}…`;
}

// The place for data, beside labels of the y axis that are as wide as `labels`.
function plotArea(width, height, labels, {top = 22, bottom = 38, right = 14} = {}) {
  const left = Math.ceil(Math.max(0, ...labels.map(textWidth))) + 10;
  return {left, top, right: width - right, bottom: height - bottom};
}

// Rules and labels of a y axis; its unit stands above it.
function drawY(canvas, area, scale, values, unit, format = tickText(values)) {
  const group = svg('g', {class: 'axis'});
  for (const value of values) {
    const y = Math.round(scale(value)) + 0.5;
    group.append(
        svg('line', {class: value === 0 ? 'base' : 'grid', x1: area.left, x2: area.right, y1: y, y2: y}),
        svg('text', {x: area.left - 7, y: y + 4, 'text-anchor': 'end'}, format(value)));
  }
  if (unit) group.append(svg('text', {class: 'unit', x: 0, y: Math.max(11, area.top - 11)}, unit));
  canvas.append(group);
}

// Ticks and labels of an x axis; its unit stands below, at the right end.
function drawX(canvas, area, scale, values, unit, format = tickText(values)) {
  const group = svg('g', {class: 'axis'});
  let free = -Infinity;
  for (const value of values) {
    const x = scale(value);
    const text = format(value);
    const half = textWidth(text) / 2;
    group.append(svg('line', {class: 'tick', x1: x, x2: x, y1: area.bottom, y2: area.bottom + 4}));
    const middle = clamp(x, half, area.right + 14 - half);
    if (middle - half < free) continue;
    free = middle + half + 8;
    group.append(svg('text', {x: middle, y: area.bottom + 17, 'text-anchor': 'middle'}, text));
  }
  if (unit) group.append(svg('text', {class: 'unit', x: area.right, y: area.bottom + 33, 'text-anchor': 'end'}, unit));
  canvas.append(group);
}

const xTickCount = (area, labelWidth = 38) => clamp(Math.floor((area.right - area.left) / (labelWidth + 24)), 2, 12);

const pathOf = (points) => points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');

const horizontal = (area, y, cls) => svg('line', {class: cls, x1: area.left, x2: area.right, y1: y, y2: y});

// The markers of series that must be told apart without colour.
const SHAPES = [
  (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${- 2 * r} 0z`,
  (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${- 2 * r}z`,
  (x, y, r) => `M${x} ${y - 1.3 * r}l${1.2 * r} ${2.1 * r}h${- 2.4 * r}z`,
  (x, y, r) => `M${x} ${y - 1.35 * r}l${1.35 * r} ${1.35 * r}l${- 1.35 * r} ${1.35 * r}l${- 1.35 * r} ${- 1.35 * r}z`,
];
const shape = (i, x, y, r, cls) => svg('path', {d: SHAPES[i % SHAPES.length](x, y, r), class: cls});
