import type { Evidence } from './packet.ts';
import type { DeviceWindow } from './devices.ts';
import type { Injection, IoAccess } from './io.ts';
import { claim, unknown, type Claim, type Ref } from '../sources/evidence.ts';

/** Linux's HYPERVISOR_CALLBACK_VECTOR: every event channel, so every emulated interrupt of a PV-on-HVM guest, comes by it. */
export const CALLBACK_VECTOR = 0xf3;
const INTR_STATUS = 0x3e;

/**
 * The vector by which a device's interrupts reach the guest. It is injected before most reads of IntrStatus, and seldom
 * without one: a timer's vector may stand before every read too, but most of its injections lead to none. Inferred by
 * nature, and shared where it is the callback vector.
 */
export function interruptVector(
  e: Evidence & { readonly injections: ReadonlyMap<number, number> },
  window: DeviceWindow,
): Claim<number> {
  const votes = new Map<number, { count: number; ref: Ref }>();
  const since = new Map<string, Map<number, Ref>>();
  let reads = 0;
  for (const a of e.accesses) {
    const key = `${a.dom} ${a.vcpu}`;
    let vectors = since.get(key);
    if (vectors === undefined) since.set(key, (vectors = new Map()));
    for (const injection of a.injected) vectors.set(injection.vector, injection.ref);
    if (a.dir !== 'read' || a.space !== window.space || a.addr !== window.base + INTR_STATUS || vectors.size === 0) continue;
    reads++;
    for (const [vector, ref] of vectors) {
      const vote = votes.get(vector);
      if (vote === undefined) votes.set(vector, { count: 1, ref });
      else vote.count++;
    }
    vectors.clear();
  }
  let best: { vector: number; count: number; ref: Ref; score: number } | undefined;
  for (const [vector, { count, ref }] of votes) {
    const score = (count / reads) * (count / (e.injections.get(vector) ?? count));
    if (best === undefined || score > best.score) best = { vector, count, ref, score };
  }
  if (best === undefined) return unknown('no virtual interrupt was injected before a read of IntrStatus');
  const shared = best.vector === CALLBACK_VECTOR ? "; it is Xen's callback vector, shared by every event channel" : '';
  return claim(
    best.vector,
    'inferred',
    `injected before ${best.count} of ${reads} reads of IntrStatus that follow an injection${shared}`,
    [best.ref],
  );
}

/** The first injection of `vector` into a vCPU after an access and no later than `until`, an access of the same vCPU. */
export function injectionAfter(
  e: Evidence,
  access: IoAccess,
  until: IoAccess | undefined,
  vector: number,
): Injection | undefined {
  for (let i = access.index + 1; i < e.accesses.length; i++) {
    const a = e.accesses[i]!;
    if (a.dom === access.dom && a.vcpu === access.vcpu) {
      // Between a read's exit and its record the guest does not run: what was injected before, it has seen.
      const found = a.injected.find((injection) => injection.vector === vector && injection.timeNs >= access.record.timeNs);
      if (found !== undefined) return found;
    }
    if (a === until) return undefined;
  }
  return undefined;
}
