/** Compiles a test image with gcc into a flat multiboot binary. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PATIENCE_MS } from '../../needs.ts';
import { segmentCases } from './segment-cases.ts';

export type ImageName = 'long' | 'legacy' | 'segments';

const flags = [
  '-O1',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-pic',
  '-fno-pie',
  '-no-pie',
  '-nostdlib',
  '-static',
  '-mgeneral-regs-only',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-Wno-unused-function',
  '-Wno-array-bounds',
  '-Wno-stringop-overflow',
];

/** The image of random segment cases; `texts` says what each is, for a person. */
export function buildSegmentImage(directory: string, seed: number, count: number): { image: string; texts: string[] } {
  const { bytes, texts } = segmentCases(seed, count);
  writeFileSync(join(directory, 'segment-cases.bin'), bytes);
  return { image: buildImage(directory, 'segments'), texts };
}

/** Path of the flat binary. */
export function buildImage(directory: string, name: ImageName, defines: readonly string[] = []): string {
  const here = join(import.meta.dirname, 'image');
  const elf = join(directory, `${name}${defines.join('')}.elf`);
  const flat = join(directory, `${name}${defines.join('')}.bin`);
  const mode = name === 'long' ? ['-DLONG_MODE', '-mno-red-zone'] : ['-m32', '-Wl,-m,elf_i386'];
  const link = [
    '-Wl,-T',
    join(import.meta.dirname, '../native/image.ld'),
    '-Wl,--build-id=none',
    '-Wl,-z,noexecstack',
    '-Wl,--no-warn-rwx-segments',
  ];
  execFileSync(
    'gcc',
    [
      ...flags,
      ...mode,
      ...defines.map((define) => `-D${define}`),
      `-Wa,-I${directory}`, // what an image includes as it is
      '-I',
      here,
      join(here, 'enter.S'),
      join(here, `${name}.c`),
      ...link,
      '-o',
      elf,
    ],
    { stdio: ['ignore', 'inherit', 'pipe'] },
  );
  execFileSync('objcopy', ['-O', 'binary', elf, flat]);
  return flat;
}

/** What the image prints under QEMU, and its exit status: 1 when the image ended by itself, 0 after a triple fault. */
export function runUnderQemu(image: string): { output: string; status: number } {
  const args = [
    '-accel',
    'tcg',
    '-cpu',
    'max,vendor=GenuineIntel',
    '-m',
    '32',
    '-kernel',
    image,
    '-display',
    'none',
    '-nodefaults',
    '-no-reboot',
    '-serial',
    'none',
    '-debugcon',
    'stdio',
    '-device',
    'isa-debug-exit,iobase=0xf4,iosize=1',
  ];
  try {
    return {
      output: execFileSync('qemu-system-x86_64', args, { encoding: 'latin1', timeout: PATIENCE_MS, maxBuffer: 16 << 20 }),
      status: 0,
    };
  } catch (error) {
    const failed = error as { stdout?: string; status?: number | null };
    if (typeof failed.status !== 'number') throw error;
    return { output: failed.stdout ?? '', status: failed.status };
  }
}
