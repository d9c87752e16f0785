// Takes a guard out of the code while it is loaded (no file changes), runs the test that should notice, and expects
// it to fail. Lists: test/mutations/*.mjs, each exporting an array of
//   { guard, file, find, replace, spec, test }
// guard: what is taken out, in words; file: source file; find: text that stands in it exactly once; replace: what to
// put there; spec: the spec file; test: start or part of the test's full name (describe names included).
// Usage: node scripts/mutations.mjs [--json] [part of a list's name or of a guard ...]
import { fork } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
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

/**
 * One runner of tests, started anew when a test came to no result in time: a guard taken out may leave a loop without
 * end, in the test's process or in a child of it, so that the whole process group is ended.
 */
class Runner {
  static all = new Set();

  constructor() {
    Runner.all.add(this);
  }

  /** Gives the counts of passed and failed tests and the time taken, or undefined when there was no result in time. */
  async run(spec, test, mutation, limitMs = BASELINE_LIMIT_MS) {
    if (this.child === undefined) await this.start();
    const { child } = this;
    const begin = Date.now();
    return new Promise((done) => {
      const finish = (counts) => {
        clearTimeout(limit);
        child.off('message', finish);
        child.off('exit', lost);
        done(counts && { ...counts, milliseconds: Date.now() - begin });
      };
      const lost = () => {
        this.child = undefined;
        finish();
      };
      const limit = setTimeout(() => this.end(), limitMs);
      child.on('message', finish);
      child.on('exit', lost);
      child.send({ spec, test, mutation });
    });
  }

  async start() {
    this.child = fork(join(root, 'scripts/mutation-worker.mjs'), { cwd: root, detached: true, silent: true });
    await new Promise((done) => this.child.once('message', done).once('exit', done));
  }

  end() {
    if (this.child?.exitCode === null && this.child.signalCode === null) process.kill(-this.child.pid, 'SIGKILL');
  }
}
process.on('exit', () => Runner.all.forEach((runner) => runner.end()));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** One line: what is wrong with this entry, or undefined when the test noticed. */
async function check(runner, mutation) {
  const source = readFileSync(join(root, mutation.file), 'utf8');
  const places = source.split(mutation.find).length - 1;
  if (places !== 1) return `stale: '${mutation.find}' stands ${places} times in ${mutation.file}, expected once`;
  const key = `${mutation.spec}\n${mutation.test}`;
  if (!sound.has(key)) sound.set(key, runner.run(mutation.spec, mutation.test));
  const before = await sound.get(key);
  if (!before || before.failed || !before.passed)
    return `no baseline: '${mutation.test}' in ${mutation.spec} must pass without the mutation`;
  const limitMs = Math.max(TIME_LIMIT_MS, 10 * before.milliseconds);
  const after = await runner.run(mutation.spec, mutation.test, mutation, limitMs);
  if (after && !after.failed)
    return after.passed ? 'survived: the test passes without the guard' : 'broken: the mutated file does not load';
  return undefined;
}
const sound = new Map();

const results = [];
const started = Date.now();
/** One spec after the other: a runner has loaded most of it already. */
const queue = chosen.toSorted((a, b) => a.spec.localeCompare(b.spec));
await Promise.all(
  Array.from({ length: Math.min(availableParallelism(), 4) }, async () => {
    const runner = new Runner();
    for (let mutation = queue.shift(); mutation; mutation = queue.shift()) {
      const problem = await check(runner, mutation);
      results.push({ ...mutation, problem });
      if (!json)
        console.log(`${problem ? 'BAD ' : 'ok  '} ${mutation.list}: ${mutation.guard}${problem ? `\n     ${problem}` : ''}`);
    }
    runner.end();
  }),
);
const bad = results.filter((r) => r.problem).length;
const seconds = ((Date.now() - started) / 1000).toFixed(1);
if (json)
  console.log(
    JSON.stringify({ mutations: results.length, noticed: results.length - bad, seconds: Number(seconds), results }, null, 1),
  );
else console.log(`mutations: ${results.length - bad} of ${results.length} noticed, ${seconds} s`);
process.exit(bad || !chosen.length ? 1 : 0);
