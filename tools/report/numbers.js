// SPDX-License-Identifier: Apache-2.0
const SPACE = '\u00a0';  // between a number and its unit
const NONE = '–';

const formats = new Map();

function fixed(value, digits) {
  if (!Number.isFinite(value)) return NONE;
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat('en', {minimumFractionDigits: digits, maximumFractionDigits: digits}));
  }
  const text = formats.get(digits).format(value);
  return /^-[0.]*$/.test(text) ? text.slice(1) : text.replace('-', '−');
}

// Decimals that show three digits of the value.
const decimals = (value) => (value === 0 ? 0 : Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))));
const short = (value) => (Number.isFinite(value) ? fixed(value, decimals(value)) : NONE);
const whole = (value) => fixed(value, 0);
const withUnit = (text, unit) => (text === NONE ? NONE : text + SPACE + unit);

// A duration given in milliseconds, in the unit that suits it.
function duration(ms) {
  if (!Number.isFinite(ms)) return NONE;
  const size = Math.abs(ms);
  if (size >= 1000) return withUnit(short(ms / 1000), 's');
  if (size >= 0.1 || size === 0) return withUnit(short(ms), 'ms');
  if (size >= 0.0001) return withUnit(short(ms * 1000), 'µs');
  return withUnit(short(ms * 1e6), 'ns');
}

const milliseconds = (ms) => withUnit(fixed(ms, 3), 'ms');

function bytes(value) {
  if (!Number.isFinite(value)) return NONE;
  for (const [size, unit] of [[1e12, 'TB'], [1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']])
    if (Math.abs(value) >= size) return withUnit(short(value / size), unit);
  return withUnit(whole(value), 'B');
}

// Sizes of caches are powers of two.
function cacheSize(value) {
  const [size, unit] = value >= 2 ** 20 ? [2 ** 20, 'MiB'] : [1024, 'KiB'];
  return withUnit(fixed(value / size, value % size === 0 ? 0 : 1), unit);
}

const percent = (share, digits = 1) => (Number.isFinite(share) ? withUnit(fixed(100 * share, digits), '%') : NONE);
const rate = (value) => withUnit(short(value), 'GB/s');

function plural(count, noun) { return `${whole(count)} ${noun}${count === 1 ? '' : 's'}`; }

// Round values from low to high, about `count` of them: steps of 1, 2 or 5.
function ticks(low, high, count, leastStep = 0) {
  if (!(high > low)) return [low];
  const rough = Math.max((high - low) / Math.max(1, count), leastStep);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) values.push(i * step);
  values.step = step;
  return values;
}

// Decimals that tell ticks apart.
const tickText = (values) => {
  const digits = values.step ? Math.max(0, -Math.floor(Math.log10(values.step) + 1e-9)) : 2;
  return (value) => fixed(value, digits);
};

// The end of an axis from zero: the next tick above what it must hold.
function roundUp(high, count) {
  const {step} = ticks(0, high, count);
  return step ? Math.ceil(high / step - 1e-9) * step : 1;
}

const ascending = (values) => Float64Array.from(values).sort();

function quantile(sorted, q) {
  if (sorted.length === 0) return NaN;
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}

const sum = (values) => values.reduce((total, value) => total + (Number.isFinite(value) ? value : 0), 0);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
