/** The program as a process whose largest size in memory is told. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { entry, PATIENCE_MS } from './needs.ts';

/** Writes the process's largest resident size, in KiB, to descriptor 3 when it ends. */
const TELL = `data:text/javascript,${encodeURIComponent(
  `import{isMainThread}from'node:worker_threads';import{writeSync}from'node:fs';
   if(isMainThread)process.on('exit',()=>writeSync(3,process.resourceUsage().maxRSS+'\\n'))`,
)}`;

const command = (args: readonly string[]): string[] => ['--import', TELL, entry, ...args];

export interface Measured {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Megabytes. */
  readonly peak: number;
}

/** Runs a command to its end. */
export function measured(folder: string, args: readonly string[], input = ''): Measured {
  const { status, stdout, stderr, output } = spawnSync(process.execPath, command(args), {
    cwd: folder,
    input,
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    timeout: PATIENCE_MS,
    maxBuffer: 1 << 28,
  });
  return { status, stdout, stderr, peak: Number(output[3]) / 1024 };
}

/** Starts one, its output in pipes. */
export function startMeasured(folder: string, args: readonly string[], stdin: 'ignore' | 'pipe' = 'ignore') {
  const child: ChildProcess = spawn(process.execPath, command(args), { cwd: folder, stdio: [stdin, 'pipe', 'pipe', 'pipe'] });
  let stderr = '';
  let told = '';
  child.stderr!.on('data', (data: Buffer) => (stderr += data.toString()));
  child.stdio[3]!.on('data', (data: Buffer) => (told += data.toString()));
  const ended = new Promise<{ status: number | null; stderr: string; peak: number }>((resolve) =>
    child.on('close', (status) => resolve({ status, stderr, peak: Number(told) / 1024 })),
  );
  return { child, ended };
}
