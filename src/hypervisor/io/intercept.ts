/**
 * I/O served inside the hypervisor, before any ioreq server is asked (Xen: arch/x86/hvm/intercept.c): local APIC,
 * IO-APIC, HPET by address; PICs, PIT, RTC, PM timer, the CF8 latch by port. A device registers a handler once per
 * domain; handlers are asked in the order of registration.
 */
import type { Gpa } from '../../base/address.ts';

/** Outcome of an emulation step (x86_emulate.h). */
export const Emul = { okay: 0, unhandleable: 1, exception: 2, retry: 3 } as const;
export type Emul = (typeof Emul)[keyof typeof Emul];

/**
 * One access, as a handler sees it. The object is used again for the next access: keep nothing of it. A read leaves its
 * value in `lo` and `hi` (both start at zero for memory, all ones for ports); a write finds it there. Values are unsigned.
 */
export interface IoAccess {
  /** vCPU that makes the access. */
  vcpu: number;
  isWrite: boolean;
  /** Guest-physical address, or port number. */
  address: number;
  /** Bytes: 1, 2, 4, for memory also 8. */
  size: number;
  lo: number;
  hi: number;
}

/** A device in guest-physical address space (struct hvm_mmio_ops). */
export interface HvmMmioOps {
  readonly name: string;
  /** True when this vCPU's access at `address` is the device's. Asked for the first and the last byte. */
  check(address: Gpa, vcpu: number): boolean;
  read(access: IoAccess): Emul;
  write(access: IoAccess): Emul;
}

/**
 * A device at ports (portio_action_t). `okay`: served. `unhandleable`: seen (a latch), and the access goes on to the ioreq
 * servers.
 */
export type PortioAction = (access: IoAccess) => Emul;

export interface PortioHandler {
  readonly name: string;
  readonly port: number;
  readonly size: number;
  readonly action: PortioAction;
}

/** Most handlers a domain may have (Xen's NR_IO_HANDLERS). */
const NR_IO_HANDLERS = 32;

/** The internal handlers of one domain. */
export class IoHandlers {
  readonly mmio: HvmMmioOps[] = [];
  readonly portio: PortioHandler[] = [];

  registerMmioHandler(ops: HvmMmioOps): void {
    this.room(ops.name);
    this.mmio.push(ops);
  }

  /** Serves accesses that lie wholly within ports port … port+size−1. */
  registerPortioHandler(name: string, port: number, size: number, action: PortioAction): void {
    this.room(name);
    this.portio.push({ name, port, size, action });
  }

  /** The device that takes an access of these bytes, or undefined. `last` is the last byte's address. */
  findMmio(first: Gpa, vcpu: number): HvmMmioOps | undefined {
    for (let i = 0; i < this.mmio.length; i++) {
      if (this.mmio[i]!.check(first, vcpu)) return this.mmio[i];
    }
    return undefined;
  }

  findPortio(port: number, size: number): PortioHandler | undefined {
    for (let i = 0; i < this.portio.length; i++) {
      const handler = this.portio[i]!;
      if (port >= handler.port && port + size <= handler.port + handler.size) return handler;
    }
    return undefined;
  }

  private room(name: string): void {
    if (this.mmio.length + this.portio.length >= NR_IO_HANDLERS) {
      throw new Error(`I/O handler '${name}': a domain has room for ${NR_IO_HANDLERS}`);
    }
  }
}
