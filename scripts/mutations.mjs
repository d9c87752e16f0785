// Takes a guard out of the code while it is loaded (no file changes), runs the test that should notice, and expects
// it to fail. Lists: test/mutations/*.mjs, each exporting an array of
//   { guard, file, find, replace, spec, test }
// guard: what is taken out, in words; file: source file; find: text that stands in it exactly once; replace: what to
// put there; spec: the spec file; test: start or part of the test's full name (describe names included).
// Usage: node scripts/mutations.mjs [--json] [part of a list's name or of a guard ...]
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const folder = join(root, 'test/mutations');
const args = process.argv.slice(2);
const json = args.includes('--json');
const wanted = args.filter((a) => a !== '--json').map((a) => a.toLowerCase());
/** A mutated run that takes longer hangs: a guard taken out may leave a loop without end. The run without mutation has longer, and sets the measure. */
const TIME_LIMIT_MS = 60_000;
const BASELINE_LIMIT_MS = 900_000;

const all = [];
for (const list of readdirSync(folder)
  .filter((name) => name.endsWith('.mjs'))
  .sort()) {
  const { default: mutations } = await import(join(folder, list));
  for (const mutation of mutations) all.push({ list: list.replace('.mjs', ''), ...mutation });
}
const chosen = wanted.length
  ? all.filter((m) => wanted.some((w) => m.list.includes(w) || m.guard.toLowerCase().includes(w)))
  : all;

const scratch = mkdtempSync(join(tmpdir(), 'mutations-'));

/** Process groups of the runs under way. A guard taken out may leave a loop without end, and it runs in a child of the child. */
const groups = new Set();
const end = (group) => process.kill(-group, 'SIGKILL');
process.on('exit', () => groups.forEach(end));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

let runs = 0;

/** Runs one test of one spec; gives counts, or undefined when the run came to no result in time. */
async function run(spec, test, mutation, limitMs = BASELINE_LIMIT_MS) {
  const out = join(scratch, `${runs++}.json`);
  const name = test.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const env = { ...process.env };
  delete env.MUTATION;
  if (mutation) env.MUTATION = JSON.stringify({ file: mutation.file, find: mutation.find, replace: mutation.replace });
  const child = spawn(
    process.execPath,
    [join(root, 'node_modules/vitest/vitest.mjs'), 'run', spec, '-t', name, '--reporter=json', `--outputFile=${out}`],
    { cwd: root, env, stdio: 'ignore', detached: true },
  );
  groups.add(child.pid);
  const begin = Date.now();
  const limit = setTimeout(() => end(child.pid), limitMs);
  await new Promise((done) => child.on('close', done));
  clearTimeout(limit);
  groups.delete(child.pid);
  try {
    const { numPassedTests, numFailedTests } = JSON.parse(readFileSync(out, 'utf8'));
    return { passed: numPassedTests, failed: numFailedTests, milliseconds: Date.now() - begin };
  } catch {
    return undefined;
  }
}

/** One line: what is wrong with this entry, or undefined when the test noticed. */
async function check(mutation) {
  const source = readFileSync(join(root, mutation.file), 'utf8');
  const places = source.split(mutation.find).length - 1;
  if (places !== 1) return `stale: '${mutation.find}' stands ${places} times in ${mutation.file}, expected once`;
  const key = `${mutation.spec}\n${mutation.test}`;
  if (!sound.has(key)) sound.set(key, run(mutation.spec, mutation.test));
  const before = await sound.get(key);
  if (!before || before.failed || !before.passed)
    return `no baseline: '${mutation.test}' in ${mutation.spec} must pass without the mutation`;
  const after = await run(mutation.spec, mutation.test, mutation, Math.max(TIME_LIMIT_MS, 10 * before.milliseconds));
  if (after && !after.failed)
    return after.passed ? 'survived: the test passes without the guard' : 'broken: the mutated file does not load';
  return undefined;
}
const sound = new Map();

const results = [];
const started = Date.now();
const queue = [...chosen];
await Promise.all(
  Array.from({ length: Math.min(availableParallelism(), 4) }, async () => {
    for (let mutation = queue.shift(); mutation; mutation = queue.shift()) {
      const problem = await check(mutation);
      results.push({ ...mutation, problem });
      if (!json)
        console.log(`${problem ? 'BAD ' : 'ok  '} ${mutation.list}: ${mutation.guard}${problem ? `\n     ${problem}` : ''}`);
    }
  }),
);
rmSync(scratch, { recursive: true, force: true });
const bad = results.filter((r) => r.problem).length;
const seconds = ((Date.now() - started) / 1000).toFixed(1);
if (json)
  console.log(
    JSON.stringify({ mutations: results.length, noticed: results.length - bad, seconds: Number(seconds), results }, null, 1),
  );
else console.log(`mutations: ${results.length - bad} of ${results.length} noticed, ${seconds} s`);
process.exit(bad || !chosen.length ? 1 : 0);
