/** Compiles a test image with gcc into a flat multiboot binary. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { PATIENCE_MS } from '../../needs.ts';

export type ImageName = 'long' | 'legacy';

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
