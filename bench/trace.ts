/**
 * `trace dump --xenalyze` and `trace summary` against the real xenalyze, on one generated file, turn by turn in the
 * same run: wall time, processor time and memory of whole processes, output to /dev/null.
 * Usage: npm run build && npx tsx bench/trace.ts [megabytes, 1060] [rounds, 3] [--json]
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Generator } from '../src/trace/testing/generator.ts';

const json = process.argv.includes('--json');
const numbers = process.argv
  .slice(2)
  .filter((a) => /^\d+$/.test(a))
  .map(Number);
const megabytes = numbers[0] ?? 1060;
const rounds = numbers[1] ?? 3;
const main = resolve(import.meta.dirname, '../dist/cli/main.js');

interface Run {
  seconds: number;
  /** Largest resident set, in MB. */
  memory: number;
}

/** Run a program to its end. */
function run(command: string, args: string[]): Promise<Run> {
  return new Promise((done, failed) => {
    const started = performance.now();
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'ignore'] });
    let memory = 0;
    const timer = setInterval(() => {
      try {
        const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'));
        if (peak !== null) memory = Math.max(memory, Number(peak[1]) / 1000);
      } catch {
        // The process ended between two looks.
      }
    }, 50);
    child.on('error', failed);
    child.on('close', (code) => {
      clearInterval(timer);
      if (code !== 0) failed(new Error(`${command} ${args.join(' ')} ended with status ${code}`));
      else done({ seconds: (performance.now() - started) / 1000, memory });
    });
  });
}

const median = (values: number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;

if (spawnSync('xenalyze', ['--usage']).status !== 0) {
  console.error('no xenalyze: install xen-utils');
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), 'xenolith-bench-'));
try {
  const path = join(folder, 'trace.bin');
  const fd = openSync(path, 'w');
  const buffer = Buffer.alloc(1 << 22);
  let used = 0;
  const generator = new Generator({ seed: 7, cpus: 4, steps: 0, windowBytes: 65536 }, (bytes) => {
    if (used + bytes.length > buffer.length) {
      writeSync(fd, buffer, 0, used);
      used = 0;
    }
    buffer.set(bytes, used);
    used += bytes.length;
  });
  while (generator.bytesWritten < megabytes * 1e6) for (let i = 0; i < 1000; i++) generator.step();
  generator.finish();
  writeSync(fd, buffer, 0, used);
  closeSync(fd);

  const tasks = [
    { name: 'dump', theirs: ['--dump-all', path], ours: [main, 'trace', 'dump', '--xenalyze', path] },
    { name: 'summary', theirs: ['--summary', '--with-mmio-enumeration', path], ours: [main, 'trace', 'summary', path] },
  ];
  const results = [];
  for (const task of tasks) {
    const theirs: Run[] = [];
    const ours: Run[] = [];
    for (let round = 0; round < rounds; round++) {
      // What a first look leaves beside the trace would make the next round a second look.
      rmSync(`${path}.xti`, { force: true });
      theirs.push(await run('xenalyze', task.theirs));
      ours.push(await run(process.execPath, task.ours));
    }
    const seconds = (runs: Run[]): number => median(runs.map((r) => r.seconds));
    const memory = (runs: Run[]): number => Math.max(...runs.map((r) => r.memory));
    results.push({
      task: task.name,
      records: generator.records,
      bytes: generator.bytesWritten,
      xenalyzeSeconds: seconds(theirs),
      xenolithSeconds: seconds(ours),
      xenalyzeRate: generator.records / seconds(theirs),
      xenolithRate: generator.records / seconds(ours),
      ratio: seconds(theirs) / seconds(ours),
      xenalyzeMemory: memory(theirs),
      xenolithMemory: memory(ours),
    });
  }
  if (json) {
    console.log(JSON.stringify({ processors: cpus().length, load: loadavg()[0], rounds, results }, null, 1));
  } else {
    console.log(
      `${generator.records} records, ${(generator.bytesWritten / 1e6).toFixed(0)} MB, median of ${rounds} rounds, ${cpus().length} processors, load ${loadavg()[0]!.toFixed(1)}`,
    );
    for (const r of results) {
      console.log(
        `${r.task.padEnd(8)} xenalyze ${r.xenalyzeSeconds.toFixed(2)} s, ${(r.xenalyzeRate / 1e6).toFixed(2)} M records/s, ${r.xenalyzeMemory.toFixed(0)} MB; ` +
          `xenolith ${r.xenolithSeconds.toFixed(2)} s, ${(r.xenolithRate / 1e6).toFixed(2)} M records/s, ${r.xenolithMemory.toFixed(0)} MB; ${r.ratio.toFixed(2)} times as fast`,
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
