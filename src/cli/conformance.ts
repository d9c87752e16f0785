/** `xenolith conformance`: reference transcripts against our chips. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import type { Command } from 'commander';
import colors from 'picocolors';
import { UserError } from '../base/errors.ts';
import { Replay, type SequenceResult } from '../devices/conformance/replay.ts';

/** Replays one file, gzip-compressed if its name ends in .gz. */
async function replayFile(file: string): Promise<SequenceResult[]> {
  const replay = new Replay(file);
  const raw = createReadStream(file);
  const input = file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw;
  const failed = new Promise<never>((_, reject) => {
    const fail = (error: Error): void => reject(new UserError(`${file}: cannot be read: ${error.message}`));
    raw.on('error', fail);
    input.on('error', fail);
  });
  const read = (async () => {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) replay.line(line);
    replay.end();
  })();
  await Promise.race([read, failed]);
  return replay.results;
}

export function registerConformance(program: Command): void {
  program
    .command('conformance')
    .description('replay reference transcripts against our chip models')
    .argument('<file...>', 'transcripts: JSON lines, also .gz')
    .option('--json', 'print every sequence as JSON')
    .addHelpText('after', '\nExample:\n  npx xenolith conformance test/transcripts/*.jsonl.gz\n')
    .action(async (files: string[], options: { json?: boolean }) => {
      const all: (SequenceResult & { file: string })[] = [];
      for (const file of files) {
        const results = await replayFile(file);
        all.push(...results.map((result) => ({ file, ...result })));
        if (!options.json) report(file, results);
      }
      const agree = all.filter((r) => !r.difference).length;
      const otherEdges = all.reduce((n, r) => n + r.otherEdges, 0);
      if (options.json) console.log(JSON.stringify({ sequences: all.length, agree, otherEdges, results: all }, null, 1));
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
    console.log(
      `  ${name}, line ${difference.line}, step ${difference.step}: ${difference.input}${difference.register ? ` (${difference.register})` : ''}`,
    );
    console.log(`    ${difference.what}: expected ${difference.expected}, got ${difference.got}`);
  }
}
