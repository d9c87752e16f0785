/**
 * The hypervisor on the device model's own thread: the same domains, event channels, ioreq servers and interrupt lines,
 * attached over the same machine memory, with dom0's vCPU running on pCPU 0.
 */
import type { DeviceModelHypercalls } from '../../abi/dm-op.ts';
import type { Logger } from '../../base/logger.ts';
import { HostClock } from '../time/clock.ts';
import { deviceModelHypercalls } from '../hypercall/dm.ts';
import type { Domain, Pcpu } from '../domain/domain.ts';
import { MachineMemory } from '../mm/memory.ts';
import type { MachineLayout } from '../mm/memory.ts';
import { createPlatform } from '../chips/platform.ts';
import type { PlatformOptions } from '../chips/platform.ts';
import { Dom0Vcpu } from '../sched/schedule.ts';
import { Hypervisor } from './setup.ts';
import { Shootdown } from '../mm/shootdown.ts';

/** What the thread is told of the machine; structured-cloneable except for the logger. */
export interface Dom0ThreadOptions {
  readonly memory: WebAssembly.Memory;
  readonly layout: MachineLayout;
  readonly guest: { readonly domid: number; readonly name: string; readonly vcpus: number };
  /** pCPU of the guest's vCPU: its timers are there. */
  readonly guestPcpu: number;
  readonly platform: PlatformOptions;
  readonly log: Logger;
  /** The number of TSC ticks a second; default 10⁹. */
  readonly tscHz?: number;
}

export interface Dom0Thread {
  readonly pcpu: Pcpu;
  readonly clock: HostClock;
  readonly domain: Domain;
  readonly hypercalls: DeviceModelHypercalls;
  /** dom0's vCPU, running: the thread says by it when it sleeps and when it ends. */
  readonly vcpu: Dom0Vcpu;
  /** Index of the thread's futex word, in units of 4 bytes. */
  readonly futex: number;
}

/** Attach on the device model's thread, after the guest's thread has built the machine. */
export function attachDom0(options: Dom0ThreadOptions): Dom0Thread {
  const { guest, guestPcpu } = options;
  const memory = new MachineMemory(options.memory, options.layout);
  const clock = new HostClock(memory, options.tscHz);
  const { pcpu, p2m, dom0, domain, runqueue, events, servers, irq } = new Hypervisor({
    memory,
    clock,
    pcpu: 0,
    log: options.log,
    guest,
    guestPcpu,
    platform: (parts) => createPlatform(parts, options.platform),
  });
  const shootdown = new Shootdown(memory, domain.vcpus[0]!);
  p2m.changes.add((gfn) => shootdown.invalidateNested(gfn));
  const state = dom0.vcpus[0]!;
  return {
    pcpu,
    clock,
    domain,
    hypercalls: deviceModelHypercalls({ self: dom0, target: domain, p2m, events, servers, irq, shootdown }),
    vcpu: new Dom0Vcpu(pcpu, runqueue, state),
    futex: state.futex >>> 2,
  };
}
