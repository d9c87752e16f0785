// A Vite plugin that puts a counter at every branch of the sources a fuzzer watches: function bodies, both ways of if
// and ?:, loop bodies, switch cases, right sides of && || ??. A counter is a call of globalThis.fuzzEdge(id).
import { parseAst } from 'vite';

/** 16-bit FNV-1a of where a branch stands: stable from run to run. */
function hash(text) {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return (h ^ (h >>> 16)) & 0xffff;
}

/** JavaScript with counters; `name` seeds their ids. */
export function instrument(code, name) {
  const edits = [];
  let count = 0;
  const id = () => hash(`${name}#${count++}`);
  const statement = (node) => {
    if (!node) return;
    if (node.type === 'BlockStatement') edits.push([node.start + 1, `fuzzEdge(${id()});`]);
    else edits.push([node.start, `{fuzzEdge(${id()});`], [node.end, '}']);
  };
  const expression = (node) => edits.push([node.start, `(fuzzEdge(${id()}),`], [node.end, ')']);
  const visit = (node) => {
    if (!node || typeof node.type !== 'string') return;
    switch (node.type) {
      case 'FunctionDeclaration':
      case 'FunctionExpression':
        statement(node.body);
        break;
      case 'ArrowFunctionExpression':
        (node.body.type === 'BlockStatement' ? statement : expression)(node.body);
        break;
      case 'IfStatement':
        statement(node.consequent);
        statement(node.alternate);
        break;
      case 'ConditionalExpression':
        expression(node.consequent);
        expression(node.alternate);
        break;
      case 'LogicalExpression':
        expression(node.right);
        break;
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement':
      case 'WhileStatement':
      case 'DoWhileStatement':
        statement(node.body);
        break;
      case 'SwitchCase':
        if (node.consequent.length) edits.push([node.consequent[0].start, `fuzzEdge(${id()});`]);
        break;
    }
    for (const key of Object.keys(node)) {
      const child = node[key];
      if (Array.isArray(child)) child.forEach(visit);
      else if (child && typeof child === 'object') visit(child);
    }
  };
  visit(parseAst(code));
  // At one place: what closes comes before what opens; of those that open, the outer (found first) comes first.
  const sorted = edits
    .map(([at, text], i) => ({ at, text, close: text === ')' || text === '}', i }))
    .sort((a, b) => a.at - b.at || Number(b.close) - Number(a.close) || (a.close ? b.i - a.i : a.i - b.i));
  let out = 'const fuzzEdge = globalThis.fuzzEdge;';
  let from = 0;
  for (const { at, text } of sorted) {
    out += code.slice(from, at) + text;
    from = at;
  }
  return { code: out + code.slice(from), branches: count };
}

/** @param watched tells by file path which sources get counters */
export function instrumentPlugin(watched, onBranches = () => {}) {
  return {
    name: 'fuzz-instrument',
    enforce: 'post',
    transform(code, id) {
      const file = id.split('?')[0];
      if (!watched(file)) return undefined;
      const result = instrument(code, file.slice(file.indexOf('/src/')));
      onBranches(result.branches);
      return { code: result.code, map: null };
    },
  };
}
