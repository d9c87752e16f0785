import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { QUESTIONS } from './questions.ts';
import { TABLES } from './tables.ts';

const page = readFileSync(new URL('../../docs/trace-sql.md', import.meta.url), 'utf8');

it.each(Object.entries(TABLES))('docs/trace-sql.md has every column of %s', (table, columns) => {
  expect(page).toContain(`### ${table}\n`);
  for (const c of columns) expect(page).toContain(`| \`${c.name}\` | ${c.type} | ${c.doc} |`);
});

it('docs/trace-sql.md has every question', () => {
  for (const q of QUESTIONS) expect(page).toContain(`| \`${q.name}\` | ${q.asks} |`);
});
