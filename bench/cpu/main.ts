/**
 * npm run bench:cpu -- [--rounds N] [--out FILE] [--engine REGEX] [--json]
 *
 * MIPS of the vCPU beside QEMU (system and user emulation) and v86, same C source, same run: every round runs every
 * engine once, medians over the rounds, in processor time. Instructions are counted by our vCPU, for the 64-bit and the 32-bit build.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { lackOf } from '../../test/needs.ts';
import { commandLine, count } from '../command-line.ts';
import { build } from './build.ts';
import { type Engine, type Timing, engines, runEngine } from './engines.ts';

const kernelNames = ['sieve', 'crc', 'quicksort', 'memcpy/strlen', 'hash table', 'bytecode', 'flat program'];
const values = commandLine('npm run bench:cpu -- [--rounds N] [--out FILE] [--engine REGEX] [--json]', {
  rounds: { type: 'string', default: '3' },
  out: { type: 'string', default: 'out/bench-cpu.json' },
  engine: { type: 'string', default: '' },
  json: { type: 'boolean', default: false },
});
const rounds = count('rounds', values.rounds);

const available = engines.filter((engine) => {
  if (!new RegExp(values.engine).test(engine.name) && !engine.name.startsWith('xenolith')) return false;
  const [program] = engine.command({ bare64: '', bare32: '', entry32: 0, bios: '', user64: '' });
  try {
    execFileSync(program as string, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    console.error(`${engine.name} left out: ${program} is not installed`);
    return false;
  }
});

const median = (numbers: number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
};

const lack = await lackOf('gcc', 'gcc-m32', 'objcopy');
if (lack.skip) {
  console.error(`bench:cpu: ${lack.reason}; its kernels cannot be compiled`);
  process.exit(1);
}
const directory = mkdtempSync(join(tmpdir(), 'xenolith-bench-'));
try {
  console.error('compiling the kernels (gcc -O2)');
  const images = build(directory);
  const runs = new Map<Engine, Timing[][]>(available.map((engine) => [engine, []]));
  for (let round = 0; round < rounds; round++) {
    for (const engine of available) {
      console.error(`round ${round + 1}: ${engine.name}`);
      runs.get(engine)?.push(await runEngine(engine, images, 300_000));
    }
  }
  const count = (bits: 32 | 64, kernel: number): number => {
    const counting = available.find((engine) => engine.bits === bits && engine.name.startsWith('xenolith'));
    return (counting && runs.get(counting)?.[0]?.[kernel]?.instructions) ?? 0;
  };
  const results = kernelNames.map((name, kernel) => {
    const sums = new Set([...runs.values()].flat().map((timings) => timings[kernel]?.checksum));
    if (sums.size !== 1) throw new Error(`${name}: the engines disagree about the result: ${[...sums].join(', ')}`);
    const byEngine = available.map((engine) => {
      const milliseconds = median((runs.get(engine) ?? []).map((timings) => timings[kernel]?.milliseconds ?? NaN));
      return { engine: engine.name, milliseconds, mips: count(engine.bits, kernel) / milliseconds / 1000 };
    });
    return { kernel: name, instructions64: count(64, kernel), instructions32: count(32, kernel), engines: byEngine };
  });
  const report = { date: new Date().toISOString(), cpu: cpus()[0]?.model ?? '', cores: cpus().length, rounds, results };
  mkdirSync(dirname(values.out), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify(report, undefined, 1)}\n`);
  if (values.json) console.log(JSON.stringify(report));
  else {
    const width = 24;
    console.log(
      `MIPS (median of ${rounds}, by processor time), and speed relative to xenolith's of the same word size (above 1: faster than xenolith); ${report.cpu}, ${report.cores} cores`,
    );
    console.log(['kernel'.padEnd(14), ...available.map((engine) => engine.name.padStart(width))].join(''));
    for (const row of results) {
      const cells = row.engines.map((cell, i) => {
        const own = row.engines.find(
          (_, k) => available[k]?.name.startsWith('xenolith') && available[k]?.bits === available[i]?.bits,
        );
        const ratio = own && own !== cell ? ` (${(own.milliseconds / cell.milliseconds).toFixed(2)}x)` : '';
        return `${cell.mips.toFixed(0)}${ratio}`.padStart(width);
      });
      console.log([row.kernel.padEnd(14), ...cells].join(''));
    }
    console.log(`also in ${values.out}`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
