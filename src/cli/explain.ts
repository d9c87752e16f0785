/** `xenolith explain TERM`: what a word of a story means. */
import type { Command } from 'commander';
import { explainTerm, glossary, likeTerms } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';

export function registerExplain(program: Command): void {
  program
    .command('explain')
    .description('explain a word of a story: a term, a register of a chip, a field of one')
    .argument('[term...]', 'for example slot, "map cache", TxPoll; without one, all terms are listed')
    .option('--json', 'JSON instead of text')
    .addHelpText('after', '\nExample:\n  xenolith explain synchronous ioreq page\n  xenolith explain TxPoll\n')
    .action((words: string[], options: { json?: boolean }) => explain(words.join(' '), options.json === true));
}

function explain(word: string, json: boolean): void {
  if (word.trim() === '') {
    if (json) console.log(JSON.stringify(glossary));
    else
      for (const { title, terms } of glossary) {
        console.log(`${title}:`);
        console.log(wrapped(terms.map((t) => t.name).join(', '), '  '));
      }
    return;
  }
  const found = explainTerm(word);
  if (found.length === 0) {
    const like = likeTerms(word);
    throw new UserError(
      `explain ${word}: not a term, a register or a field that is known here${like.length === 0 ? '' : `; like it: ${like.join(', ')}`}; xenolith explain lists the terms`,
    );
  }
  if (json) console.log(JSON.stringify({ term: word, meanings: found }));
  else for (const text of found) console.log(wrapped(text, ''));
}

const MAX_WIDTH = 110;

/** Text in lines of the terminal's width. */
function wrapped(text: string, indent: string): string {
  const width = Math.min(process.stdout.columns ?? 100, MAX_WIDTH);
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(' ')) {
    if (line.trim() !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `${indent}${word}`;
    } else line = line.trim() === '' ? `${indent}${word}` : `${line} ${word}`;
  }
  return [...lines, line].join('\n');
}
