/**
 * The guest's paravirtual time (Xen: arch/x86/time.c): vcpu_time_info under its version protocol, the wall clock in
 * shared_info, and runstate areas.
 */
import { SHARED_INFO_EVTCHN_PENDING, SHARED_INFO_WALLCLOCK, VCPU_INFO_TIME } from '../../abi/event-channel.ts';
import { gva } from '../../base/address.ts';
import type { Domain, VcpuState } from './domain.ts';
import type { GuestMemory } from '../mm/guest-access.ts';

/** struct vcpu_time_info, offsets in bytes. */
const TIME_VERSION = 0;
const TIME_TSC = 8;
const TIME_SYSTEM = 16;
const TIME_MUL = 24;
const TIME_SHIFT = 28;
const TIME_FLAGS = 29;
/** XEN_PVCLOCK_TSC_STABLE_BIT: the TSC needs no cross-checking between vCPUs. */
const TSC_STABLE = 1;

/** VMASST_TYPE_runstate_update_flag, and the flag in state_entry_time (bit 63). */
const VMASST_RUNSTATE_UPDATE_FLAG = 1 << 5;
const RUNSTATE_UPDATE_HI = 0x8000_0000;

/** tsc_to_system_mul and tsc_shift: ns = ((ticks << shift) · mul) >> 32. */
export function tscScale(tscHz: number): { mul: number; shift: number } {
  let ratio = 1e9 / tscHz;
  let shift = 0;
  while (ratio >= 1) {
    ratio /= 2;
    shift++;
  }
  while (ratio < 0.5) {
    ratio *= 2;
    shift--;
  }
  return { mul: Math.min(0xffff_ffff, Math.round(ratio * 2 ** 32)), shift };
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** Write a structure that its reader checks by a version: odd while it changes. */
function versioned(i32: Int32Array, at: number, work: () => void): void {
  const version = (Atomics.load(i32, at >>> 2) | 1) + (Atomics.load(i32, at >>> 2) & 1 ? 2 : 0);
  Atomics.store(i32, at >>> 2, version);
  work();
  Atomics.store(i32, at >>> 2, version + 1);
}

/** update_vcpu_system_time: the vCPU's TSC at system time 0 and how ticks become nanoseconds, in its vcpu_info. */
export function updateVcpuSystemTime(domain: Domain, vcpu: VcpuState): void {
  const { memory, clock } = domain.pcpu;
  const info = vcpu.vcpuInfo;
  if (info === 0) return;
  const at = info + VCPU_INFO_TIME;
  const { mul, shift } = tscScale(clock.tscHz);
  versioned(memory.i32, at + TIME_VERSION, () => {
    memory.view.setBigUint64(at + TIME_TSC, vcpu.tscOffset, true);
    putU64(memory.view, at + TIME_SYSTEM, 0);
    memory.view.setUint32(at + TIME_MUL, mul, true);
    memory.view.setInt8(at + TIME_SHIFT, shift);
    memory.view.setUint8(at + TIME_FLAGS, TSC_STABLE);
  });
}

/** update_domain_wallclock_time: wall-clock time at system time zero. */
export function updateDomainWallclock(domain: Domain): void {
  const { memory, clock } = domain.pcpu;
  const at = domain.sharedInfo + (domain.compatSharedInfo ? SHARED_INFO_EVTCHN_PENDING + 256 : SHARED_INFO_WALLCLOCK);
  const seconds = Math.floor(clock.epochUs / 1e6);
  versioned(memory.i32, at, () => {
    memory.view.setUint32(at + 4, seconds >>> 0, true);
    memory.view.setUint32(at + 8, (clock.epochUs % 1e6) * 1000, true);
    memory.view.setUint32(at + 12, Math.floor(seconds / 2 ** 32), true);
  });
}

const area = new Uint8Array(48);
const areaView = new DataView(area.buffer);

/** struct vcpu_runstate_info of a vCPU in `compat` (32-bit) or 64-bit layout; the bytes are valid until the next call. */
export function runstateInfo(vcpu: VcpuState, nowNs: number, compat: boolean): Uint8Array {
  const longs = compat ? 4 : 8;
  areaView.setUint32(0, vcpu.runstate, true);
  areaView.setUint32(4, 0, true);
  putU64(areaView, longs, vcpu.stateEntryNs);
  for (let state = 0; state < 4; state++) {
    const running = state === vcpu.runstate ? Math.max(0, nowNs - vcpu.stateEntryNs) : 0;
    putU64(areaView, longs + 8 + state * 8, vcpu.stateTimeNs(state) + running);
  }
  return area.subarray(0, longs + 40);
}

/** update_runstate_area: at every switch to the vCPU, where the guest registered one. */
export function updateRunstateArea(domain: Domain, vcpu: VcpuState, guest: GuestMemory): void {
  const lo = vcpu.runstateAreaLo;
  const hi = vcpu.runstateAreaHi;
  if (lo === 0 && hi === 0) return;
  const address = gva((BigInt(hi) << 32n) | BigInt(lo));
  const compat = domain.compatSharedInfo;
  const bytes = runstateInfo(vcpu, domain.pcpu.clock.nowNs(), compat);
  if (!(domain.vmAssist & VMASST_RUNSTATE_UPDATE_FLAG)) {
    guest.copyToLinear(address, bytes);
    return;
  }
  // The reader retries while the top bit of state_entry_time is set.
  const entry = compat ? 4 : 8;
  const entryHi = areaView.getUint32(entry + 4, true);
  areaView.setUint32(entry + 4, (entryHi | RUNSTATE_UPDATE_HI) >>> 0, true);
  guest.copyToLinear(gva(address + BigInt(entry)), bytes.subarray(entry, entry + 8));
  guest.copyToLinear(address, bytes);
  areaView.setUint32(entry + 4, entryHi, true);
  guest.copyToLinear(gva(address + BigInt(entry)), bytes.subarray(entry, entry + 8));
}
