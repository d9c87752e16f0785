/** What a set of files holds, as tables. */
import { type Analysis, CostTable, describeFrame, ioPaths, wallToTraceNs } from '../analyze/index.ts';
import type { Timeline } from './timeline.ts';

/** A captured frame. */
export interface FrameRow {
  /** In the capture, from 1. */
  readonly number: number;
  readonly what: string;
  /** Length on the wire. */
  readonly bytes: number;
  readonly direction: 'inbound' | 'outbound' | undefined;
  /** Nanoseconds of trace time, where the clocks were laid over each other. */
  readonly ns: number | undefined;
}

/** What the accesses of one register, direction and route cost; nanoseconds. */
export interface RegisterCost {
  readonly register: string;
  readonly write: boolean;
  readonly route: string;
  readonly count: number;
  readonly total: number;
  readonly median: number | undefined;
  readonly p99: number | undefined;
  readonly max: number | undefined;
}

/** VM exits of one reason: how many, and how long until the next entry in all, nanoseconds. */
export interface ExitCost {
  readonly reason: string;
  readonly count: number;
  readonly total: number;
}

export function frameRows(analysis: Analysis): FrameRow[] {
  const clock = analysis.guests.find((guest) => guest.clock !== undefined)?.clock;
  return analysis.frames.map(({ number, data, wireLength, direction, timeUs }) => ({
    number,
    what: describeFrame(data),
    bytes: wireLength,
    direction,
    ns: clock === undefined ? undefined : wallToTraceNs(clock, timeUs),
  }));
}

/** The costliest first. */
export function registerCosts(analysis: Analysis): RegisterCost[] {
  const table = new CostTable();
  for (const guest of analysis.guests) for (const path of ioPaths(guest)) table.add(path);
  return table.rows().map(({ device, register, dir, route, count, total, median, p99, max }) => ({
    register: `${device} ${register}`,
    write: dir === 'write',
    route,
    count,
    total,
    median,
    p99,
    max,
  }));
}

/** The costliest first. */
export function exitCosts({ lanes }: Timeline): ExitCost[] {
  const rows = new Map<string, { reason: string; count: number; total: number }>();
  for (const { kind, labels, label, start, end } of lanes) {
    if (kind !== 'xen') continue;
    for (let i = 0; i < start.length; i++) {
      const reason = labels[label[i]!]!;
      let row = rows.get(reason);
      if (row === undefined) rows.set(reason, (row = { reason, count: 0, total: 0 }));
      row.count++;
      row.total += end[i]! - start[i]!;
    }
  }
  return [...rows.values()].sort((a, b) => b.total - a.total);
}
