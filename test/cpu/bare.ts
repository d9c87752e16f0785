/**
 * A bare image on the vCPU: a flat multiboot binary at 1 MiB, entered in 32-bit protected mode, two output ports, an
 * exit port, and the exits a hypervisor has to complete, completed as the processor itself would.
 */
import { gfn, gva } from '../../src/base/address.ts';
import { EventType, ExitReason, Reg, Seg } from '../../src/cpu/interface.ts';
import { TestMachine } from './machine.ts';

const LOAD = 0x100000;
const MULTIBOOT_MAGIC = 0x1badb002;
const BUDGET = 2_000_000;

export interface BareResult {
  output: string;
  /** How it ended: the value written to the exit port, or what else stopped it. */
  end:
    | { kind: 'exit'; status: number }
    | { kind: 'triple fault' }
    | { kind: 'halted' }
    | { kind: 'task switch'; selector: number }
    | { kind: 'other'; text: string }
    | { kind: 'out of time' };
}

export interface BareOptions {
  /** A byte came out of port 0xe9 or 0x3f8. */
  onByte?: (byte: number) => void;
  /** Instructions before it is stopped. */
  limit?: number;
  /** Guest-physical pages without RAM: reads give this byte repeated. */
  openBus?: number;
  /** CPUID leaf → [eax, ebx, ecx, edx]. */
  cpuid?: (leaf: number, subleaf: number) => [number, number, number, number];
}

const flatSegment = (
  selector: number,
  accessRights: number,
): { selector: number; base: bigint; limit: number; accessRights: number } => ({
  selector,
  base: 0n,
  limit: 0xffffffff,
  accessRights,
});

/** Loads a flat binary with a multiboot header (address fields) and sets the registers of its entry (Multiboot 0.6.96 section 3.2). */
export function loadMultiboot(machine: TestMachine, image: Uint8Array): void {
  const header = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (header.getUint32(0, true) !== MULTIBOOT_MAGIC) throw new Error('no multiboot header at the start of the image');
  machine.write(LOAD, image);
  const r = machine.vcpu.registers;
  r.cr0 = 0x11;
  r.cr4 = 0;
  r.efer = 0;
  r.setSegment(Seg.cs, flatSegment(8, 0xc09b));
  for (const seg of [Seg.ds, Seg.es, Seg.ss, Seg.fs, Seg.gs]) r.setSegment(seg, flatSegment(16, 0xc093));
  r.setSegment(Seg.tr, { selector: 0, base: 0n, limit: 0x67, accessRights: 0x8b });
  r.setSegment(Seg.ldtr, { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x10000 });
  for (let i = 0; i < 16; i++) r.setGpr(i, 0n);
  r.setGpr(Reg.rax, 0x2badb002n);
  r.rflags = 2;
  r.rip = gva(BigInt(header.getUint32(28, true)));
}

export function runBare(machine: TestMachine, options: BareOptions = {}): BareResult {
  const { vcpu } = machine;
  const { exit, registers } = vcpu;
  const bytes: number[] = [];
  const limit = vcpu.instructions + (options.limit ?? 50_000_000);
  const done = (end: BareResult['end']): BareResult => ({ output: Buffer.from(bytes).toString('latin1'), end });
  const emit = (byte: number): void => {
    bytes.push(byte);
    options.onByte?.(byte);
  };
  const generalProtection = (): void => vcpu.inject(EventType.hardwareException, 13, 0, 0);
  for (;;) {
    if (vcpu.instructions > limit) return done({ kind: 'out of time' });
    const reason = vcpu.run(BUDGET);
    switch (reason) {
      case ExitReason.budget:
      case ExitReason.externalInterrupt:
        break;
      case ExitReason.ioInstruction:
        if (exit.isWrite && exit.port === 0xf4) return done({ kind: 'exit', status: exit.dataLo & 0xff });
        if (exit.isWrite && (exit.port === 0xe9 || exit.port === 0x3f8)) emit(exit.dataLo & 0xff);
        vcpu.completeAccess(0xffffffff, 0xffffffff);
        break;
      case ExitReason.crAccess:
        if (exit.isWrite) {
          if (vcpu.writeCr(exit.register, (BigInt(exit.dataHi) << 32n) | BigInt(exit.dataLo))) vcpu.skipInstruction();
          else generalProtection();
        } else {
          registers.setGpr(exit.gpr, BigInt(registers.cr8));
          vcpu.skipInstruction();
        }
        break;
      case ExitReason.drAccess:
        if (exit.isWrite) registers.setDr(exit.register, (BigInt(exit.dataHi) << 32n) | BigInt(exit.dataLo));
        else registers.setGpr(exit.gpr, registers.getDr(exit.register));
        vcpu.skipInstruction();
        break;
      case ExitReason.msrRead: {
        const value = vcpu.readMsr(registers.gprLo(Reg.rcx));
        if (value === undefined) {
          generalProtection();
          break;
        }
        registers.setGpr(Reg.rax, value & 0xffffffffn);
        registers.setGpr(Reg.rdx, value >> 32n);
        vcpu.skipInstruction();
        break;
      }
      case ExitReason.msrWrite:
        if (vcpu.writeMsr(registers.gprLo(Reg.rcx), (BigInt(registers.gprLo(Reg.rdx)) << 32n) | BigInt(registers.gprLo(Reg.rax))))
          vcpu.skipInstruction();
        else generalProtection();
        break;
      case ExitReason.cpuid: {
        const values = options.cpuid?.(registers.gprLo(Reg.rax), registers.gprLo(Reg.rcx)) ?? [0, 0, 0, 0];
        [Reg.rax, Reg.rbx, Reg.rcx, Reg.rdx].forEach((register, i) =>
          registers.setGprHalves(register, (values[i] ?? 0) >>> 0, 0),
        );
        vcpu.skipInstruction();
        break;
      }
      case ExitReason.eptViolation:
        if (options.openBus === undefined)
          return done({
            kind: 'other',
            text: `EPT violation at gpa ${exit.gpa.toString(16)}, qualification ${exit.qualification.toString(16)}`,
          });
        vcpu.completeAccess(options.openBus, options.openBus);
        break;
      case ExitReason.wbinvd:
      case ExitReason.invd:
        vcpu.skipInstruction();
        break;
      case ExitReason.rdpmc:
      case ExitReason.xsetbv:
        generalProtection();
        break;
      case ExitReason.vmcall:
        vcpu.inject(EventType.hardwareException, 6, -1, 0);
        break;
      case ExitReason.hlt:
        return done({ kind: 'halted' });
      case ExitReason.tripleFault:
        return done({ kind: 'triple fault' });
      case ExitReason.taskSwitch:
        return done({ kind: 'task switch', selector: exit.dataLo });
      default:
        return done({ kind: 'other', text: `exit ${reason}\n${vcpu.dump()}` });
    }
  }
}

/** Guest memory with the last megabytes left out, so that there is an address without RAM. */
export function bareMachine(megabytes: number): TestMachine {
  const machine = new TestMachine(megabytes * 256);
  machine.setEntry(gfn(megabytes * 256 - 1), 0);
  return machine;
}
