// Writes the register tables, the glossary and the stories of docs/ from the code and its tests. With --check it changes nothing and fails if a page is old.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
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
/** A story as a page shows it: the text of a golden file, or some of its sections. */
function withStories(page) {
  return page.replaceAll(/(<!-- story (\S+?)(?:: (.*?))? -->\n)[^]*?(<!-- end of story -->)/g, (_, head, file, names, end) => {
    const sections = readFileSync(resolve(root, file), 'utf8').trimEnd().split('\n\n');
    const shown =
      names === undefined ? sections : names.split(' / ').map((name) => sections.find((s) => s.startsWith(`${name}\n`)));
    if (shown.includes(undefined)) throw new Error(`${file} has not all of the sections ${names}`);
    const lines = shown.join('\n\n').split('\n');
    return `${head}\n${lines.map((line) => (line === '' ? '' : `    ${line}`)).join('\n')}\n\n${end}`;
  });
}
const tracePage = readFileSync(resolve(root, 'docs/trace.md'), 'utf8');
if (withStories(tracePage) !== tracePage) {
  old++;
  if (process.argv.includes('--check'))
    console.error('docs/trace.md: a story is not that of the tests; run: node scripts/docs.mjs');
  else writeFileSync(resolve(root, 'docs/trace.md'), withStories(tracePage));
}
const { glossaryPage } = await load('src/analyze/tell/glossary.ts');
const glossaryFile = resolve(root, 'docs/glossary.md');
if (!existsSync(glossaryFile) || readFileSync(glossaryFile, 'utf8') !== glossaryPage()) {
  old++;
  if (process.argv.includes('--check')) console.error('docs/glossary.md: it is not that of the code; run: node scripts/docs.mjs');
  else writeFileSync(glossaryFile, glossaryPage());
}
process.exit(process.argv.includes('--check') && old ? 1 : 0);
