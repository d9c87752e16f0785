/**
 * Where the time of a load run goes: V8's sampling profiles of this machine's threads (`node --cpu-prof`), each sample booked to
 * the stage of its innermost frame that belongs to one. Nothing in the machine is changed to be measured.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Microseconds of the host's monotonic clock (process.hrtime, which V8's profiler uses too). */
export interface Span {
  readonly fromUs: number;
  readonly toUs: number;
}

/** Share of a thread's time by stage, 0 … 1. */
export type StageShares = Readonly<Record<string, number>>;
/** Shares by thread: the guest's, the device model's, the main thread with the socket. */
export type ThreadStages = Readonly<Record<string, StageShares>>;

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
}

interface Profile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame; readonly children?: readonly number[] }[];
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** A thread by a file of which only it, among those below, runs something. */
const threads: readonly (readonly [file: RegExp, name: string])[] = [
  [/\/machine\/inline-part\.js$/, 'guest and device model'],
  [/\/device-model\/worker-loop\.js$/, 'device model'],
  [/\/sched\/schedule\.js$/, 'guest'],
];

/** The stage a frame belongs to; undefined: its caller decides. */
function stageOf({ functionName, url }: CallFrame, thread: string): string | undefined {
  const file = /\/(\w[\w-]*\/(?:nic\/rtl8139\/)?[\w-]+)\.[jt]s$/.exec(url)?.[1] ?? '';
  const room = file.slice(0, file.indexOf('/'));
  if (functionName === 'kick') return 'waking the other thread';
  if (thread === 'main')
    return functionName === '(idle)' ? 'idle' : room === 'net' || url.startsWith('node:') ? 'socket' : undefined;
  if (file === 'hypervisor/schedule') {
    if (functionName === 'idle') return 'idle';
    if (functionName === 'sleep') return thread === 'guest' ? 'waiting for the device model' : 'idle';
  }
  if (file === 'device-model/worker-loop') return 'idle';
  if (file === 'device-model/dma' || file === 'device-model/map-cache') return 'DMA and map cache';
  if (url.startsWith('wasm:') || room === 'cpu') return 'guest CPU';
  if (room === 'hypervisor') return thread === 'device model' ? 'hypercalls' : 'exits and interrupts';
  if (room === 'rtl8139' || /\/devices\//.test(url)) return 'chip';
  if (room === 'net') return 'wire';
  if (room === 'device-model') return 'ioreq server and buses';
  return undefined;
}

function sharesOf(profile: Profile, { fromUs, toUs }: Span): readonly [string, StageShares] {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const callers = new Map(profile.nodes.flatMap(({ id, children }) => (children ?? []).map((child) => [child, id] as const)));
  const urls = [...new Set(profile.nodes.map(({ callFrame }) => callFrame.url))];
  const thread = threads.find(([file]) => urls.some((url) => file.test(url)))?.[1] ?? 'main';
  const stages = new Map<number, string>();
  const stage = (id: number): string => {
    let found = stages.get(id);
    for (let at: number | undefined = id; found === undefined && at !== undefined; at = callers.get(at))
      found = stageOf(frames.get(at)!, thread);
    stages.set(id, found ?? 'other');
    return stages.get(id)!;
  };
  const times: Record<string, number> = {};
  let total = 0;
  let nowUs = profile.startTime;
  profile.samples.forEach((id, i) => {
    nowUs += profile.timeDeltas[i]!;
    const lasts = profile.timeDeltas[i + 1] ?? 0;
    if (nowUs < fromUs || nowUs > toUs) return;
    times[stage(id)] = (times[stage(id)] ?? 0) + lasts;
    total += lasts;
  });
  return [
    thread,
    Object.fromEntries(
      Object.entries(times)
        .sort(([, a], [, b]) => b - a)
        .map(([name, time]) => [name, time / total]),
    ),
  ];
}

/** Shares of the threads whose profiles lie in `folder`, within a span of time. */
export function threadStages(folder: string, span: Span): ThreadStages {
  const files = readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'));
  return Object.fromEntries(files.map((name) => sharesOf(JSON.parse(readFileSync(join(folder, name), 'utf8')) as Profile, span)));
}
