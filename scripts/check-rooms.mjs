// The table of who may import whom (docs/architecture.md, "Rooms"), enforced. Also: no `node:` import outside
// the command line and files named *-node.ts, so that everything else runs in a browser.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const rooms = {
  base: [],
  abi: ['base'],
  trace: ['base', 'abi'],
  cpu: ['base'],
  hypervisor: ['base', 'abi', 'cpu', 'trace'],
  devices: ['base'],
  net: ['base'],
  'device-model': ['base', 'abi', 'devices', 'net'],
  analyze: ['base', 'abi', 'trace', 'devices'],
  machine: ['base', 'abi', 'trace', 'cpu', 'hypervisor', 'devices', 'net', 'device-model', 'analyze'],
  cli: ['base', 'abi', 'trace', 'devices', 'net', 'machine', 'analyze'],
  web: ['base', 'machine', 'analyze'],
};

const root = resolve(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname), '..');
const src = join(root, 'src');
const problems = [];

const files = readdirSync(src, { recursive: true }).map(String).filter((f) => f.endsWith('.ts'));
for (const file of files) {
  const room = file.split('/')[0];
  if (!(room in rooms)) {
    problems.push(`src/${file}: '${room}' is no room; see docs/architecture.md`);
    continue;
  }
  const isSpec = file.endsWith('.spec.ts') || file.includes('/testing/');
  const text = readFileSync(join(src, file), 'utf8');
  for (const match of text.matchAll(/(?:^|\n)\s*(?:import|export)\b[^'";]*?from\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g)) {
    const target = match[1] ?? match[2] ?? match[3];
    const line = text.slice(0, match.index + match[0].length).split('\n').length;
    if (target.startsWith('node:')) {
      if (!isSpec && room !== 'cli' && !file.endsWith('-node.ts')) {
        problems.push(`src/${file}:${line}: imports ${target}; only cli and *-node.ts files may`);
      }
      continue;
    }
    if (!target.startsWith('.')) continue;
    const to = relative(src, resolve(src, dirname(file), target));
    const toRoom = to.split('/')[0];
    if (to.startsWith('..')) {
      if (!isSpec) problems.push(`src/${file}:${line}: imports ${target}, outside src`);
    } else if (toRoom !== room && !rooms[room].includes(toRoom)) {
      problems.push(`src/${file}:${line}: ${room} may not import ${toRoom} (${target})`);
    } else if (!isSpec && toRoom !== room && toRoom === 'trace' && room === 'hypervisor' && !/trace\/(writer|events)/.test(to)) {
      problems.push(`src/${file}:${line}: of trace, hypervisor may import writer and events only (${target})`);
    }
  }
}

for (const problem of problems) console.error(problem);
console.log(`rooms: ${files.length} files, ${problems.length} forbidden imports`);
process.exit(problems.length ? 1 : 0);
