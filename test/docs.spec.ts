import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

it('register tables, glossary and stories of docs/ are those of the code (else: node scripts/docs.mjs)', () => {
  const root = new URL('..', import.meta.url);
  const { status, stderr } = spawnSync(process.execPath, ['scripts/docs.mjs', '--check'], { cwd: root, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
}, 120_000);
