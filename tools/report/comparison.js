// SPDX-License-Identifier: Apache-2.0

// Two runs: what differs, by how much, and whether chance alone would do it.

const FIGURES = {
  ms_p50: 'median latency',
  ms_p99: 'p99 of latency',
  ttft_ms: 'time to first token',
  tokens_per_s: 'tokens a second',
  bandwidth_gb_per_s: 'memory\'s bandwidth',
  bandwidth_share: 'share of memory\'s bandwidth',
};
const figureName = (name) => (Object.hasOwn(FIGURES, name) ? FIGURES[name] : String(name));
const isTime = ({unit, name}) => unit === 'ms' || unit === 's' || /ms/.test(String(name));

// "faster by 3.1 % (2.0 to 4.2)": B beside A, with the interval that holds it 19 times in 20.
function verdictOf(figure) {
  if (figure.enough === false) return 'too few measurements to tell';
  if (!figure.differs) return 'no difference beyond the noise';
  const falls = figure.ratio < 1;
  const word = figure.better === 'b' ? 'faster' : figure.better === 'a' ? 'slower' : falls ? 'lower' : 'higher';
  const change = (ratio) => (falls ? 1 - ratio : ratio - 1) * 100;
  const [low, high] = [change(figure.low), change(figure.high)].sort((p, q) => p - q);
  const interval = `(${fixed(low, 1)}${SPACE}to${SPACE}${fixed(high, 1)})`;
  return `${word} by ${withUnit(fixed(change(figure.ratio), 1), '%')} ${interval}`;
}

const comparedRuns = () => list(object(comparison).runs).filter(isObject);

function comparisonWords(key) {
  const run = comparedRuns().find((candidate) => runKey(candidate) === key);
  const figures = list(run?.figures).filter(isObject);
  if (figures.length === 0) return null;
  return el('ul', {class: 'words', id: 'words'}, figures.map((figure) => {
    const verdict = verdictOf(figure);
    const tone = !figure.differs ? 'same' : figure.better === 'b' ? 'gain' : figure.better === 'a' ? 'loss' : 'same';
    return el(
        'li', {class: tone}, el('span', {class: 'what'}, figureName(figure.name)), ' ',
        el('span', {class: 'how'}, figure.differs ? `B is ${verdict}` : verdict));
  }));
}

function comparisonSection() {
  if (!comparing) return null;
  const notes = sentences(object(comparison).notes);
  const digits = (figure) => (isTime(figure) ? 3 : 1);
  const groups =
      comparedRuns()
          .map((run) => ({
                 name: runName(run),
                 rows: list(run.figures)
                           .filter(isObject)
                           .map(
                               (figure) =>
                                   [`${figureName(figure.name)}${
                                        figure.unit && figure.unit !== 'tokens/s' ? `, ${figure.unit}` : ''}`,
                                    fixed(figure.a, digits(figure)), fixed(figure.b, digits(figure)),
                                    ratioText(figure.ratio), figure.enough === false ? '–' : `${ratioText(figure.low)} to ${ratioText(figure.high)}`,
                                    verdictOf(figure)]),
               }))
          .filter(({rows}) => rows.length > 0);
  const only = ['a', 'b'].flatMap((side) => {
    const runs = list(object(comparison)[`only_${side}`]).filter(isObject);
    return runs.length > 0 ? [`Only ${side.toUpperCase()} has ${runs.map(runName).join('; ')}.`] : [];
  });
  if (notes.length + groups.length + only.length === 0) return null;
  const remarks = [...notes.map(upperFirst), ...only];
  return [section(
      'comparison-section', 'B against A',
      remarks.length > 0 ? el('ul', {class: 'notes'}, remarks.map((note) => el('li', {}, note))) : null,
      groups.length > 0 ? table({
        id: 'comparison-table',
        caption: 'A and B; the interval holds B ÷ A 19 times in 20 (bootstrap over rounds)',
        columns: ['figure', 'A', 'B', 'B ÷ A', 'interval', 'B is'].map((name, i) => ({name, text: i === 0 || i === 5})),
        groups,
      }) :
                          null)];
}
