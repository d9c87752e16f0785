import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { announcement, farewell } from './tour.ts';

const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
/** The files of `npm start`. */
const paths = { trace: 'out/trace.trc', dmLog: 'out/qemu-dm.log', pcap: 'out/net.pcapng', console: ['-', 'out/console.log'] };
const blanks = (text: string): string => text.replaceAll(/ +/g, ' ');

describe('README.md shows', () => {
  it('what npm start says before it begins', () => {
    const lines = announcement(
      {
        name: 'ping',
        text: 'a Debian kernel with its own driver 8139cp, which pings the host',
        memoryMiB: 128,
        nics: ['rtl8139'],
        clock: 'virtual',
      },
      paths,
    );
    expect(readme).toContain(lines.join('\n').trim());
  });

  it('what it says at the end, sizes aside', () => {
    const lines = farewell(paths, 4, 'TxPoll').map((line) => line.replace(/^ {2}node \S+ /, '  node dist/cli/main.js '));
    const sizes = /\b(?:\d[\d.]* (?:bytes|[KM]iB)|not there)/g;
    expect(blanks(readme.replaceAll(sizes, 'SIZE'))).toContain(blanks(lines.join('\n').trim().replaceAll(sizes, 'SIZE')));
  });
});
