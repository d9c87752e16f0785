/** Compiles the kernels for every engine, with gcc -O2, into a directory. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { flatProgram } from './flat.ts';

export interface Images {
  /** Flat multiboot image, loaded at 1 MiB, long mode, output on port 0xe9. */
  bare64: string;
  /** The same in 32-bit protected mode with PAE paging, output on the first serial port. */
  bare32: string;
  /** Where bare32 starts. */
  entry32: number;
  /** ROM that enters bare32 from the reset vector. */
  bios: string;
  /** Static Linux program. */
  user64: string;
}

const flags = [
  '-O2',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-pic',
  '-fno-pie',
  '-no-pie',
  '-nostdlib',
  '-static',
  '-Wall',
  '-Wextra',
  '-fno-tree-loop-distribute-patterns',
  '-mno-avx',
];

export function build(directory: string): Images {
  const here = join(import.meta.dirname, 'kernels');
  const gcc = (...args: string[]): void => {
    execFileSync('gcc', args, { stdio: ['ignore', 'inherit', 'inherit'] }); // fails with gcc's own message
  };
  const flat = join(directory, 'flat.c');
  writeFileSync(flat, flatProgram(1));
  const sources = [join(here, 'kernels.c'), join(here, 'main.c'), flat];
  const boot = join(here, 'boot.S');
  const at = (name: string): string => join(directory, name);
  const link = [
    '-Wl,-T',
    join(import.meta.dirname, '../../test/cpu/native/image.ld'),
    '-Wl,--build-id=none',
    '-Wl,-z,noexecstack',
    '-Wl,--no-warn-rwx-segments',
  ];
  gcc(...flags, '-mno-red-zone', '-DPORT=0xe9', '-DLONG_MODE', '-I', here, boot, ...sources, ...link, '-o', at('bare64.elf'));
  gcc(
    ...flags,
    '-m32',
    '-msse2',
    '-mfpmath=sse',
    '-DPORT=0x3f8',
    '-I',
    here,
    boot,
    ...sources,
    ...link,
    '-Wl,-m,elf_i386',
    '-o',
    at('bare32.elf'),
  );
  gcc(
    ...flags,
    '-DHOSTED',
    '-I',
    here,
    ...sources,
    '-Wl,-e,entry',
    '-Wl,-z,noexecstack',
    join(here, 'user.S'),
    '-o',
    at('user64'),
  );
  for (const name of ['bare64', 'bare32']) execFileSync('objcopy', ['-O', 'binary', at(`${name}.elf`), at(`${name}.bin`)]);
  const symbols = execFileSync('nm', [at('bare32.elf')], { encoding: 'utf8' });
  const entry32 = parseInt(/^([0-9a-f]+) \w entry$/m.exec(symbols)?.[1] ?? '', 16);
  gcc('-c', '-m32', `-DENTRY=${entry32}`, join(here, 'bios.S'), '-o', at('bios.o'));
  execFileSync('objcopy', ['-O', 'binary', '-j', '.text', at('bios.o'), at('bios.bin')]);
  return { bare64: at('bare64.bin'), bare32: at('bare32.bin'), entry32, bios: at('bios.bin'), user64: at('user64') };
}
