// Writes the register tables of docs/ from the code. With --check it changes nothing and fails if a page is old.
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { runnerImport } from 'vite';

const root = resolve(import.meta.dirname, '..');
const load = async (file) => (await runnerImport(resolve(root, file), { root, configFile: false, logLevel: 'error' })).module;

const { withRegisterTable } = await load('src/devices/register-doc.ts');
const { chipsetTables } = await load('src/devices/chipset.ts');
const { nicModels } = await load('src/devices/nic/models.ts');
const { platformTables } = await load('src/abi/registers/platform.ts');
const pages = [
  ...nicModels.map(({ name, tables }) => [`docs/${name}.md`, Object.entries(tables)]),
  ['docs/device-model.md', Object.entries(chipsetTables)],
  ['docs/platform.md', Object.entries(platformTables)],
];

let old = 0;
for (const [file, tables] of pages) {
  const page = readFileSync(resolve(root, file), 'utf8');
  const now = tables.reduce((text, [which, table]) => withRegisterTable(text, table, which), page);
  if (now === page) continue;
  old++;
  if (process.argv.includes('--check'))
    console.error(`${file}: its register table is not that of the code; run: node scripts/docs.mjs`);
  else writeFileSync(resolve(root, file), now);
}
process.exit(process.argv.includes('--check') && old ? 1 : 0);
