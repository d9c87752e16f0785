/** `xenolith conformance`: reference transcripts against our chips. */
import { createReadStream } from 'node:fs';
import type { Command } from 'commander';
import colors from 'picocolors';
import { UserError } from '../base/errors.ts';
import { Replay, type SequenceResult } from '../devices/conformance/replay.ts';
import { Intake } from './intake.ts';
import { oneLine, printableJson } from './printable.ts';

const EXPECTED = 'a transcript (JSON lines, of test/transcripts)';
/** Lines of transcripts are a few thousand characters long. */
const LONGEST_LINE = 4 << 20;

/** Replays one file, plain or compressed. */
async function replayFile(file: string, intake: Intake): Promise<SequenceResult[]> {
  const { path, name, kind, what } = await intake.one(file, EXPECTED);
  if (kind === 'empty') throw new UserError(`${name}: empty; expected ${EXPECTED}`);
  if (what !== 'JSON') throw new UserError(`${name}: ${what}; expected ${EXPECTED}`);
  const replay = new Replay(name);
  let rest = '';
  for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: 1 << 18 })) {
    const lines = (rest + (chunk as string)).split(/\r?\n/);
    rest = lines.pop()!;
    if (rest.length > LONGEST_LINE)
      throw new UserError(`${name}: a line of more than ${LONGEST_LINE >> 20} MiB; expected ${EXPECTED}`);
    for (const line of lines) replay.line(line);
  }
  if (rest !== '') replay.line(rest);
  replay.end();
  return replay.results;
}

export function registerConformance(program: Command): void {
  program
    .command('conformance')
    .description('replay reference transcripts against our chip models')
    .argument('<file...>', 'transcripts: JSON lines, also compressed; - is standard input')
    .option('--json', 'print every sequence as JSON')
    .addHelpText('after', '\nExample:\n  xenolith conformance test/transcripts/*.jsonl.gz\n')
    .action(async (files: string[], options: { json?: boolean }) => {
      const all: (SequenceResult & { file: string })[] = [];
      const intake = new Intake();
      try {
        for (const file of files) {
          const results = await replayFile(file, intake);
          all.push(...results.map((result) => ({ file, ...result })));
          if (!options.json) report(oneLine(file), results);
        }
      } finally {
        intake.close();
      }
      const agree = all.filter((r) => !r.difference).length;
      const otherEdges = all.reduce((n, r) => n + r.otherEdges, 0);
      if (options.json)
        console.log(printableJson(JSON.stringify({ sequences: all.length, agree, otherEdges, results: all }, null, 1)));
      else
        console.log(
          `total: ${agree} of ${all.length} sequences agree; INTx edges differ on ${otherEdges} of ${all.reduce((n, r) => n + r.inputs, 0)} inputs`,
        );
      if (all.length === 0) throw new UserError('no sequence in these files: expected lines with "v":1');
      if (agree < all.length) process.exitCode = 1;
    });
}

function report(file: string, results: readonly SequenceResult[]): void {
  const agree = results.filter((r) => !r.difference).length;
  const line = `${file}: ${agree} of ${results.length} agree`;
  console.log(agree === results.length ? line : colors.red(line));
  for (const { name, difference } of results) {
    if (!difference) continue;
    const { line, step, input, register, what, expected, got } = difference;
    console.log(oneLine(`  ${name}, line ${line}, step ${step}: ${input}${register ? ` (${register})` : ''}`));
    console.log(oneLine(`    ${what}: expected ${expected}, got ${got}`));
  }
}
