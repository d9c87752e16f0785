import type { Evidence } from './packet.ts';
import type { DeviceWindow } from './devices.ts';
import type { IoAccess } from './io.ts';
import { claim, unknown, type Claim, type Ref } from './evidence.ts';

/** Linux's HYPERVISOR_CALLBACK_VECTOR: every event channel, so every emulated interrupt of a PV-on-HVM guest, comes by it. */
export const CALLBACK_VECTOR = 0xf3;
const INTR_STATUS = 0x3e;

/**
 * The vector by which a device's interrupts reach the guest: the one most often injected before the driver reads
 * IntrStatus. Inferred by nature, and shared where it is the callback vector.
 */
export function interruptVector(e: Evidence, window: DeviceWindow): Claim<number> {
  const votes = new Map<number, { count: number; ref: Ref }>();
  const last = new Map<string, IoAccess>();
  let reads = 0;
  for (const a of e.accesses) {
    const key = `${a.dom} ${a.vcpu}`;
    const before = last.get(key);
    last.set(key, a);
    if (a.dir !== 'read' || a.space !== window.space || a.addr !== window.base + INTR_STATUS) continue;
    const { inject } = before ?? {};
    if (inject === undefined || inject.timeNs > (a.marks.exit ?? a.record).timeNs) continue;
    reads++;
    const vote = votes.get(inject.vector);
    if (vote === undefined) votes.set(inject.vector, { count: 1, ref: inject.ref });
    else vote.count++;
  }
  let best: [number, { count: number; ref: Ref }] | undefined;
  for (const entry of votes) if (best === undefined || entry[1].count > best[1].count) best = entry;
  if (best === undefined) return unknown('no virtual interrupt was injected before a read of IntrStatus');
  const shared = best[0] === CALLBACK_VECTOR ? "; it is Xen's callback vector, shared by every event channel" : '';
  return claim(best[0], 'inferred', `injected before ${best[1].count} of ${reads} reads of IntrStatus that follow an injection${shared}`, [best[1].ref]);
}

/** The first injection of `vector` into a vCPU after an access. */
export function injectionAfter(e: Evidence, access: IoAccess, vector: number): IoAccess['inject'] {
  for (let i = e.accesses.indexOf(access); i >= 0 && i < e.accesses.length; i++) {
    const a = e.accesses[i]!;
    if (a.dom === access.dom && a.vcpu === access.vcpu && a.inject?.vector === vector) return a.inject;
  }
  return undefined;
}
