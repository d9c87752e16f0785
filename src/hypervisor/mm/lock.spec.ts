import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { LockOrder } from './lock.ts';

it('the lock order in docs/architecture.md is the one that is enforced', () => {
  const text = readFileSync(new URL('../../../docs/architecture.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, name, rank]) => [name, Number(rank)]);
  expect(rows).toEqual(Object.entries(LockOrder));
});
