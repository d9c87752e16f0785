// The table of who may import whom (scripts/rooms.mjs), enforced: between rooms, between the inner rooms of a room, and no
// import circle inside a room. Also: no `node:` import outside the command line and files named *-node.ts, so that
// everything else runs in a browser. `--write` puts the table into docs/architecture.md.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { only, rooms, roomTable } from './rooms.mjs';

const root = resolve(import.meta.dirname, '..');
const src = join(root, 'src');
const problems = [];

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g;
const isTest = (file) => file.endsWith('.spec.ts') || file.includes('/testing/');
const innerOf = (file) => (file.split('/').length > 2 ? file.split('/')[1] : '.');

const files = readdirSync(src, { recursive: true })
  .map(String)
  .filter((f) => /\.tsx?$/.test(f));
/** file → files it imports, tests left out. */
const graph = new Map();
for (const file of files) {
  const room = file.split('/')[0];
  if (!(room in rooms)) {
    problems.push(`src/${file}: '${room}' is not a room; see docs/architecture.md`);
    continue;
  }
  const { imports, inner } = rooms[room];
  if (inner !== undefined && !isTest(file) && !(innerOf(file) in inner)) {
    problems.push(`src/${file}: '${innerOf(file)}' is not an inner room of ${room}; see docs/architecture.md`);
  }
  const edges = [];
  if (!isTest(file)) graph.set(file, edges);
  const text = readFileSync(join(src, file), 'utf8');
  for (const match of text.matchAll(IMPORT)) {
    const target = match[1] ?? match[2] ?? match[3];
    const line = text.slice(0, match.index + match[0].length).split('\n').length;
    const problem = (what) => problems.push(`src/${file}:${line}: ${what}`);
    if (target.startsWith('node:')) {
      if (!isTest(file) && room !== 'cli' && !file.endsWith('-node.ts'))
        problem(`imports ${target}; only cli and *-node.ts files may`);
      continue;
    }
    if (!target.startsWith('.')) continue;
    const to = relative(src, resolve(src, dirname(file), target));
    const toRoom = to.split('/')[0];
    if (to.startsWith('..')) {
      if (!isTest(file)) problem(`imports ${target}, outside src`);
    } else if (toRoom === room) {
      edges.push(to);
      const [mine, theirs] = [innerOf(file), innerOf(to)];
      if (inner !== undefined && !isTest(file) && mine !== theirs && !inner[mine]?.imports.includes(theirs)) {
        problem(`${room}/${mine} may not import ${room}/${theirs} (${target})`);
      }
    } else if (!imports.includes(toRoom)) {
      problem(`${room} may not import ${toRoom} (${target})`);
    } else if (!isTest(file)) {
      for (const rule of only) {
        if (rule.from === room && rule.to === toRoom && !rule.files.test(to))
          problem(`of ${toRoom}, ${room} may import ${rule.what} only (${target})`);
      }
    }
  }
}

/** Circles: one line for each, by the first file that is met twice on a way through the imports. */
const done = new Set();
function visit(file, way) {
  const at = way.indexOf(file);
  if (at >= 0) {
    problems.push(`import circle: ${[...way.slice(at), file].map((f) => `src/${f}`).join(' → ')}`);
    return;
  }
  if (done.has(file)) return;
  for (const next of graph.get(file) ?? []) visit(next, [...way, file]);
  done.add(file);
}
for (const file of graph.keys()) visit(file, []);

const page = join(root, 'docs/architecture.md');
const before = readFileSync(page, 'utf8');
const after = before.replace(/\| room \(`src\/…`\)[^]*?\n\n/, `${roomTable()}\n\n`);
if (process.argv.includes('--write')) writeFileSync(page, after);
else if (after !== before)
  problems.push(
    'docs/architecture.md: its room table is not that of scripts/rooms.mjs; run `node scripts/check-rooms.mjs --write`',
  );

for (const problem of problems) console.error(problem);
console.log(`rooms: ${files.length} files, ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
