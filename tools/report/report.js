// SPDX-License-Identifier: Apache-2.0

// The page: its head, the choice of a run, and the sections in the order in which they are read.

const main = document.getElementById('report');

function modelName(report) {
  const {name, path} = object(report.model);
  return String(name || (path ? String(path).split('/').pop() : '') || 'a model without a name');
}

const facts = (pairs) => el(
    'dl', {},
    pairs.filter(([, value]) => value).map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));

// What a report says of machine, model and options, in words.
function factsOf({report}) {
  const [machine, model, options] = [object(report.machine), object(report.model), object(report.options)];
  const joined = (...parts) => parts.filter(Boolean).join(', ');
  const count = (value, noun) => (value > 0 ? plural(value, noun) : '');
  const caches = list(machine.caches)
                     .filter((cache) => isObject(cache) && String(cache.type).toLowerCase() !== 'instruction')
                     .map((cache) => `L${cache.level} ${cacheSize(cache.size_bytes)}`)
                     .join(', ');
  const heads = model.n_heads > 0 ? `${whole(model.n_heads)} heads, ${whole(model.n_kv_heads)} of keys and values` : '';
  return [
    [
      'Machine',
      joined(
          machine.cpu, count(machine.n_cpus, 'CPU'),
          machine.n_numa_nodes > 1 ? count(machine.n_numa_nodes, 'NUMA node') : '',
          machine.memory_bytes > 0 ? `${bytes(machine.memory_bytes)} of memory` : '')
    ],
    ['Caches', joined(caches, machine.huge_pages ? `huge pages: ${machine.huge_pages}` : '')],
    [
      'Model',
      joined(
          model.architecture, model.n_params > 0 ? `${short(model.n_params / 1e6)}${SPACE}M parameters` : '',
          count(model.n_layers, 'layer'), model.d_model > 0 ? `d_model ${whole(model.d_model)}` : '', heads)
    ],
    ['File', joined(model.path, model.file_bytes > 0 ? bytes(model.file_bytes) : '')],
    [
      'Computed with',
      joined(
          options.isa ? `${options.isa} kernels` : '', options.numerics ? `${options.numerics} numerics` : '',
          options.k_type ? `K ${options.k_type}, V ${options.v_type}` : '',
          options.pin_threads === true      ? 'pinned threads' :
              options.pin_threads === false ? 'threads not pinned' :
                                              '')
    ],
    [
      'Measured',
      joined(
          count(options.n_tokens, 'token') && `${plural(options.n_tokens, 'token')} a round`,
          count(options.repeat, 'round'),
          count(options.prompt_tokens, 'token') && `a prompt of ${plural(options.prompt_tokens, 'token')}`,
          report.decant ? `decant ${report.decant}` : '')
    ],
  ];
}

// What both reports have alike stands once.
function factsView() {
  const [first, second] = reports.map(factsOf);
  if (!second) return el('div', {class: 'facts'}, facts(first));
  const alike = first.filter(([, value], i) => value === second[i][1]);
  const differing = (pairs, other) => pairs.filter(([, value], i) => value !== other[i][1]);
  const own = ({letter, tone, report}, pairs) => {
    const {path} = object(object(comparison)[tone]);
    const title = el('h2', {class: `chip ${tone}`}, `${letter}: ${modelName(report)}`);
    return el('div', {class: 'facts'}, title, facts([['Report', typeof path === 'string' ? path : ''], ...pairs]));
  };
  return [
    el('div', {class: 'side-by-side'}, own(reports[0], differing(first, second)),
       own(reports[1], differing(second, first))),
    alike.length > 0 ? el('div', {class: 'facts'}, el('h2', {}, 'Alike in both'), facts(alike)) : null,
  ];
}

function sentencesOf(source, texts) {
  const said = sentences(texts);
  return said.length > 0 ? of(source, said.join(' ')) : null;
}

function head() {
  const names = reports.map(({report}) => modelName(report));
  const title = comparing ? (names[0] === names[1] ? `${names[0]}: A and B` : `${names[0]} and ${names[1]}`) : names[0];
  document.title = `${title}, decant profile`;
  const said = reports.map((source) => sentencesOf(source, source.report.verdict));
  return el('div', {class: 'head'}, el('h1', {}, title), paragraphs(said, 'verdict'), factsView());
}

// One choice of thread count and one of depth; what wasn't measured together can't be chosen.
function chooser(keys, choose) {
  const runs = reports.flatMap(({report}) => runsOf(report));
  if (keys.length < 2) return null;
  const chosen = {threads: keys[0].threads, depth: keys[0].depth};
  const inputs = [];
  const group = (field, title, text) => {
    const values = [...new Set(runs.map((run) => run[field]))].sort((a, b) => a - b);
    return el('fieldset', {}, el('legend', {}, title), el('span', {class: 'options'}, values.map((value) => {
                const input = el('input', {type: 'radio', name: field, value, checked: value === chosen[field]});
                inputs.push({input, field, value});
                input.addEventListener('change', () => {
                  chosen[field] = value;
                  const other = field === 'threads' ? 'depth' : 'threads';
                  // Where the two weren't measured together, the other gives way.
                  if (!keys.some((key) => key.threads === chosen.threads && key.depth === chosen.depth)) {
                    chosen[other] = keys.find((key) => key[field] === value)[other];
                    for (const one of inputs) one.input.checked = chosen[one.field] === one.value;
                  }
                  choose(runKey(chosen));
                });
                return el('label', {}, input, el('span', {}, text(value)));
              })));
  };
  return el(
      'form', {class: 'chooser', 'aria-label': 'The run that is shown'}, group('threads', 'Threads', whole),
      group('depth', 'Tokens of context', whole));
}

