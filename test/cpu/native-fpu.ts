/** Single instructions on the real processor: compiles native-fpu.c and exchanges records with it. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Layout of struct record in native-fpu.c. */
export const RECORD = { fpu: 0, code: 512, memory: 528, rax: 656, rflags: 664, signal: 672, length: 676, size: 688 } as const;

let program: string | undefined;

/** Run the instructions of all records; each then holds the state after it. */
export function runNative(records: Uint8Array): Buffer {
  if (!program || !existsSync(program)) {
    program = join(mkdtempSync(join(tmpdir(), 'native-fpu-')), 'native-fpu');
    execFileSync('gcc', ['-O1', '-o', program, join(import.meta.dirname, 'native-fpu.c')]);
  }
  return execFileSync(program, { input: records, maxBuffer: records.length + 1024 });
}
