/** What is told of a run when it is over. */
import { Efer } from '../cpu/interface.ts';
import type { DeviceModel } from '../device-model/device-model.ts';
import type { NicPort } from '../device-model/nic-port.ts';
import type { Domain } from '../hypervisor/domain/domain.ts';
import type { HvmVcpu } from '../hypervisor/vmx/hvm.ts';
import type { P2m } from '../hypervisor/mm/p2m.ts';
import type { LoopEnd } from '../hypervisor/sched/schedule.ts';
import type { PortCounters } from '../net/hub.ts';
import { type RunOutcome, runOutcome } from './exit-status.ts';
import { kernelRanges, type LinearRange } from './linear-map.ts';

/** How the guest's run ended. */
export interface GuestReport {
  readonly outcome: RunOutcome;
  /** Instructions the guest retired, and the machine's clock at the end, in nanoseconds. */
  readonly instructions: number;
  readonly ns: number;
  /** Guest-virtual addresses: of device pages as their exits told (gfn, page), of the rest as the kernel's tables map it at the end. */
  readonly linear: { readonly mmio: readonly (readonly [number, bigint])[]; readonly kernel: readonly LinearRange[] };
}

/** What a device model did: map-cache accesses, and for every NIC the chip's own counters beside those of its cable. */
export interface DeviceModelReport {
  readonly mapCache: { readonly hits: number; readonly remaps: number };
  readonly nics: readonly {
    /** Model and number: `e1000.1`. */
    readonly name: string;
    readonly statistics: Readonly<Record<string, number>>;
    readonly wire: PortCounters;
    readonly pauses: NicPort['pauses'];
  }[];
  /** Frames lost because the party behind the socket had no room for them. */
  readonly socketDrops: number;
  /** The exit status that a test program asked for (isa-debug-exit). */
  readonly exitStatus?: number;
}

/** On the guest's thread, after its loop came back. */
export function guestReport(
  end: LoopEnd | 'paused',
  { domain, hvm, p2m }: { readonly domain: Domain; readonly hvm: HvmVcpu; readonly p2m: P2m },
): GuestReport {
  return {
    outcome: runOutcome(end, domain.shutdownReason),
    instructions: hvm.engine.instructions,
    ns: domain.pcpu.clock.nowNs(),
    linear: guestLinear(hvm, p2m, domain.pcpu.memory.u32),
  };
}

/** On the device model's thread. */
export function deviceModelReport(deviceModel: DeviceModel): DeviceModelReport {
  const { hits, remaps } = deviceModel.mapCache.counters;
  return {
    mapCache: { hits, remaps },
    nics: deviceModel.nics.map((nic) => ({
      name: nic.name,
      statistics: nic.statistics(),
      wire: { ...nic.port.counters },
      pauses: { ...nic.pauses },
    })),
    socketDrops: deviceModel.socketDrops,
    ...(deviceModel.exitStatus === undefined ? {} : { exitStatus: deviceModel.exitStatus }),
  };
}

/** Linear addresses of the guest, kept where it ran in long mode: page tables of other modes are not read. */
export function guestLinear(hvm: HvmVcpu, p2m: P2m, u32: Uint32Array): GuestReport['linear'] {
  const { registers } = hvm.engine;
  const mmio = [...hvm.vmx.mmioLinear];
  if ((registers.efer & Efer.lma) === 0) return { mmio, kernel: [] };
  const read64 = (gpa: number): { low: number; high: number } => {
    const at = p2m.ramAddress(gpa);
    return at < 0 ? { low: 0, high: -1 } : { low: u32[at >>> 2]!, high: u32[(at >>> 2) + 1]! };
  };
  return { mmio, kernel: kernelRanges(read64, Number(registers.cr3 & 0x000f_ffff_ffff_f000n)) };
}