function tiles(all) {
  const figures = [
    ['median token', ({run}) => duration(object(run.token).ms_p50)],
    ['p99', ({run}) => duration(object(run.token).ms_p99)],
    ['tokens a second', ({run}) => short(object(run.token).tokens_per_s)],
    ['of measured bandwidth', ({run}) => percent(object(run.token).bandwidth_share, 0)],
    ['first token', ({run}) => duration(object(run.ttft).ms_p50)],
    ['load', ({report}) => duration(object(report.load).seconds * 1000)],
  ];
  return el('dl', {class: 'tiles'}, figures.map(([name, value]) => {
    const texts = all.map(value);
    if (texts.every((text) => text === NONE)) return null;
    return el(
        'div', {}, el('dt', {}, name),
        texts.map(
            (text, i) =>
                el('dd', {}, comparing ? el('span', {class: `letter ${all[i].tone}`}, all[i].letter) : null, text)));
  }));
}

// Faults, switches and counters, means of a token.
function eventsSection(all) {
  const names = {
    page_faults: 'page faults',
    major_page_faults: 'page faults that read the disk',
    context_switches: 'context switches',
    involuntary_context_switches: 'of these forced',
    cycles: 'cycles',
    instructions: 'instructions',
    cache_misses: 'cache misses',
    tlb_misses: 'TLB misses'
  };
  const value = ({run}, name) => object(run.events)[name] ?? object(run.counters)[name];
  const rows = Object.entries(names)
                   .filter(([name]) => all.some((series) => Number.isFinite(value(series, name))))
                   .map(([name, text]) => [text, ...all.map((series) => {
                          const number = value(series, name) ?? NaN;
                          return number >= 100 ? whole(number) : fixed(number, 2);
                        })]);
  const notes = all.flatMap(
      (series) =>
          (typeof series.run.counters_note === 'string' ? [of(series, `no counters: ${series.run.counters_note}`)] :
                                                          []));
  if (rows.length + notes.length === 0) return null;
  return [section(
      'events-section', 'Faults, switches and counters',
      rows.length > 0 ? table({
        id: 'events-table',
        caption: 'means of a token, of the threads that compute',
        columns: [{name: 'event', text: true}, ...all.map(({letter}) => ({name: comparing ? letter : 'a token'}))],
        groups: [{rows}]
      }) :
                        null,
      notes.map((text) => el('p', {class: 'note'}, text)))];
}

let charts = [];

function runView(key) {
  const all = seriesOf(key);
  const missing =
      comparing && all.length === 1 ? el('p', {class: 'lede'}, `Only ${all[0].letter} has this run.`) : null;
  const said = all.map((series) => sentencesOf(series, object(series.run.verdict).text));
  const built = [
    latencySection(all), distributionSection(all), operationsSection(all), contextsSection(key), timelineSection(all),
    memorySection(), startSection(all), eventsSection(all)
  ].filter(Boolean);
  charts = built.flatMap(([, ...made]) => made);
  return [
    all.length > 0 ? tiles(all) : null, missing, comparisonWords(key), ...paragraphs(said, 'verdict'),
    ...built.map(([node]) => node)
  ].filter(Boolean);
}

function start() {
  if (reports.length === 0) {
    main.replaceChildren(el('p', {}, 'There is no report in this page.'));
    return;
  }
  const keys = [];
  for (const run of reports.flatMap(({report}) => runsOf(report))) {
    if (!keys.some((key) => runKey(key) === runKey(run))) keys.push({threads: run.threads, depth: run.depth});
  }
  const view = el('div', {id: 'run'});
  const show = (key) => {
    charts.forEach((chart) => chart.stop());
    view.replaceChildren(...runView(key));
    charts.forEach((chart) => chart.start());
  };
  main.replaceChildren(...[head(), comparisonSection()?.[0], chooser(keys, show), view].filter(Boolean));
  show(keys.length > 0 ? runKey(keys[0]) : '');
}

// The system's choice of light and dark, until the button is pressed.
function themes() {
  const button = document.getElementById('theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  let own = null;
  const apply = () => {
    const dark = own ?? system.matches;
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    button.setAttribute('aria-pressed', String(dark));
  };
  button.addEventListener('click', () => {
    own = button.getAttribute('aria-pressed') !== 'true';
    apply();
  });
  system.addEventListener('change', apply);
  apply();
}

themes();
start();
