/** `xenolith trace watch`: a live host, from xentrace's standard output. */
import { closeSync, openSync } from 'node:fs';
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import { WindowRing } from '../export/watch/ring.ts';
import { Watcher } from '../export/watch/table.ts';
import { parseTrigger } from '../export/watch/trigger.ts';
import { type LiveWindow, LiveFollower, parseCpuHz, TscScale, writeAll } from '../trace/index-node.ts';
import { traceCommand } from './trace.ts';

interface WatchOptions {
  ring: string;
  trigger?: string;
  output?: string;
  after: string;
  interval: string;
  cpuHz: string;
  quiet?: boolean;
}

/** No more of a stream than this is held, whatever --ring says. */
const RING_BYTES_MAX = 1 << 30;

/** Adds `watch` to the command `trace`. */
export function registerTraceWatch(program: Command): void {
  const trace = program.commands.find((c) => c.name() === 'trace') ?? traceCommand(program);
  trace
    .command('watch')
    .description(
      "watch a live host: reads xentrace's output from standard input, shows figures as top does, and keeps the last seconds",
    )
    .option('--ring <time>', 'how much is kept', '10s')
    .option('--trigger <condition>', "when to write the kept records, for example 'io.latency > 5ms and io.domid = 3'")
    .option('-o, --output <file>', 'where it is written; without --trigger at the end')
    .option('--after <time>', 'how long to go on after the condition held', '1s')
    .option('--interval <time>', 'how often the table is made anew', '1s')
    .option('--quiet', 'no table')
    .option('--cpu-hz <rate>', 'TSC rate of the host, as for xenalyze', '2.4G')
    .addHelpText(
      'after',
      "\nExample (in dom0):\n  xentrace -D -e all - | xenolith trace watch --ring 10s --trigger 'io.latency > 5ms' -o hit.trc\n",
    )
    .action(watch);
}

/** Nanoseconds of `10s`, `500ms`. */
function time(text: string, option: string): number {
  const m = /^(\d+(?:\.\d+)?)(ms|s)$/.exec(text.trim());
  const ns = m === null ? 0 : Number(m[1]) * (m[2] === 's' ? 1e9 : 1e6);
  if (ns <= 0) throw new UserError(`${option} ${text}: expected a time such as 10s or 500ms`);
  return ns;
}

async function watch(options: WatchOptions): Promise<void> {
  const ringNs = time(options.ring, '--ring');
  const intervalNs = time(options.interval, '--interval');
  const afterNs = time(options.after, '--after');
  const trigger = options.trigger === undefined ? undefined : parseTrigger(options.trigger);
  if (trigger !== undefined && options.output === undefined)
    throw new UserError('--trigger needs a file to write to: give one with -o');
  if (process.stdin.isTTY === true)
    throw new UserError(
      'standard input is a terminal; expected the output of xentrace: xentrace -D -e all - | xenolith trace watch',
    );
  // Opened now: a file that cannot be written should not be found out after hours.
  const fd = options.output === undefined ? undefined : openOutput(options.output);
  const ring = new WindowRing(ringNs, RING_BYTES_MAX);
  let hits = 0;
  let hitAt: number | undefined;
  const cpuHz = parseCpuHz(options.cpuHz);
  const scale = new TscScale(cpuHz);
  const watcher = new Watcher(
    (ticks) => scale.ns(ticks),
    trigger,
    (at, what) => {
      if (hits++ > 0) return;
      hitAt = at;
      console.error(`xenolith: ${trigger!.text}: at ${(at / 1e9).toFixed(6)} s ${what}`);
    },
  );
  const follower = new LiveFollower(cpuHz, watcher);
  let shown = 0;
  const table = (): void => {
    const now = follower.nowNs;
    const lines = watcher.table(now, now - shown, follower.inference.vendor ?? 'vmx');
    shown = now;
    if (options.quiet === true) return;
    const clear = process.stdout.isTTY === true ? '\u001b[H\u001b[2J' : '';
    writeAll(process.stdout.fd, Buffer.from(`${clear}${lines.join('\n')}\n${clear === '' ? '\n' : ''}`));
  };
  let stopped = false;
  const stop = (): void => {
    stopped = true;
    process.stdin.destroy();
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  const keep = (window: LiveWindow): void => ring.push(window, follower.arrivedNs);
  try {
    for await (const piece of process.stdin as AsyncIterable<Uint8Array>) {
      follower.push(piece, keep);
      if (follower.nowNs - shown >= intervalNs) table();
      if (hitAt !== undefined && follower.nowNs >= hitAt + afterNs) break;
    }
  } catch (error) {
    if (!stopped) throw error;
  } finally {
    process.removeListener('SIGINT', stop);
    process.removeListener('SIGTERM', stop);
  }
  follower.end(keep);
  if (follower.records === 0) throw new UserError('standard input held no record; expected the output of xentrace');
  if (follower.nowNs > shown) table();
  finish(follower, ring, fd, options.output, trigger !== undefined, hits);
}

function openOutput(path: string): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    throw new UserError(`cannot write ${path}: ${(error as Error).message}`);
  }
}

function finish(
  follower: LiveFollower,
  ring: WindowRing,
  fd: number | undefined,
  path: string | undefined,
  triggered: boolean,
  hits: number,
): void {
  if (fd !== undefined) {
    if (!triggered || hits > 0) {
      const bytes = ring.write((part) => void writeAll(fd, part));
      console.error(`xenolith: wrote ${bytes} bytes to ${path}${hits > 1 ? `; the condition held ${hits} times` : ''}`);
    } else {
      console.error('xenolith: the condition never held; nothing was written');
      process.exitCode = 1;
    }
    closeSync(fd);
  }
  const { first, count } = { first: follower.damage.list[0], count: follower.damage.count };
  if (first !== undefined || follower.skipped > 0) {
    console.error(
      `xenolith: the stream is damaged: ${follower.skipped} bytes do not belong to a window${first === undefined ? '' : `, ${count} records do not fit, the first at offset 0x${first.offset.toString(16)}`}`,
    );
    process.exitCode = 1;
  }
}
