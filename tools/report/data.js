// SPDX-License-Identifier: Apache-2.0
const list = (value) => (Array.isArray(value) ? value : []);
const numbersOf = (value) => list(value).filter(Number.isFinite);
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
const object = (value) => (isObject(value) ? value : {});
const sentences = (value) => list(value).filter((text) => typeof text === 'string' && text !== '');

const data = JSON.parse(document.getElementById('data').textContent);

// One report, or two to lay over each other. `tone` is the class of what belongs to it.
const reports =
    [data.report, data.other].filter(isObject).map((report, i) => ({report, letter: 'AB'[i], tone: 'ab'[i]}));
const comparing = reports.length === 2;
const comparison = comparing && isObject(data.comparison) ? data.comparison : null;

const runsOf = (report) => list(report.runs).filter(isObject);
const runKey = (run) => `${run.threads}x${run.depth}`;
const runName = (run) =>
    `${plural(run.threads, 'thread')}, ${run.depth === 0 ? 'empty context' : `after ${plural(run.depth, 'token')}`}`;

// The runs of each report under one choice of threads and depth: those that have it.
function seriesOf(key) {
  return reports.flatMap((source) => {
    const run = runsOf(source.report).find((candidate) => runKey(candidate) === key);
    return run ? [{...source, run}] : [];
  });
}

// What a token of this run takes if it does nothing but read its bytes: milliseconds, or NaN.
function memoryMs(run) {
  const ms = object(run.token).bytes / run.bandwidth_gb_per_s / 1e6;
  return Number.isFinite(ms) && ms > 0 ? ms : NaN;
}

const of = (series, text) => (comparing ? `${series.letter}: ${text}` : text);
const upperFirst = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// The operations in the order in which they run, each with its colour; what is none of them is grey.
const OPERATIONS = {
  embed: 'looks the token\'s row of the embedding up',
  rotation: 'the sines and cosines of the token\'s position',
  attn_norm: 'normalizes what goes into attention',
  qkv: 'makes queries, keys and values',
  kv_append: 'writes the token\'s keys and values into the cache',
  attention: 'reads the cache: scores, softmax, weighted sum',
  attn_output: 'projects attention\'s result back',
  ffn_norm: 'normalizes what goes into the feed-forward part',
  ffn_up: 'gate and up projections, and the activation between',
  ffn_down: 'projects back down',
  output_norm: 'normalizes what goes into the head',
  head: 'one logit for each token of the vocabulary',
};
const OTHERS = {
  barriers: 'the calling thread waits for the others',
  schedule: 'decides which sequences advance',
  sample: 'picks the token out of the logits',
  commit: 'settles the step and its cache',
  profiler: 'takes down where the time went',
  profiler: 'the recording of these figures',
  detokenize: 'makes text of the token',
  callback: 'the program\'s own code, called with the token',
};
const operationNames = Object.keys(OPERATIONS);
const meaningOf = (name) =>
    (Object.hasOwn(OPERATIONS, name) ? OPERATIONS[name] :
         Object.hasOwn(OTHERS, name) ? OTHERS[name] :
                                       null);

function colourOf(name, waits = false) {
  if (waits || name === 'barriers') return 'wait';
  const at = operationNames.indexOf(name);
  return at < 0 ? 'rest' : `op${at}`;
}
