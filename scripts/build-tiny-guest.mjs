// Assembles the tiny guest into dist/: in a browser the assembler's library cannot run.
import { writeFileSync } from 'node:fs';
import { assembleTinyGuest } from '../dist/machine/tiny-guest/image.js';

writeFileSync(new URL('../dist/library/tiny-guest.elf', import.meta.url), assembleTinyGuest());
