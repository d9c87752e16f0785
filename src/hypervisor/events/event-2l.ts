/**
 * Two-level event-channel bitmaps in shared_info (Xen: common/event_2l.c). Every step is atomic and in Xen's order: pending,
 * mask, selector, upcall. 64-bit guests have 4096 ports in words of 64, 32-bit guests 1024 in words of 32; bit operations on
 * 32-bit words serve both.
 */
import { VCPU_INFO_PENDING_SEL, VCPU_INFO_UPCALL_PENDING } from '../../abi/event-channel.ts';
import type { Maddr } from '../../base/address.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';

const bitWord = (base: Maddr, bit: number): number => (base >>> 2) + (bit >>> 5);

const testAndSet = (i32: Int32Array, base: Maddr, bit: number): boolean =>
  (Atomics.or(i32, bitWord(base, bit), 1 << (bit & 31)) & (1 << (bit & 31))) !== 0;
const testAndClear = (i32: Int32Array, base: Maddr, bit: number): boolean =>
  (Atomics.and(i32, bitWord(base, bit), ~(1 << (bit & 31))) & (1 << (bit & 31))) !== 0;
const test = (i32: Int32Array, base: Maddr, bit: number): boolean =>
  (Atomics.load(i32, bitWord(base, bit)) & (1 << (bit & 31))) !== 0;

/** Ports a domain of this layout can have. */
export const maxPorts2l = (domain: Domain): number => (domain.compatSharedInfo ? 1024 : 4096);

function setSelector(domain: Domain, vcpu: VcpuState, port: number): boolean {
  const info = vcpu.vcpuInfo;
  const { i32 } = domain.pcpu.memory;
  return domain.compatSharedInfo
    ? testAndSet(i32, (info + 4) as Maddr, port >>> 5)
    : testAndSet(i32, (info + VCPU_INFO_PENDING_SEL) as Maddr, port >>> 6);
}

/** Mark the vCPU's upcall pending; true when it was not (the vCPU must be notified). */
export function markEventsPending(domain: Domain, vcpu: VcpuState): boolean {
  const { i32 } = domain.pcpu.memory;
  // The byte is the low one of an aligned word, beside the mask byte that only PV guests use.
  return (Atomics.or(i32, (vcpu.vcpuInfo + VCPU_INFO_UPCALL_PENDING) >>> 2, 1) & 0xff) === 0;
}

export function upcallPending(domain: Domain, vcpu: VcpuState): boolean {
  const info = vcpu.vcpuInfo;
  return info !== 0 && (Atomics.load(domain.pcpu.memory.i32, (info + VCPU_INFO_UPCALL_PENDING) >>> 2) & 0xff) !== 0;
}

/** Raise a port at a vCPU. Returns true when the vCPU's upcall has become pending by it. */
export function setPending2l(domain: Domain, vcpu: VcpuState, port: number): boolean {
  const { i32 } = domain.pcpu.memory;
  if (port >= maxPorts2l(domain)) return false;
  if (testAndSet(i32, domain.evtchnPending, port)) return false;
  if (test(i32, domain.evtchnMask, port) || setSelector(domain, vcpu, port)) return false;
  return markEventsPending(domain, vcpu);
}

export function clearPending2l(domain: Domain, port: number): void {
  if (port < maxPorts2l(domain)) testAndClear(domain.pcpu.memory.i32, domain.evtchnPending, port);
}

export function isPending2l(domain: Domain, port: number): boolean {
  return port < maxPorts2l(domain) && test(domain.pcpu.memory.i32, domain.evtchnPending, port);
}

/** Unmask a port; true when the vCPU's upcall has become pending by it. */
export function unmask2l(domain: Domain, vcpu: VcpuState, port: number): boolean {
  const { i32 } = domain.pcpu.memory;
  if (port >= maxPorts2l(domain)) return false;
  if (!testAndClear(i32, domain.evtchnMask, port)) return false;
  if (!test(i32, domain.evtchnPending, port) || setSelector(domain, vcpu, port)) return false;
  return markEventsPending(domain, vcpu);
}

/** Ports that are pending, and which of them are masked, for a dump. */
export function pendingPorts2l(domain: Domain): { readonly port: number; readonly isMasked: boolean }[] {
  const { i32 } = domain.pcpu.memory;
  const found: { port: number; isMasked: boolean }[] = [];
  for (let port = 0; port < maxPorts2l(domain); port++)
    if (test(i32, domain.evtchnPending, port)) found.push({ port, isMasked: test(i32, domain.evtchnMask, port) });
  return found;
}
