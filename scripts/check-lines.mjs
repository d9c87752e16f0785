// No line of code is longer than 140 columns, but for one whose length is a single literal (a string, a template, a regular
// expression) that cannot be cut without harm to whoever searches for it.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const LIMIT = 140;
/** A literal of at least this many columns excuses its line. */
const LITERAL = 60;

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.ts', '*.mjs'], { encoding: 'utf8' })
  .trim()
  .split('\n');
let problems = 0;
for (const file of files) {
  readFileSync(file, 'utf8')
    .split('\n')
    .forEach((line, i) => {
      if (line.length <= LIMIT || new RegExp(`(['"\`/]).{${LITERAL},}\\1`).test(line)) return;
      problems++;
      console.error(`${file}:${i + 1}: ${line.length} columns; wrap it at ${LIMIT}`);
    });
}
console.log(`lines: ${files.length} files, ${problems} too long`);
process.exit(problems ? 1 : 0);
