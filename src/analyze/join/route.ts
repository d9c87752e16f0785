import { BUFIOREQ_MAX_ADDR } from '../../abi/ioreq.ts';
import type { DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import { claim, logLine, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import { P2M_TYPE } from '../sources/events.ts';
import type { IoAccess } from './io.ts';
import type { AccessUnpaired } from './pair.ts';
import { platformDevice } from './platform.ts';

/**
 * The way a guest's access took: the synchronous ioreq page (the vCPU waits), the buffered page (it does not), or no
 * device model at all.
 */
export type Route = 'synchronous ioreq' | 'buffered ioreq' | 'in the hypervisor';

/** A buffered slot has 20 address bits, and Xen's only user of it for guest accesses is the VGA hole, for writes. */
export const mayBuffer = (access: { space: string; dir: string; addr: number }): boolean =>
  access.space === 'mmio' && access.dir === 'write' && access.addr <= BUFIOREQ_MAX_ADDR;

const hex = (n: number): string => `0x${n.toString(16)}`;

/**
 * Decides the route of an access from all that speaks for one. A wait proves a synchronous request; a missing wait
 * proves nothing, because the answer can come before the vCPU is descheduled.
 * @param log the device-model log, if there is one: then an access without a request in it means something
 */
export function routeOf(
  access: IoAccess,
  request: DmRequest | undefined,
  log: DmLog | undefined,
  unpaired: AccessUnpaired | undefined,
): Claim<Route> {
  const { marks } = access;
  const bufferable = mayBuffer(access);
  const record: Ref[] = [access.record.ref];
  const requestRef = request && logLine(request.request.line, log?.source);
  const wait: Ref[] = marks.blocked !== undefined ? [marks.blocked.ref, ...(marks.woken ? [marks.woken.ref] : [])] : [];
  const rule =
    access.space === 'mmio'
      ? `a buffered slot has 20 address bits (up to ${hex(BUFIOREQ_MAX_ADDR)}) and ${hex(access.addr)} does not fit`
      : 'Xen buffers only VGA memory writes and RTC time offsets, never port I/O';

  if (request !== undefined && !bufferable) {
    const waited =
      marks.blocked !== undefined
        ? '; the vCPU went offline until the answer'
        : '; no wait is recorded, which alone would prove nothing';
    const how = access.space === 'mmio' || access.dir === 'read' ? 'proven' : 'strong';
    const why =
      access.dir === 'read'
        ? 'the device model logged the request and its answer came back to the vCPU, which a buffered request has not'
        : `the device model logged the request, and ${rule}`;
    return claim('synchronous ioreq', how, why + waited, [
      requestRef!,
      ...(access.npf ? [access.npf.ref] : []),
      ...record,
      ...wait,
    ]);
  }
  if (access.lost !== undefined) {
    return unknown(`records were lost between ${hex(access.addr)}'s exit and its entry, and no log line settles it`, [
      access.lost.ref,
      ...record,
    ]);
  }
  if (marks.blocked !== undefined) {
    return claim(
      'synchronous ioreq',
      'strong',
      `the vCPU went offline until ${marks.woken ? 'another domain woke it' : 'something woke it'}: Xen waits so only for an answer on the synchronous page${bufferable ? ' (the address alone would have allowed the buffered page)' : `, and ${rule}`}`,
      [...wait, ...record],
    );
  }
  if (bufferable) {
    return claim(
      'buffered ioreq',
      'inferred',
      `a write at ${hex(access.addr)}, at or below ${hex(BUFIOREQ_MAX_ADDR)}, may be buffered and no wait is recorded; a missing wait alone proves nothing`,
      [...record, ...(requestRef ? [requestRef] : [])],
    );
  }
  const device = platformDevice(access.space, access.addr);
  if (marks.notified !== undefined) {
    return claim(
      'synchronous ioreq',
      access.space === 'mmio' ? 'strong' : 'inferred',
      `another domain's vCPU was woken while this one was inside the exit, and ${rule}; the vCPU itself shows no wait`,
      [marks.notified.ref, ...record],
    );
  }
  if (device?.internal === true) {
    return claim(
      'in the hypervisor',
      log !== undefined && unpaired?.startsWith('served') ? 'strong' : 'inferred',
      `${hex(access.addr)} is Xen's own ${device.name}, with no wait${log !== undefined ? ' and no log line' : ''}`,
      record,
    );
  }
  if (log !== undefined && unpaired?.startsWith('served')) {
    return claim(
      'in the hypervisor',
      'inferred',
      `the log has no request at ${hex(access.addr)}, and neither a wait nor a wake-up is recorded`,
      record,
    );
  }
  return unknown(
    log === undefined
      ? 'neither a wait nor a wake-up is recorded, and no device-model log was given'
      : 'neither a wait nor a wake-up is recorded, and no log line pairs with it',
    record,
  );
}

/** The p2m type of an NPF record in words. */
export const p2mTypeName = (type: number): string => P2M_TYPE[type] ?? `type ${type}`;

/** Nanoseconds in each stage of an access, undefined where a mark is missing. */
export interface Stages {
  /** VM exit to the notification, or to the wait where none is recorded: decode, emulate, fill the ioreq. Unknown where neither is. */
  readonly emulate: number | undefined;
  /** Notification until the device model's vCPU runs. */
  readonly schedule: number | undefined;
  /** Device model runs until it answers. Without a mark of its start: from the wait. */
  readonly work: number | undefined;
  /** Answer until the vCPU runs again. */
  readonly wake: number | undefined;
  /** vCPU runs again until VM entry. */
  readonly enter: number | undefined;
  /** Runstate offline: the wait as a whole. */
  readonly blocked: number | undefined;
  /** VM exit to VM entry. */
  readonly total: number | undefined;
}

/** The stages of an access. Empty where records were lost inside it. */
export function stagesOf(access: IoAccess): Stages {
  const { exit, notified, blocked, modelRuns, woken, resumed, entry } = access.marks;
  const between = (from: { timeNs: number } | undefined, to: { timeNs: number } | undefined): number | undefined =>
    from === undefined || to === undefined || access.lost !== undefined || to.timeNs < from.timeNs
      ? undefined
      : to.timeNs - from.timeNs;
  const started = modelRuns ?? notified ?? blocked;
  return {
    emulate: between(exit, notified ?? blocked),
    schedule: between(notified, modelRuns),
    work: between(started, woken),
    wake: between(woken, resumed),
    enter: between(resumed, entry),
    blocked: between(blocked, resumed),
    total: between(exit, entry),
  };
}
