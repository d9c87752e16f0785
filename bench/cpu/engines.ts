/** The engines side by side: each runs all kernels once and gives their times. */
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Images } from './build.ts';

/** One kernel of one run. Processor time of all the engine's threads, in milliseconds; instructions where the engine counts them, else 0. */
export interface Timing {
  milliseconds: number;
  checksum: string;
  instructions: number;
}

export interface Engine {
  name: string;
  /** Which instruction count applies to its code. */
  bits: 32 | 64;
  command(images: Images): string[];
}

const qemu = (image: string, ...rest: string[]): string[] => [
  'qemu-system-x86_64',
  '-accel',
  'tcg',
  '-m',
  '64',
  '-kernel',
  image,
  '-display',
  'none',
  '-nodefaults',
  '-no-reboot',
  '-serial',
  'none',
  '-device',
  'isa-debug-exit,iobase=0xf4,iosize=1',
  ...rest,
];
const script = (name: string, ...rest: string[]): string[] => [
  process.execPath,
  '--import',
  'tsx',
  join(import.meta.dirname, name),
  ...rest,
];

export const engines: Engine[] = [
  { name: 'xenolith', bits: 64, command: (images) => script('run-ours.ts', images.bare64) },
  { name: 'xenolith 32-bit', bits: 32, command: (images) => script('run-ours.ts', images.bare32) },
  { name: 'qemu-system-x86_64 tcg', bits: 64, command: (images) => qemu(images.bare64, '-debugcon', 'stdio') },
  { name: 'qemu-x86_64', bits: 64, command: (images) => ['qemu-x86_64', images.user64] },
  { name: 'v86 32-bit', bits: 32, command: (images) => script('run-v86.ts', images.bare32, images.bios) },
];

/** Processor time of a process so far, all threads, in milliseconds: what other work on the machine does not change. */
function processorTime(pid: number): number {
  let nanoseconds = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    } catch {}
  }
  return nanoseconds / 1e6;
}

/**
 * Runs the engine and reads "S<kernel>" and "E<kernel> <checksum>" from its output. An engine that runs inside node
 * adds "<milliseconds> <instructions>" of its own; for the others the clock is read when a line arrives.
 */
export async function runEngine(engine: Engine, images: Images, timeoutMs: number): Promise<Timing[]> {
  const [program, ...args] = engine.command(images);
  const child = spawn(program as string, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const timings: Timing[] = [];
  let pending = '';
  let errors = '';
  let started = 0;
  let last = 0;
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  child.stdout.on('data', (chunk: Buffer) => {
    let now = 0;
    try {
      now = processorTime(child.pid ?? 0);
    } catch {
      now = last; // it ended with this line
    }
    last = now;
    pending += chunk.toString('latin1');
    for (let end = pending.indexOf('\n'); end >= 0; end = pending.indexOf('\n')) {
      const line = pending.slice(0, end);
      pending = pending.slice(end + 1);
      const begin = /S(\d)$/.exec(line);
      const finish = /^E(\d) ([0-9a-f]{8})(?: ([\d.]+) (\d+))?$/.exec(line);
      if (begin) started = now;
      if (finish)
        timings[Number(finish[1])] = {
          milliseconds: finish[3] === undefined ? now - started : Number(finish[3]),
          checksum: finish[2] as string,
          instructions: Number(finish[4] ?? 0),
        };
    }
  });
  const timer = setTimeout(() => child.kill(), timeoutMs);
  await new Promise<void>((done, failed) => {
    child.on('error', failed);
    child.on('close', () => done());
  });
  clearTimeout(timer);
  if (timings.length === 0) throw new Error(`${engine.name}: no kernel finished\n${errors}`);
  return timings;
}
