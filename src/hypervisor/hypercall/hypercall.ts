/** Hypercall entry of an HVM guest (Xen: arch/x86/hvm/hypercall.c, include/hypercall-defs.c). */
import { PAGE_SIZE } from '../../base/address.ts';
import { E2BIG, EFAULT, EINVAL, ENOSYS, EPERM } from '../../abi/errno.ts';
import type { Gva } from '../../base/address.ts';
import { Efer, Reg, Rights, Seg } from '../../cpu/interface.ts';
import { virtualCost } from '../time/clock.ts';
import { HypercallContext, offsetBy } from './context.ts';
import type { HypercallHost } from './context.ts';
import { eventChannelOp } from './event-op.ts';
import { grantTableOp } from './grant-op.ts';
import { hvmOp } from './hvm-op.ts';
import { memoryOp } from './memory-op.ts';
import { schedOp, setTimerOp } from './sched-op.ts';
import { vcpuOp } from './vcpu-op.ts';
import { xenVersion } from './xen-version.ts';

/** __HYPERVISOR_* numbers (public/xen.h). */
const Hypercall = {
  memoryOp: 12,
  multicall: 13,
  setTimerOp: 15,
  xenVersion: 17,
  consoleIo: 18,
  grantTableOp: 20,
  vmAssist: 21,
  iret: 23,
  vcpuOp: 24,
  mmuextOp: 26,
  xsmOp: 27,
  schedOp: 29,
  eventChannelOp: 32,
  physdevOp: 33,
  hvmOp: 34,
  sysctl: 35,
  domctl: 36,
  argoOp: 39,
  xenpmuOp: 40,
  dmOp: 41,
  hypfsOp: 42,
} as const;

const CONSOLEIO_WRITE = 0;
/** Console bytes copied at once, and written before the call is made again: nobody else runs meanwhile. */
const CONSOLE_CHUNK = 1024;
const CONSOLE_MOST = 16 * CONSOLE_CHUNK;
const VMASST_CMD = { enable: 0, disable: 1 } as const;
/** The assists an HVM guest has: runstate_update_flag alone. */
const VMASST_RUNSTATE_UPDATE_FLAG = 5;
/** Calls of a multicall made before it is made again for the rest. */
const MULTICALL_MOST = 16;

const handlers: Readonly<Record<number, (call: HypercallContext) => number>> = {
  [Hypercall.memoryOp]: memoryOp,
  [Hypercall.setTimerOp]: setTimerOp,
  [Hypercall.xenVersion]: xenVersion,
  [Hypercall.consoleIo]: consoleIo,
  [Hypercall.grantTableOp]: grantTableOp,
  [Hypercall.vmAssist]: vmAssist,
  [Hypercall.vcpuOp]: vcpuOp,
  [Hypercall.schedOp]: schedOp,
  [Hypercall.eventChannelOp]: eventChannelOp,
  [Hypercall.hvmOp]: hvmOp,
  // The toolstack's, and the device model's, which an unprivileged guest may not call.
  [Hypercall.sysctl]: () => -EPERM,
  [Hypercall.domctl]: () => -EPERM,
  [Hypercall.dmOp]: () => -EPERM,
};

/** Answers the hypercalls of one vCPU. */
export class Hypercalls {
  private readonly call: HypercallContext;

  constructor(host: HypercallHost) {
    this.call = new HypercallContext(host);
  }

  /**
   * hvm_hypercall: number in (e|r)ax, arguments by mode, result into rax. True: the caller steps over the instruction; false:
   * the call goes on when the guest runs again, which is when everything else has had its turn.
   */
  dispatch(): boolean {
    const { host } = this.call;
    const { registers } = host.engine;
    const longMode = (registers.efer & Efer.lma) !== 0 && (registers.getSegment(Seg.cs).accessRights & Rights.long) !== 0;
    let result: number;
    if (registers.cpl > 0) {
      result = -EPERM;
    } else {
      host.pcpu.clock.charge(virtualCost.hypercall);
      this.call.loadRegisters(!longMode);
      this.call.continued = 0;
      const number = registers.gprLo(Reg.rax);
      // Of 64 bits in 64-bit code: a number with more than 32 is none.
      result =
        longMode && registers.gprHi(Reg.rax) !== 0
          ? -ENOSYS
          : number === Hypercall.multicall
            ? this.multicall()
            : this.one(number);
      if (this.call.continued > 0) {
        this.call.storeRegisters();
        return false;
      }
    }
    registers.setGprHalves(Reg.rax, result >>> 0, longMode ? (result < 0 ? 0xffff_ffff : 0) : 0);
    return true;
  }

