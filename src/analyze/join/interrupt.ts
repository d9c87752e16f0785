import { claim, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import type { DeviceWindow } from './devices.ts';
import type { Guest } from './guest.ts';
import type { Injection, IoAccess } from './io.ts';

/** Linux's HYPERVISOR_CALLBACK_VECTOR: every event channel, so every emulated interrupt of a PV-on-HVM guest, comes by it. */
export const CALLBACK_VECTOR = 0xf3;

/** The first read of a device's interrupt cause after an access that says that frames went out, or came in. */
export function causeRead(
  g: Guest,
  window: DeviceWindow,
  after: IoAccess | undefined,
  what: 'transmitted' | 'received',
): { readonly access: IoAccess; readonly register: string } | undefined {
  for (const { event, cause } of g.driver.causes) {
    const { access } = event;
    if (access === undefined || !cause[what] || !g.driver.sameDevice(event.window, window)) continue;
    if (access.index > (after?.index ?? -1)) return { access, register: cause.register };
  }
  return undefined;
}

/**
 * The vector by which a device's interrupts reach the guest. It is injected before most reads of its interrupt cause, and seldom
 * without one: a timer's vector may stand before every read too, but most of its injections lead to none. Inferred by
 * nature, and shared where it is the callback vector.
 */
export function interruptVector(g: Guest, window: DeviceWindow): Claim<number> {
  const votes = new Map<number, { count: number; ref: Ref }>();
  const since = new Map<number, Map<number, Ref>>();
  const reading = new Map<IoAccess, string>();
  for (const { event, cause } of g.driver.causes)
    if (event.access !== undefined && g.driver.sameDevice(event.window, window)) reading.set(event.access, cause.register);
  const register = [...reading.values()][0] ?? 'its interrupt cause';
  let reads = 0;
  for (const a of g.accesses) {
    let vectors = since.get(a.vcpu);
    if (vectors === undefined) since.set(a.vcpu, (vectors = new Map()));
    for (const injection of a.injected) vectors.set(injection.vector, injection.ref);
    if (vectors.size === 0 || !reading.has(a)) continue;
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
    const score = (count / reads) * (count / (g.injections.get(vector) ?? count));
    if (best === undefined || score > best.score) best = { vector, count, ref, score };
  }
  if (best === undefined) return unknown(`no virtual interrupt was injected before a read of ${register}`);
  const shared = best.vector === CALLBACK_VECTOR ? "; it is Xen's callback vector, shared by every event channel" : '';
  return claim(
    best.vector,
    'inferred',
    `injected before ${best.count} of ${reads} reads of ${register} that follow an injection${shared}`,
    [best.ref],
  );
}

/** The first injection of `vector` into a vCPU after an access and no later than `until`, an access of the same vCPU. */
export function injectionAfter(g: Guest, access: IoAccess, until: IoAccess | undefined, vector: number): Injection | undefined {
  for (let i = access.index + 1; i < g.accesses.length; i++) {
    const a = g.accesses[i]!;
    if (a.vcpu === access.vcpu) {
      // Between a read's exit and its record the guest does not run: what was injected before, it has seen.
      const found = a.injected.find((injection) => injection.vector === vector && injection.timeNs >= access.record.timeNs);
      if (found !== undefined) return found;
    }
    if (a === until) return undefined;
  }
  return undefined;
}
