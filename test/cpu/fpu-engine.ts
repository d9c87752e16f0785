/**
 * The generated interpreter with just enough around it to run single x87, MMX and SSE instructions on a record:
 * linear addresses are machine addresses, and every access takes the slow path.
 */
import {
  CB_CR0,
  CB_CR4,
  CB_EXIT_STATUS,
  CB_FPU,
  CB_FPU_TRAP,
  CB_LF_KIND,
  CB_RFLAGS,
  CB_SEG,
  CB_SIZE,
  CB_SLOW_VA,
  CB_SLOW_VALUE,
  CB_STATUS,
  CB_TLB,
  Cr4,
  SEG_SIZE,
  Status,
  STATUS_FLAGS,
  Vector,
} from '../../src/cpu/memory/control-block.ts';
import { Decoder } from '../../src/cpu/decode/decoder.ts';
import { SLOW_ALIGNED } from '../../src/cpu/emit/context.ts';
import { FpuHelpers } from '../../src/cpu/fpu/helpers.ts';
import type { FpuHost } from '../../src/cpu/fpu/helpers.ts';
import { FPU_ST } from '../../src/cpu/fpu/state.ts';
import { topOf } from '../../src/cpu/fpu/x87-control.ts';
import { HELPER_NAMES, type HelperName } from '../../src/cpu/emit/helpers.ts';
import { Reg } from '../../src/cpu/interface.ts';
import { generateInterpreter } from '../../src/cpu/interpreter/interpreter.ts';
import { MemoryViews } from '../../src/cpu/memory/memory-views.ts';
import { TLB_READ, TLB_SET_SIZE, TLB_ENTRY_SIZE } from '../../src/cpu/memory/tlb-layout.ts';
import { RECORD } from './native-fpu.ts';

const PAGES = 16;
const CB = 0x10000;
const TLB = 0x20000;
const RECORDS = 0x40000;
/** Where the record's memory operand stands; 16-byte aligned as in the native program. */
const OPERAND = 0x50010;
const CODE = 0x60000;
const JUMP_LOG = 0x70000;

const SIGNALS: Record<number, number> = { [Vector.mf]: 8, [Vector.xm]: 8, [Vector.gp]: 11, [Vector.ud]: 4 };
class Raised extends Error {
  readonly vector: number;
  constructor(vector: number) {
    super(`exception ${vector}`);
    this.vector = vector;
  }
}

export class FpuEngine implements FpuHost {
  readonly cb: MemoryViews & { base: number };
  readonly code64 = true;
  readonly data = new Uint8Array(16);
  record = 0;
  readonly view: DataView;
  private readonly decoder: Decoder;
  private readonly run: (record: number, budget: number, share: number) => number;
  private readonly statusFlags: () => number;
  private vector = -1;

  private constructor(
    memory: WebAssembly.Memory,
    decoder: Decoder,
    instance: (imports: WebAssembly.Imports) => WebAssembly.Instance,
  ) {
    this.view = new DataView(memory.buffer);
    this.cb = Object.assign(new MemoryViews(memory), { base: CB });
    this.decoder = decoder;
    const table: Partial<Record<HelperName, (argument: number) => number>> = new FpuHelpers(this).table();
    const exports = instance({
      env: {
        memory,
        slowRead: (record: number, size: number) => this.access(record, size, false),
        slowWrite: (record: number, size: number) => this.access(record, size, true),
        tryRead: () => Status.exit,
        tryWrite: () => Status.exit,
        deliver: () => Status.exit,
        helper: (number: number, record: number, argument: number) => {
          this.record = record;
          try {
            return table[HELPER_NAMES[number]!]!(argument);
          } catch (error) {
            if (!(error instanceof Raised)) throw error;
            this.vector = error.vector;
            return Status.exit;
          }
        },
        lookup: () => 0,
        link: () => 0,
        interpret: () => {},
      },
    }).exports;
    this.run = exports['run'] as FpuEngine['run'];
    this.statusFlags = exports['statusFlags'] as FpuEngine['statusFlags'];
    for (let at = TLB; at < TLB + TLB_SET_SIZE; at += TLB_ENTRY_SIZE) {
      for (let i = 0; i < 24; i += 8) this.view.setBigUint64(at + TLB_READ + i, 1n, true);
    }
  }

  static async create(): Promise<FpuEngine> {
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
    const decoder = new Decoder(new MemoryViews(memory));
    const module = await WebAssembly.compile(
      generateInterpreter(decoder.map.all, { cb: CB, jumpLog: JUMP_LOG, memory, tailCalls: false }).bytes,
    );
    return new FpuEngine(memory, decoder, (imports) => new WebAssembly.Instance(module, imports));
  }

