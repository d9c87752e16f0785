import type { Evidence } from './packet.ts';
import type { DeviceWindow } from './devices.ts';
import type { IoAccess } from './io.ts';
import { claim, unknown, type Claim, type Ref } from './evidence.ts';

/** Linux's HYPERVISOR_CALLBACK_VECTOR: every event channel, so every emulated interrupt of a PV-on-HVM guest, comes by it. */
export const CALLBACK_VECTOR = 0xf3;
const INTR_STATUS = 0x3e;
/** Accesses of a vCPU looked back over for the injection before a read of IntrStatus. */
const LOOK_BACK = 16;

/**
 * The vector by which a device's interrupts reach the guest: the one most often injected before the driver reads
 * IntrStatus. Inferred by nature, and shared where it is the callback vector.
 */
export function interruptVector(e: Evidence, window: DeviceWindow): Claim<number> {
  const votes = new Map<number, { count: number; ref: Ref }>();
  const recent = new Map<string, IoAccess[]>();
  let reads = 0;
  for (const a of e.accesses) {
    const key = `${a.dom} ${a.vcpu}`;
    const before = recent.get(key) ?? [];
    if (a.dir === 'read' && a.space === window.space && a.addr === window.base + INTR_STATUS) {
      const until = (a.marks.exit ?? a.record).timeNs;
      let latest: IoAccess['inject'];
      for (const { inject } of before) if (inject !== undefined && inject.timeNs <= until && inject.timeNs >= (latest?.timeNs ?? 0)) latest = inject;
      if (latest !== undefined) {
        reads++;
        const vote = votes.get(latest.vector);
        if (vote === undefined) votes.set(latest.vector, { count: 1, ref: latest.ref });
        else vote.count++;
      }
    }
    before.push(a);
    if (before.length > LOOK_BACK) before.shift();
    recent.set(key, before);
  }
  let best: [number, { count: number; ref: Ref }] | undefined;
  for (const entry of votes) if (best === undefined || entry[1].count > best[1].count) best = entry;
  if (best === undefined) return unknown('no virtual interrupt was injected before a read of IntrStatus');
  const shared = best[0] === CALLBACK_VECTOR ? "; it is Xen's callback vector, shared by every event channel" : '';
  return claim(best[0], 'inferred', `injected before ${best[1].count} of ${reads} reads of IntrStatus that follow an injection${shared}`, [best[1].ref]);
}

/** The first injection of `vector` into a vCPU after an access. */
export function injectionAfter(e: Evidence, access: IoAccess, vector: number): IoAccess['inject'] {
  for (let i = access.index; i < e.accesses.length; i++) {
    const a = e.accesses[i]!;
    if (a.dom === access.dom && a.vcpu === access.vcpu && a.inject?.vector === vector) return a.inject;
  }
  return undefined;
}
