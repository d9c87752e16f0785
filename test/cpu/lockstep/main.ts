/**
 * npm run cpu:lockstep -- [--cases N] [--seed N] [--mode 64|32] [--only REGEX] [--detailed N] [--compiled]
 *   [--save FILE] [--record FILE] [--json]
 *
 * Runs random user-level snippets on this machine's processor and on the vCPU and compares everything they leave.
 * --compiled: the vCPU compiles every block before it runs, as it does warm code, instead of interpreting it.
 * --record FILE saves every case run, with the real processor's answer, in test/cpu/regressions/FILE.
 * --save FILE adds the shrunk failures to test/cpu/regressions/FILE, where the specs keep checking them.
 * FILE ends in .jsonl or .jsonl.gz and holds the answers of one processor, whose name is its first line.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Code } from 'iced-x86';
import { COMPILE } from '../engine.ts';
import type { Mode, SavedCase } from './case.ts';
import { thisProcessor } from '../processor.ts';
import { addToRecording } from '../recording.ts';
import { runLockstep } from './run.ts';
import { registersText } from './text.ts';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '60000' },
    seed: { type: 'string', default: '1' },
    mode: { type: 'string' },
    only: { type: 'string' },
    feature: { type: 'string', multiple: true },
    detailed: { type: 'string', default: '20' },
    save: { type: 'string' },
    record: { type: 'string' },
    compiled: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

const processor = await thisProcessor();
const modes: readonly Mode[] =
  values.mode === undefined ? (processor.native32.skip ? [64] : [64, 64, 32]) : [Number(values.mode) as Mode];
const lack = modes.includes(32) ? processor.native32 : processor.native;
if (lack.skip) {
  console.error(`cpu:lockstep: ${lack.reason}`);
  process.exit(2);
}
if (!values.json) {
  console.log(`${processor.name}; chooses otherwise than the vCPU: ${[...processor.choices].join(', ') || 'nothing'}`);
  if (values.mode === undefined && processor.native32.skip) console.log(`64-bit mode only: ${processor.native32.reason}`);
}
const pattern = values.only === undefined ? undefined : new RegExp(values.only, 'i');
const regressions = join(import.meta.dirname, '../regressions');
mkdirSync(regressions, { recursive: true });
const recorded: SavedCase[] = [];
const started = Date.now();
const report = await runLockstep({
  processor,
  seed: Number(values.seed),
  cases: Number(values.cases),
  modes,
  ...(values.feature ? { features: values.feature } : {}),
  ...(pattern ? { only: (form) => pattern.test(Code[form.code] ?? '') } : {}),
  detailed: Number(values.detailed),
  ...(values.compiled ? { compile: COMPILE.all } : {}),
  ...(values.record === undefined ? {} : { record: (saved: SavedCase) => void recorded.push(saved) }),
  progress: (done, failed) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${done} cases, ${failed} differ`);
  },
});
if (process.stderr.isTTY) process.stderr.write('\r');
if (values.json)
  console.log(
    JSON.stringify({ seed: Number(values.seed), ...report.tally, forms: report.forms, seconds: (Date.now() - started) / 1000 }),
  );
else {
  // Alike failures once: the same instructions with the same things different.
  const groups = new Map<string, typeof report.failures>();
  for (const failure of report.failures) {
    const key = `${failure.disassembly
      .map(
        (line) =>
          line
            .slice(23)
            .replace(/\b0?[0-9a-f]+h\b|\d+/gi, '#')
            .split(',')[0],
      )
      .join(';')} ${failure.differences.map((line) => line.split(':')[0]).join()}`;
    groups.set(key, [...(groups.get(key) ?? []), failure]);
  }
  for (const [first, ...more] of [...groups.values()].sort((a, b) => b.length - a.length)) {
    if (first)
      console.log(
        `\n${first.disassembly.join('\n')}\n  ${registersText(first.one)}\n  ${first.differences.join('\n  ')}${more.length ? `\n  (and ${more.length} alike)` : ''}`,
      );
  }
  const t = report.tally;
  console.log(
    `seed ${values.seed}; forms of instructions: ${Object.entries(report.forms)
      .map(([mode, count]) => `${count} in ${mode}-bit mode`)
      .join(', ')}; ${((Date.now() - started) / 1000).toFixed(1)} s`,
  );
  console.log(
    `${t.cases} cases: ${t.integer} integer only, ${t.memory} with memory, ${t.fault} ended by a fault or trap, ${t.x87} x87, ${t.mmx} MMX, ${t.mxcsr} SSE/MXCSR (a case counts in every kind it has), ${t.notFinished} left out (no end)`,
  );
  console.log(`${t.failed} differ`);
}
if (values.record !== undefined) addToRecording(join(regressions, values.record), processor, recorded);
if (values.save !== undefined)
  addToRecording(
    join(regressions, values.save),
    processor,
    report.failures.map((failure) => ({ ...failure.saved, note: failure.disassembly.map((line) => line.slice(23)).join('; ') })),
  );
process.exit(report.tally.failed ? 1 : 0);