  raise(vector: number): never {
    throw new Raised(vector);
  }
  segmentAddress(_seg: number, offset: number): number {
    return offset;
  }
  store(linear: number, size: number): void {
    this.cb.u8.set(this.data.subarray(0, size), linear);
  }

  private access(_record: number, size: number, write: boolean): number {
    const at = this.view.getUint32(CB + CB_SLOW_VA, true);
    if (size & SLOW_ALIGNED && at & 15) {
      this.vector = Vector.gp;
      return Status.exit;
    }
    const count = size & 0xff;
    const value = CB + CB_SLOW_VALUE;
    if (write) this.cb.u8.copyWithin(at, value, value + count);
    else this.cb.u8.copyWithin(value, at, at + count);
    return Status.next;
  }

  /** Run a record's instruction; the record then holds the state after it. RBX and RDI point at its memory operand. */
  execute(record: DataView): void {
    const { view } = this;
    this.cb.u8.fill(0, CB, CB + CB_SIZE);
    const fpu = CB + CB_FPU;
    const copy = (from: DataView, at: number, to: DataView, where: number, count: number) => {
      for (let i = 0; i < count; i++) to.setUint8(where + i, from.getUint8(at + i));
    };
    copy(record, 0, view, fpu, 416);
    const rotate = (from: DataView, at: number, to: DataView, where: number, top: number, physical: boolean) => {
      for (let i = 0; i < 8; i++) {
        const source = physical ? i : (i + top) & 7;
        const target = physical ? (i + top) & 7 : i;
        copy(from, at + source * 16, to, where + target * 16, 16);
      }
    };
    const fsw = record.getUint16(2, true);
    rotate(record, FPU_ST, view, fpu + FPU_ST, topOf(fsw), true);
    const pending = (fsw & ~record.getUint16(0, true) & 0x3f) !== 0;
    view.setUint16(fpu + 2, pending ? fsw | 0x8080 : fsw & 0x7f7f, true);
    copy(record, RECORD.memory, view, OPERAND, 128);
    const rflags = Number(record.getBigUint64(RECORD.rflags, true));
    view.setUint32(CB + CB_RFLAGS, rflags & ~STATUS_FLAGS, true);
    view.setUint32(CB + CB_STATUS, rflags & STATUS_FLAGS, true);
    view.setUint32(CB + CB_LF_KIND, 0, true);
    view.setUint32(CB + CB_CR0, 0x80000033, true);
    view.setUint32(CB + CB_CR4, Cr4.pae | Cr4.osfxsr | Cr4.osxmmexcpt, true);
    view.setUint32(CB + CB_FPU_TRAP, 0, true);
    view.setUint32(CB + CB_TLB, TLB, true);
    for (let i = 0; i < 8; i++) view.setUint32(CB + CB_SEG + i * SEG_SIZE + 28, 3, true);
    view.setBigUint64(CB + Reg.rax * 8, record.getBigUint64(RECORD.rax, true), true);
    view.setBigUint64(CB + Reg.rbx * 8, BigInt(OPERAND), true);
    view.setBigUint64(CB + Reg.rdi * 8, BigInt(OPERAND), true);

    const length = record.getUint32(RECORD.length, true);
    copy(record, RECORD.code, view, CODE, length);
    this.decoder.out = RECORDS;
    const first = this.decoder.decode({
      source: this.cb.u8,
      start: CODE,
      limit: CODE + 16,
      ripLo: CODE,
      ripHi: 0,
      pageOffset: 0,
      bits: 64,
      single: true,
      crossing: false,
    });
    this.vector = -1;
    this.run(first, 100, 100);
    const status = view.getUint32(CB + CB_EXIT_STATUS, true);
    record.setUint32(RECORD.signal, this.vector >= 0 ? SIGNALS[this.vector]! : status === Status.exitRetired ? 0 : 4, true);

    copy(view, fpu, record, 0, FPU_ST);
    record.setUint8(5, 0);
    rotate(view, fpu + FPU_ST, record, FPU_ST, topOf(view.getUint16(fpu + 2, true)), false);
    copy(view, fpu + 160, record, 160, 256);
    copy(view, OPERAND, record, RECORD.memory, 128);
    record.setBigUint64(RECORD.rax, view.getBigUint64(CB + Reg.rax * 8, true), true);
    record.setBigUint64(RECORD.rflags, BigInt(view.getUint32(CB + CB_RFLAGS, true) | this.statusFlags()), true);
  }
}
