/** Whether a capture is of the same run as a log, and by how much its clock is off: judged by the frames that doorbells sent. */
import { claim, pcapFrame, type Claim } from '../sources/evidence.ts';
import type { CapturedFrame } from '../sources/pcap.ts';

/** When a doorbell's frame must have left, by the log's clock. */
export interface Span {
  readonly fromUs: number;
  readonly untilUs: number;
}

/** By how much a capture's clock is ahead of the log's. */
export interface CaptureOffset {
  readonly us: number;
  /** Half width. */
  readonly errorUs: number;
  readonly claim: Claim<number>;
}

/** `3600.000000 s`, or whole microseconds below a second. */
export const secondsText = (us: number): string => (Math.abs(us) >= 1e6 ? `${(us / 1e6).toFixed(6)} s` : `${Math.round(us)} µs`);

/** Frames captured from one time to another, both included. `frames` are in the order of time. */
export function between(frames: readonly CapturedFrame[], fromUs: number, untilUs: number): CapturedFrame[] {
  const found: CapturedFrame[] = [];
  for (let i = firstFrom(frames, fromUs); i < frames.length && frames[i]!.timeUs <= untilUs; i++) found.push(frames[i]!);
  return found;
}

/** Place of the first frame that was captured at a time or later. */
function firstFrom(frames: readonly CapturedFrame[], fromUs: number): number {
  let lo = 0;
  let hi = frames.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (frames[mid]!.timeUs < fromUs) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/** The least number of doorbells that must fit before two clocks are taken to be apart, or two files of different runs. */
export const LEAST_FITS = 3;
const MOST_COMPARED = 300;
/** A capture of the same run has a frame for so many of the doorbells that were rung while it was taken. */
const LEAST_SHARE = 0.8;
/** The same where any write that made the device model touch memory may be one. */
const LEAST_SHARE_OF_WRITES = 0.5;
/** Every other difference of the clocks fits at most this share of what the best one fits. */
const RIVAL_SHARE = 0.8;
/** How far a candidate may be off: it takes a frame for one that left when its request came. */
const ROUGH_US = 1000;

/** How many spans have a frame of their own, the capture's clock being so much ahead. Each frame serves one span. */
export function countFits(
  spans: readonly (Span | undefined)[],
  frames: readonly CapturedFrame[],
  aheadUs: number,
  slackUs: number,
): number {
  let fits = 0;
  let next = 0;
  for (const span of spans) {
    if (span === undefined) continue;
    next = Math.max(next, firstFrom(frames, span.fromUs + aheadUs - slackUs));
    if (next >= frames.length || frames[next]!.timeUs > span.untilUs + aheadUs + slackUs) continue;
    fits++;
    next++;
  }
  return fits;
}

/**
 * By how much the capture's clock is ahead of the log's, where few frames fit as the clocks stand: the difference at which nearly all
 * doorbells that were rung during the capture have a frame of their own, if it is clearly the best.
 * @param joined doorbells that fit without a difference
 * @param bellsKnown whether the spans are those of doorbells, and not of anything that may be one
 */
export function offsetOf(
  spans: readonly (Span | undefined)[],
  frames: readonly CapturedFrame[],
  joined: number,
  bellsKnown: boolean,
): CaptureOffset | undefined {
  const rings = spans.filter((x) => x !== undefined).slice(0, MOST_COMPARED);
  const some = frames.slice(0, MOST_COMPARED);
  if (rings.length < LEAST_FITS || some.length < LEAST_FITS) return undefined;
  const tried = new Map<number, number>();
  for (const r of rings.slice(0, 20))
    for (const f of some) {
      const us = f.timeUs - r.fromUs;
      if (!tried.has(us)) tried.set(us, countFits(rings, some, us, ROUGH_US));
    }
  const [rough] = [...tried].reduce((a, b) => (b[1] > a[1] ? b : a));
  const { low, high } = narrow(rings, some, rough);
  const us = (low + high) / 2;
  const errorUs = (high - low) / 2;
  const exact = (at: number): number => countFits(rings, some, at, errorUs + 1);
  const fits = exact(us);
  const share = bellsKnown ? LEAST_SHARE : LEAST_SHARE_OF_WRITES;
  const [first, last] = [some[0]!.timeUs, some.at(-1)!.timeUs];
  const during = rings.filter((r) => r.untilUs + us + errorUs >= first && r.fromUs + us - errorUs <= last).length;
  if (fits < Math.max(LEAST_FITS, 2 * joined + 1) || fits < during * share || during * 2 < rings.length) return undefined;
  // A candidate close by is this difference too.
  const near = ROUGH_US + errorUs;
  const rival = [...tried.keys()].filter((at) => Math.abs(at - us) > near).reduce((n, at) => Math.max(n, exact(at)), 0);
  if (rival > fits * RIVAL_SHARE) return undefined;
  return {
    us,
    errorUs,
    claim: claim(
      us,
      'strong',
      `${fits} of ${during} doorbells have a frame in their time when the capture's clock is taken to be ${secondsText(Math.abs(us))} ${us > 0 ? 'ahead' : 'behind'}, and at another difference far fewer`,
      [pcapFrame(some[0]!.number)],
    ),
  };
}

/** The difference around `us` that most doorbells and frames allow together: each pair allows a range of them. */
function narrow(rings: readonly Span[], frames: readonly CapturedFrame[], us: number): { low: number; high: number } {
  const edges: { at: number; step: 1 | -1 }[] = [];
  for (const r of rings)
    for (const f of between(frames, r.fromUs + us - ROUGH_US, r.untilUs + us + ROUGH_US)) {
      edges.push({ at: f.timeUs - r.untilUs, step: 1 }, { at: f.timeUs + f.resolutionUs - r.fromUs, step: -1 });
    }
  edges.sort((a, b) => a.at - b.at || b.step - a.step);
  let depth = 0;
  let most = 0;
  let range = { low: us, high: us };
  edges.forEach((edge, i) => {
    depth += edge.step;
    if (depth <= most) return;
    most = depth;
    range = { low: edge.at, high: edges[i + 1]?.at ?? edge.at };
  });
  return range;
}

/**
 * One clause on a capture of which too few frames fit the doorbells: it was recorded at another time than the log, or beside it.
 * @param times wall-clock times of the log's first and last request
 * @param fitting doorbells with a frame, by chance
 * @param bellsKnown as for offsetOf
 */
export function whyUnrelated(
  times: readonly [first: number, last: number] | undefined,
  spans: readonly (Span | undefined)[],
  frames: readonly CapturedFrame[],
  fitting: number,
  bellsKnown: boolean,
): string | undefined {
  if (times === undefined) return undefined;
  const [first, last] = times;
  if (fitting === 0 && frames[0]!.timeUs > last)
    return `its first frame was captured ${secondsText(frames[0]!.timeUs - last)} after the log's last request`;
  if (fitting === 0 && frames.at(-1)!.timeUs < first)
    return `its last frame was captured ${secondsText(first - frames.at(-1)!.timeUs)} before the log's first request`;
  if (!bellsKnown || spans.length < LEAST_FITS) return undefined;
  return fitting === 0
    ? `not one of its ${frames.length} frames was captured while a doorbell was served`
    : `only ${fitting} of its ${frames.length} frames ${fitting === 1 ? 'was' : 'were'} captured while one of the ${spans.length} doorbells was served`;
}
