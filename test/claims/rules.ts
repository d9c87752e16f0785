import { readFileSync } from 'node:fs';

/**
 * The rules of docs/trace.md by which a sentence may be called strong: each row's sentences, with `…` for anything, as patterns.
 * Several forms of one row stand in code spans of their own.
 */
export function strongRules(): RegExp[] {
  const page = readFileSync(new URL('../../docs/trace.md', import.meta.url), 'utf8');
  const table = page.slice(page.indexOf('| sentence | what it needs | when it fails |'));
  const rows = table.slice(0, table.indexOf('\n\n')).split('\n').slice(2);
  return rows.flatMap((row) => {
    const cell = row.split(' | ')[0]!;
    return [...cell.matchAll(/`([^`]+)`/g)].map(
      ([, words]) =>
        new RegExp(
          `^${words!
            .split('…')
            .map((w) => w.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
            .join('.*')}${words!.endsWith('…') ? '' : '$'}`,
          's',
        ),
    );
  });
}
