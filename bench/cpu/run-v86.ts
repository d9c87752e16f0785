/** Runs the 32-bit kernel image on v86; prints each kernel's time. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { V86 } from 'v86';

const [image, bios] = process.argv.slice(2);
if (image === undefined || bios === undefined) throw new Error('usage: run-v86.ts IMAGE BIOS');
const rom = readFileSync(bios);
const kernel = readFileSync(image);
const emulator = new V86({
  wasm_path: join(dirname(createRequire(import.meta.url).resolve('v86')), 'v86.wasm'),
  memory_size: 64 * 1024 * 1024,
  vga_memory_size: 1024 * 1024,
  bios: { buffer: rom.buffer.slice(rom.byteOffset, rom.byteOffset + rom.byteLength) as ArrayBuffer },
  autostart: false,
  disable_speaker: true,
});
/** Processor time of this process, all threads, in milliseconds. */
const processorTime = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
let line = '';
let startedAt = 0;
emulator.add_listener('serial0-output-byte', (byte: number) => {
  if (byte !== 10) {
    line += String.fromCharCode(byte);
    return;
  }
  if (line.startsWith('S')) startedAt = processorTime();
  else {
    process.stdout.write(`${line} ${(processorTime() - startedAt).toFixed(3)} 0\n`);
    if (line.startsWith('E6')) setTimeout(() => process.exit(0), 10);
  }
  line = '';
});
emulator.add_listener('emulator-ready', () => {
  emulator.write_memory(new Uint8Array(kernel), 0x100000);
  void emulator.run();
});
