import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { analyze } from './join/analysis.ts';
import { ioPaths } from './join/path.ts';
import { pathJson, pathLine, joinLines, costLines } from './tell/io-text.ts';
import { CostTable } from './join/statistics.ts';
import { tellStory } from './tell/story.ts';
import { renderStory } from './tell/story-text.ts';
import { excerpt, inputOf, mail } from './testing/excerpts.ts';

/** One thing done to a text: a line dropped, doubled, moved, or characters of it replaced. */
const change = fc.oneof(
  fc.record({ kind: fc.constant('drop' as const), at: fc.nat() }),
  fc.record({ kind: fc.constant('double' as const), at: fc.nat() }),
  fc.record({ kind: fc.constant('move' as const), at: fc.nat(), to: fc.nat() }),
  fc.record({
    kind: fc.constant('replace' as const),
    at: fc.nat(),
    column: fc.nat(200),
    text: fc.oneof(
      fc.string({ maxLength: 8 }),
      fc.constantFrom('ffffffffffffffff', '0', '-1', '99999999', 'lost_records count 9'),
    ),
  }),
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function apply(text: string, changes: readonly Change[]): string {
  const lines = text.split('\n');
  for (const c of changes) {
    if (lines.length === 0) break;
    const at = c.at % lines.length;
    if (c.kind === 'drop') lines.splice(at, 1);
    else if (c.kind === 'double') lines.splice(at, 0, lines[at]!);
    else if (c.kind === 'move') lines.splice(c.to % lines.length, 0, lines.splice(at, 1)[0]!);
    else {
      const line = lines[at]!;
      const column = c.column % (line.length + 1);
      lines[at] = line.slice(0, column) + c.text + line.slice(column + c.text.length);
    }
  }
  return lines.join('\n');
}

/** All that the commands do with an input. Only a UserError may come out. */
async function everything(input: Parameters<typeof analyze>[0]): Promise<void> {
  try {
    const a = await analyze(input);
    const table = new CostTable();
    for (const path of ioPaths(a)) {
      table.add(path);
      pathLine(path);
      JSON.stringify(pathJson(path));
      // No claim may have a value and be unknown, or the other way round.
      for (const c of [path.route, path.width, path.interrupt]) expect(c.value === undefined).toBe(c.strength === 'unknown');
      if (path.access.lost !== undefined) expect(Object.values(path.stages).every((s) => s === undefined)).toBe(true);
    }
    costLines(table.rows());
    joinLines(a);
    for (const packet of [undefined, 1, 2]) {
      const story = tellStory(a, { packet });
      renderStory(story, { width: 80, color: true });
      for (const hop of story.hops) expect(hop.refs.length, hop.text).toBeGreaterThan(0);
    }
  } catch (error) {
    if ((error as Error).name !== 'UserError') throw error;
  }
}

describe('damaged and hostile files', () => {
  it('changed traces and logs give a story or a UserError, never a crash or a claim without evidence', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('8139cp' as const, '8139too' as const),
        fc.array(change, { maxLength: 12 }),
        fc.array(change, { maxLength: 12 }),
        async (driver, inTrace, inLog) => {
          const e = excerpt(driver);
          await everything(inputOf({ ...e, trace: apply(e.trace, inTrace), log: apply(e.log!, inLog) }));
        },
      ),
      { numRuns: 150 },
    );
  });

  it('a changed mail too', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 10 }), async (changes) => {
        await everything({ text: apply(mail(), changes).split('\n') });
      }),
      { numRuns: 300 },
    );
  });

  // Work that grows with the square of a line's length would not end in hours.
  it('lines of a million blanks, digits or names come to an end', async () => {
    const hostile = [
      ' '.repeat(1_000_000),
      `${'1'.repeat(1_000_000)}@1.1:x`,
      `152@1.000000:handle_ioreq ${'I/O='.repeat(250_000)}`,
    ];
    await everything({ text: [...hostile, ...mail().split('\n')], dmLog: [...hostile, ...excerpt('8139cp').log!.split('\n')] });
  });
});
