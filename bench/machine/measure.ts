/** Running programs and measuring them from outside: wall clock, processor time of the whole process, resident memory. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Usage {
  /** Seconds from start to exit. */
  readonly wall: number;
  /** Seconds of processor time, user and system, of all threads. */
  readonly cpu: number;
  /** Largest resident set, MiB. */
  readonly residentMiB: number;
  readonly stdout: string;
  readonly status: number;
}

const SAMPLE_MS = 50;

/** The one child of bash that runs the measured program; undefined before it is there. */
function childOf(pid: number): number | undefined {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    return child ? Number(child) : undefined;
  } catch {
    return undefined;
  }
}

/** Largest resident set of a process so far, KiB (VmHWM); 0 when it is gone. */
function peakKiB(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Processor seconds of a process so far, user and system (proc(5): fields 14 and 15 of stat, in ticks of 10 ms). */
export function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Run a program to its end. Throws an Error when it exits with another status than 0, with the end of what it said. */
export function measure(command: readonly string[], timeoutMs = 300_000): Promise<Usage> {
  return new Promise((done, failed) => {
    const shell = spawn('bash', ['-c', 'TIMEFORMAT="%R %U %S"; { time "$@" 2>&4 </dev/null; } 4>&2 2>&3', 'bash', ...command], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    let times = '';
    shell.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    shell.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    (shell.stdio[3] as NodeJS.ReadableStream).setEncoding('utf8').on('data', (text: string) => (times += text));
    let residentKiB = 0;
    const sampler = setInterval(() => {
      const child = childOf(shell.pid!);
      if (child !== undefined) residentKiB = Math.max(residentKiB, peakKiB(child));
    }, SAMPLE_MS);
    const deadline = setTimeout(() => {
      const child = childOf(shell.pid!);
      if (child !== undefined) process.kill(child);
    }, timeoutMs);
    shell.once('error', failed);
    shell.once('close', (status) => {
      clearInterval(sampler);
      clearTimeout(deadline);
      const [wall, user, system] = times.trim().split(' ').map(Number);
      if (status !== 0)
        failed(new Error(`${command.join(' ')}: exit status ${status}\n${stdout.slice(-500)}\n${stderr.slice(-500)}`));
      else done({ wall: wall!, cpu: user! + system!, residentMiB: residentKiB / 1024, stdout, status });
    });
  });
}

/** Start a program and wait until its standard output holds `text`. */
export function startUntil(command: readonly string[], text: string, timeoutMs = 120_000): Promise<ChildProcess> {
  return new Promise((done, failed) => {
    const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'ignore'] });
    const deadline = setTimeout(() => {
      child.kill();
      failed(new Error(`${command.join(' ')}: no '${text}' within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    let seen = '';
    child.once('error', failed);
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      seen += chunk;
      if (!seen.includes(text)) return;
      clearTimeout(deadline);
      seen = '';
      done(child);
    });
  });
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};
