// SPDX-License-Identifier: Apache-2.0
'use strict';

// Everything on the page is made here: strings of the data become text nodes and attributes, never markup.

const SVG_NAMESPACE = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {}))
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? '' : value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);

// A box that scrolls sideways can be reached by keyboard, but only while it has something to scroll.
const scrollers = new ResizeObserver((entries) => {
  for (const {target} of entries) {
    if (target.scrollWidth > target.clientWidth + 1)
      target.setAttribute('tabindex', '0');
    else
      target.removeAttribute('tabindex');
  }
});

// table({caption, columns, groups}): columns are [{name, text}] (text: left-aligned), groups [{name, rows, foot}]; a
// row is an array of cells (strings or nodes) whose first is its heading.
function table({caption, columns, groups, id}) {
  const row = (cells) =>
      el('tr', {},
         cells.map(
             (cell, i) =>
                 i === 0 ? el('th', {scope: 'row'}, cell) : el('td', {class: columns[i].text ? 'text' : null}, cell)));
  const bodies = groups.map(
      (group) => el(
          group.foot ? 'tfoot' : 'tbody', {},
          group.name ? el('tr', {class: 'group'}, el('th', {scope: 'rowgroup', colspan: columns.length}, group.name)) :
                       null,
          group.rows.map(row)));
  const head = el(
      'thead', {},
      el('tr', {}, columns.map((column) => el('th', {scope: 'col', class: column.text ? 'text' : null}, column.name))));
  const node = el('table', {id}, el('caption', {}, el('span', {}, caption)), head, bodies);
  const box = el('div', {class: 'scroll', role: 'region', 'aria-label': caption}, node);
  scrollers.observe(box);
  return box;
}

// Which details stand open, by id: choosing another run keeps them.
const opened = new Set();

// The data of a chart. It is made when it's opened: some have thousands of rows.
function details(id, name, tables) {
  const node = el('details', {id}, el('summary', {}, name));
  const show = () => {
    if (!node.open) return opened.delete(id);
    opened.add(id);
    node.replaceChildren(node.firstChild, ...tables().filter(Boolean));
  };
  if (opened.has(id)) {
    node.open = true;
    show();
  }
  node.addEventListener('toggle', show);
  return node;
}

// What is said of one report, or of each of two, in paragraphs of their own.
const paragraphs = (texts, cls) => texts.filter(Boolean).map((text) => el('p', {class: cls}, text));

const section = (id, title, ...children) =>
    el('section', {id, 'aria-labelledby': `${id}-title`}, el('h2', {id: `${id}-title`}, title), ...children);