  private one(number: number): number {
    const handler = handlers[number];
    return handler === undefined ? -ENOSYS : handler(this.call);
  }

  /** multicall (13): entries of op, result, six arguments; a multicall inside one is refused. */
  private multicall(): number {
    const { call } = this;
    const list = call.pointer(0);
    const count = call.arg(1);
    const { longSize } = call;
    for (let i = 0; i < count; i++) {
      const at = offsetBy(list, i * longSize * 8);
      if (i === MULTICALL_MOST) return this.goOn(at, count - i);
      const view = call.read(at, longSize * 8);
      if (view === undefined) return -EFAULT;
      const number = view.getUint32(0, true);
      for (let n = 0; n < 6; n++) {
        const from = (2 + n) * longSize;
        call.setArg(n, view.getUint32(from, true), longSize === 8 ? view.getUint32(from + 4, true) : 0);
      }
      const result = number === Hypercall.multicall ? -ENOSYS : this.one(number);
      if (call.continued > 0) {
        // What is left of this one is in its own arguments.
        const args = call.blank();
        for (let n = 0; n < 6; n++) {
          args.setUint32(n * longSize, call.arg(n), true);
          if (longSize === 8) args.setUint32(n * 8 + 4, call.argHi(n), true);
        }
        return call.write(offsetBy(at, 2 * longSize), 6 * longSize) ? this.goOn(at, count - i) : -EFAULT;
      }
      const out = call.blank();
      out.setInt32(longSize, result, true);
      if (longSize === 8) out.setInt32(12, result < 0 ? -1 : 0, true);
      if (!call.write(at, longSize, longSize)) return -EFAULT;
    }
    return 0;
  }

  /** The multicall goes on with `count` entries at `list`. */
  private goOn(list: Gva, count: number): number {
    const { call } = this;
    call.setArg(0, Number(list & 0xffff_ffffn), Number(list >> 32n));
    call.setArg(1, count, 0);
    call.continued = 2;
    return 0;
  }
}

function consoleIo(call: HypercallContext): number {
  const { host } = call;
  if (call.arg(0) !== CONSOLEIO_WRITE) return -ENOSYS;
  const count = call.arg(1) | 0;
  if (count < 0) return -E2BIG;
  const bytes = new Uint8Array(Math.min(count, CONSOLE_CHUNK));
  for (let done = 0; done < count; done += CONSOLE_CHUNK) {
    if (done === CONSOLE_MOST) {
      const rest = offsetBy(call.pointer(2), done);
      call.setArg(1, count - done, 0);
      call.setArg(2, Number(rest & 0xffff_ffffn), Number(rest >> 32n));
      call.continued = 3;
      return 0;
    }
    const chunk = bytes.subarray(0, Math.min(CONSOLE_CHUNK, count - done));
    if (!host.guest.copyFromLinear(offsetBy(call.pointer(2), done), chunk)) return -EFAULT;
    host.consoleWrite(chunk);
  }
  return 0;
}

function vmAssist(call: HypercallContext): number {
  const { domain } = call.host;
  if (call.arg(1) !== VMASST_RUNSTATE_UPDATE_FLAG) return -EINVAL;
  if (call.arg(0) === VMASST_CMD.enable) domain.vmAssist |= 1 << VMASST_RUNSTATE_UPDATE_FLAG;
  else if (call.arg(0) === VMASST_CMD.disable) domain.vmAssist &= ~(1 << VMASST_RUNSTATE_UPDATE_FLAG);
  else return -ENOSYS;
  return 0;
}

/** The 4 KiB hypercall page: 32 bytes a call; iret (23) is ud2. */
export function hypercallPage(): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(0xcc);
  for (let i = 0; i < 128; i++) {
    const at = i * 32;
    if (i === Hypercall.iret) page.set([0x0f, 0x0b], at);
    else page.set([0xb8, i, 0, 0, 0, 0x0f, 0x01, 0xc1, 0xc3], at);
  }
  return page;
}
