/** The vCPU: the generated interpreter, its slow paths and helpers, and the loop that runs it from exit to exit. */
import { PAGE_SIZE, gva, maddr, type Gfn, type Gpa, type Gva, type Maddr, type Mfn } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';
import { Breakpoints } from './breakpoints.ts';
import { CodeCache } from '../decode/code-cache.ts';
import { CodeFetch } from './code-fetch.ts';
import { WATCHED_READS, WATCHED_WRITES } from '../memory/code-flags.ts';
import {
  CB_BUDGET,
  CB_COMPILED_UNTIL,
  CB_CPL,
  CB_CR0,
  CB_DR6,
  CB_EXIT_STATUS,
  CB_KICK,
  CB_LF_KIND,
  CB_REST,
  CB_RFLAGS,
  CB_RIP,
  CB_SHADOW,
  CB_SHADOW_RIP,
  CB_SIZE,
  CB_STATUS,
  CB_WINDOW,
  CB_ZERO,
  Cr0,
  Dr6,
  Flag,
  LazyKind,
  Status,
  Vector,
} from '../memory/control-block.ts';
import { ControlRegisters } from '../system/control-registers.ts';
import { Core } from '../system/core.ts';
import { Decoder, MAX_BLOCK_RECORDS } from '../decode/decoder.ts';
import { HotCode, WARM_CODE, type CompilePolicy } from '../compiled/hot-code.ts';
import { Events } from '../system/events.ts';
import { FpuHelpers } from '../fpu/helpers.ts';
import { GeneralHelpers } from '../system/general-helpers.ts';
import { Mode } from '../system/mode.ts';
import { StringInstructions } from '../system/string-instructions.ts';
import { TimestampCounter } from '../system/timestamp-counter.ts';
import { makePrimitives } from '../interpreter/primitives.ts';
import { SlowPaths } from './slow-paths.ts';
import {
  EventType,
  ExitReason,
  NPT_MFN_SHIFT,
  Seg,
  TaskSwitchSource,
  type LinearTranslation,
  type NestedPaging,
  type Vcpu,
  type VcpuEvent,
  type VcpuState,
  type VmExit,
} from '../interface.ts';
import { generateInterpreter } from '../interpreter/interpreter.ts';
import { ControlBlock, linearFromBigInt } from '../memory/memory-views.ts';
import { Access, Mmu, PAGE_FAULT } from '../memory/mmu.ts';
import { readMsr, resetMsrs, writeMsr } from '../system/msr.ts';
import { REC_INDEX } from '../records/record.ts';
import { JUMP_LOG_SIZE } from '../interpreter/record-site.ts';
import { Registers } from './registers.ts';
import { hasTailCalls } from '../wasm/features.ts';
import { Segmentation } from '../system/segmentation.ts';
import { bindHelpers } from './helper-table.ts';
import { JUMP_CACHE_SIZE, TLB_SETS, TLB_SET_SIZE } from '../memory/tlb-layout.ts';
import { dumpFpu, dumpRegisters } from './dump.ts';

export interface EngineOptions {
  memory: WebAssembly.Memory;
  /** The engine's own stretch of machine memory, 64 KiB aligned: control block, TLB, decoded blocks. */
  area: { base: Maddr; size: number };
  nestedPaging: NestedPaging;
  /** TSC now, in ticks; a double. `instructions` is up to date when it is called. */
  readTsc(): number;
  /** Seed of RDRAND. */
  seed?: bigint;
  /** What gets compiled; tests compile everything. */
  compile?: CompilePolicy;
  /** Told when a frame begins or ceases to hold decoded code: while it does, a DMA writer must call invalidateCode. */
  onCodeFrame?(frame: Mfn, holds: boolean): void;
}

/** What the engine area must hold besides decoded blocks, and a sensible room for those. */
export const ENGINE_AREA_SIZE = 48 * 1024 * 1024;

/** So many instructions before the end of an exact budget the vCPU goes on instruction by instruction: no block is longer. */
const EXACT_TAIL = MAX_BLOCK_RECORDS;

export class Engine implements Vcpu {
  readonly registers: Registers;
  readonly kickWord: Maddr;
  private readonly core: Core;
  private readonly cb: ControlBlock;
  private readonly mmu: Mmu;
  private readonly cache: CodeCache;
  private readonly events: Events;
  private readonly control: ControlRegisters;
  private readonly strings: StringInstructions;
  private readonly general: GeneralHelpers;
  private readonly fpu: FpuHelpers;
  private readonly tsc: TimestampCounter;
  private readonly mode: Mode;
  private readonly runRecords: (record: number, budget: number, share: number) => number;
  private readonly options: EngineOptions;

  private retired = 0;
  /** Instructions of the run in hand that generated code has not reported yet. */
  private inFlight = 0;
  private left = 0;
  private windowWanted = false;
  private nmiWindowWanted = false;
  private stepFromOutside = false;
  private exactBudget = false;
  private isWatchHit = false;
  private readonly watched = new Set<number>();
  /** Instructions that the interpreter runs until the next sample. */
  private share: number;
  private stepping = false;
  /** DR6 bits of breakpoints that MOV SS hit, held until the instruction behind it is done. */
  private heldHits = 0;
  private readonly breakpoints: Breakpoints;
  private readonly fetch: CodeFetch;
  private readonly hotCode: HotCode;
  private readonly policy: CompilePolicy;
  private readonly translation: LinearTranslation = { outcome: 'ok', gpa: 0 as Gpa, errorCode: 0 };

  constructor(options: EngineOptions) {
    this.options = options;
    this.policy = options.compile ?? WARM_CODE;
    this.share = this.policy.every;
    const { memory, area } = options;
    const frames = memory.buffer.byteLength / PAGE_SIZE;
    let at = area.base as number;
    const take = (size: number): number => {
      const base = at;
      at += Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
      return base;
    };
    const cbBase = take(CB_SIZE);
    const tlb = take(TLB_SETS * TLB_SET_SIZE);
    const jumpCaches = take(2 * JUMP_CACHE_SIZE);
    const codeFlags = take(frames);
    const jumpLog = take(JUMP_LOG_SIZE);
    const arena = { base: at, size: area.base + area.size - at };
    if (arena.size < 1 << 20) throw new Error(`vCPU engine area too small: ${area.size} bytes`);
    const cb = new ControlBlock(memory, cbBase);
    cb.u8.fill(0, cbBase, cbBase + CB_SIZE);
    cb.u8.fill(0, codeFlags, codeFlags + frames);
    cb.u8.fill(0, jumpLog, jumpLog + JUMP_LOG_SIZE);
    this.cb = cb;
    this.kickWord = maddr(cbBase + CB_KICK);

    // Each part gets those it builds on.
    const primitives = makePrimitives(memory, cbBase);
    const mmu = new Mmu(cb, tlb, options.nestedPaging, codeFlags);
    const decoder = new Decoder(cb);
    const cache = new CodeCache({
      cb,
      decoder,
      arena,
      jumpCaches,
      codeFlags,
      fill: primitives.fill,
      onCodeFrame: (frame, holds) => {
        if (holds) mmu.protectCode(frame);
        options.onCodeFrame?.(frame as Mfn, holds);
      },
    });
    const mode = new Mode(cb, mmu, decoder, cache);
    const core = new Core({ cb, mmu, codeCache: cache, mode, primitives });
    const segmentation = new Segmentation(core);
    const events = new Events(core, segmentation);
    const breakpoints = new Breakpoints(core, events);
    const control = new ControlRegisters(core, () => breakpoints.update());
    const strings = new StringInstructions(core, segmentation);
    const general = new GeneralHelpers(core, options.seed ?? 1n);
    const fpu = new FpuHelpers(core);
    const tsc = new TimestampCounter(() => {
      this.inFlight = this.left - cb.getSigned(CB_BUDGET) - cb.getSigned(CB_REST) + cb.u8[core.record + REC_INDEX]!;
      return options.readTsc();
    });
    const fetch = new CodeFetch({
      core,
      decoder,
      cache,
      events,
      mustStop: () => this.stepping || this.mustStep() || this.windowOpen() || this.atStop(),
      chargeEvent: () => this.chargeEvent(),
    });
    const helpers = bindHelpers({ core, segmentation, events, control, strings, general, fpu, tsc });
    const { imports } = new SlowPaths(core, events, fetch, helpers, (record) => this.hotCode.interpret(record));
    const tailCalls = hasTailCalls();
    const { bytes, meanings } = generateInterpreter(decoder.map.all, { cb: cbBase, jumpLog, memory, tailCalls });
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory, ...imports } });

    this.core = core;
    this.mode = mode;
    this.mmu = mmu;
    this.cache = cache;
    this.events = events;
    this.breakpoints = breakpoints;
    this.control = control;
    this.strings = strings;
    this.general = general;
    this.fpu = fpu;
    this.tsc = tsc;
    this.fetch = fetch;
    this.runRecords = instance.exports.run as typeof this.runRecords;
    this.hotCode = new HotCode(
      this.policy,
      { views: cb, cb: cbBase, memory, meanings, interpreter: instance.exports, jumpLog, tailCalls },
      cb,
      cache,
      mode,
    );
    this.registers = new Registers(core, () => this.registersChanged());
    this.reset();
  }

  get exit(): VmExit {
    return this.core.exit;
  }
  /** Regions compiled so far. */
  get compiled(): number {
    return this.hotCode.compiled;
  }
  get instructions(): number {
    return this.retired + this.inFlight;
  }

  /** An exception outside generated code counts as an instruction: see Status. */
  private chargeEvent(): void {
    this.retired++;
    this.left--;
  }

  // Modes and breakpoints

  private registersChanged(): void {
    this.mmu.flushAll();
    this.cache.flushJumpCaches();
    this.breakpoints.update();
    this.mode.update();
  }

  // The run loop

  private get shadowActive(): number {
    const { cb } = this;
    const shadow = cb.get(CB_SHADOW);
    return shadow && cb.get(CB_SHADOW_RIP) === cb.get(CB_RIP) && cb.get(CB_SHADOW_RIP + 4) === cb.get(CB_RIP + 4) ? shadow : 0;
  }

  private windowOpen(): boolean {
    if (!this.cb.get(CB_WINDOW)) return false;
    return (this.windowWanted && this.interruptible) || (this.nmiWindowWanted && !this.nmiBlocked);
  }

  private mustStep(): boolean {
    const { cb } = this;
    return (
      (cb.get(CB_RFLAGS) & Flag.tf) !== 0 ||
      this.stepFromOutside ||
      this.core.hasCompleted ||
      this.breakpoints.onInstructions ||
      this.core.dataBreakpoints.length > 0 ||
      (cb.get(CB_WINDOW) !== 0 && this.shadowActive !== 0)
    );
  }

  private leave(reason: ExitReason): ExitReason {
    const { exit } = this.core;
    exit.reason = reason;
    exit.rip = gva(this.cb.get64(CB_RIP));
    exit.instructionLength = 0;
    return reason;
  }

  run(budget: number): ExitReason {
    const { cb, core } = this;
    this.left = budget;
    this.inFlight = 0;
    this.isWatchHit = false;
    const begin = this.retired;
    for (;;) {
      if (this.events.pending) {
        this.chargeEvent();
        // After an exit on the way it begins anew, with the accesses completed so far.
        core.restartCompleted();
        if (this.events.deliver(this.events.pending) === Status.exit) return core.exit.reason;
      }
      if (core.trapDue) {
        core.trapDue = false;
        this.chargeEvent();
        if (this.deliverTrap(Dr6.bs) === Status.exit) return core.exit.reason;
        continue;
      }
      if (cb.get(CB_WINDOW)) {
        if (this.nmiWindowWanted && !this.nmiBlocked && !this.shadowActive) return this.leave(ExitReason.nmiWindow);
        if (this.windowWanted && this.interruptible) return this.leave(ExitReason.interruptWindow);
      }
      if (this.left <= 0) return this.leave(ExitReason.budget);
      if (this.isWatchHit) Atomics.store(cb.i32, this.kickWord >> 2, 0);
      if (this.isWatchHit || (this.retired !== begin && this.atStop())) return this.leave(ExitReason.budget);
      if (Atomics.load(cb.i32, this.kickWord >> 2)) {
        Atomics.store(cb.i32, this.kickWord >> 2, 0);
        return this.leave(ExitReason.externalInterrupt);
      }
      if (this.mustStep()) {
        const reason = this.step();
        if (reason !== undefined) return reason;
        continue;
      }
      if (this.exactBudget && this.left <= EXACT_TAIL) this.runOne();
      else {
        const record = this.cache.cached(cb.getSigned(CB_RIP), cb.getSigned(CB_RIP + 4)) || this.fetch.findBlock(false);
        if (record) this.runBlocks(record);
      }
      if (cb.get(CB_EXIT_STATUS) === Status.exit) return core.exit.reason;
    }
  }

  /** Run generated code for what is left. It stops behind the block that used the budget up: where that counts, it gets less. */
  private runBlocks(record: number): void {
    const tail = this.exactBudget ? EXACT_TAIL : 0;
    this.left -= tail;
    this.runSampled(record);
    this.left += tail;
  }

  /** One instruction (or one exception in its place, or one part of a repeated one), as in a block of many. */
  private runOne(): void {
    this.stepping = true;
    const record = this.fetch.findBlock(true);
    if (record) this.runFrom(record, 1, 1);
    this.stepping = false;
  }

  /** Run generated code until the next sample is due, or for what is left. */
  private runSampled(record: number): void {
    if (this.share <= 0) {
      this.share = this.policy.every;
      const { generation } = this.cache;
      this.hotCode.sample(record);
      if (this.cache.generation !== generation) {
        this.cb.set(CB_EXIT_STATUS, Status.stop);
        return;
      }
    }
    const share = Math.min(this.left, this.share);
    const later = this.share - share;
    this.runFrom(record, this.left, share);
    this.share = later + this.left - this.cb.getSigned(CB_REST);
  }

  /** Run generated code; counts what it retired. The interpreter itself runs `share` instructions at most. */
  private runFrom(record: number, budget: number, share: number): number {
    const { until } = this.policy;
    if (until !== undefined) this.cb.set(CB_COMPILED_UNTIL, Math.max(-(2 ** 31), budget - (until - this.retired)) | 0);
    const left = this.runRecords(record, budget, share);
    this.hotCode.runEnded();
    const done = budget - left;
    this.retired += done;
    this.left -= done;
    this.inFlight = 0;
    return done;
  }

  /** #DB; these bits go into DR6. */
  private deliverTrap(bits: number): number {
    this.cb.set(CB_DR6, this.cb.get(CB_DR6) | bits);
    return this.events.deliver({
      type: EventType.hardwareException,
      vector: Vector.db,
      errorCode: -1,
      instructionLength: 0,
    });
  }

  /** One instruction, for TF, breakpoints, a completed access to take in, or a shadow to get past. */
  private step(): ExitReason | undefined {
    const { cb, core } = this;
    const traced = (cb.get(CB_RFLAGS) & Flag.tf) !== 0;
    // MOV SS holds off a breakpoint on the instruction behind it too.
    if (this.breakpoints.onInstructions && this.shadowActive !== 2 && this.breakpoints.hit()) {
      this.chargeEvent();
      return this.deliverTrap(0) === Status.exit ? core.exit.reason : undefined;
    }
    core.restartCompleted();
    const carried = this.heldHits;
    this.heldHits = 0;
    core.debugHits = 0;
    cb.set(CB_RFLAGS, cb.get(CB_RFLAGS) & ~Flag.rf);
    core.repeats = false;
    core.newFlagsDecide = false;
    const { delivered } = this.events;
    // The shadow of STI or MOV SS covers this instruction alone, even if it jumps to itself.
    const shadow = this.shadowActive;
    core.clearShadow();
    this.stepping = true;
    const record = this.fetch.findBlock(true);
    const done = record ? this.runFrom(record, 1, 1) : 0;
    this.stepping = false;
    if (cb.get(CB_EXIT_STATUS) === Status.exit) {
      cb.set(CB_SHADOW, shadow);
      this.heldHits = carried;
      return core.exit.reason;
    }
    core.forgetCompleted();
    // A repeated string instruction traps after each iteration, with RF so that it goes on from there.
    if (core.repeats) cb.set(CB_RFLAGS, cb.get(CB_RFLAGS) | Flag.rf);
    else if (!done) return undefined;
    const hits = carried | core.debugHits;
    const interrupted = this.events.delivered !== delivered;
    const traps = core.newFlagsDecide ? (cb.get(CB_RFLAGS) & Flag.tf) !== 0 : traced;
    core.trapDue = false;
    if (this.shadowActive === 2) {
      // A trap of MOV SS waits for the instruction behind it.
      this.heldHits = hits;
    } else if (interrupted ? carried : traps || hits) {
      // A software interrupt cleared TF; what MOV SS before it left to trap comes at its handler, and goes into INT1's own #DB.
      const bits = hits | (traps && !interrupted ? Dr6.bs : 0);
      if (interrupted && this.events.lastType === EventType.privilegedSoftwareException) cb.set(CB_DR6, cb.get(CB_DR6) | bits);
      else if (this.deliverTrap(bits) === Status.exit) return core.exit.reason;
    }
    return this.stepFromOutside ? this.leave(ExitReason.monitorTrap) : undefined;
  }

  // Events

  inject(type: EventType, vector: number, errorCode: number, instructionLength: number): void {
    // Where the event comes in an instruction's place, that one begins anew.
    this.core.forgetCompleted();
    this.events.pending = { type, vector, errorCode, instructionLength };
  }
  get idtVectoring(): VcpuEvent | null {
    return this.events.pending;
  }
  finishTaskSwitch(): void {
    const { core, events } = this;
    if (events.pending?.type === EventType.nmi) events.nmiBlocked = true;
    else if (core.exit.qualification === TaskSwitchSource.iret) events.nmiBlocked = false;
    events.pending = null;
    core.clearShadow();
    core.forgetCompleted();
    this.retired++;
  }
  get injectionPending(): boolean {
    return this.events.pending !== null;
  }
  get interruptible(): boolean {
    return (this.cb.get(CB_RFLAGS) & Flag.if) !== 0 && !this.shadowActive && !this.events.pending;
  }
  get nmiBlocked(): boolean {
    return this.events.nmiBlocked || this.shadowActive === 2;
  }
  requestInterruptWindow(on: boolean): void {
    this.windowWanted = on;
    this.cb.set(CB_WINDOW, this.windowWanted || this.nmiWindowWanted ? 1 : 0);
  }
  requestNmiWindow(on: boolean): void {
    this.nmiWindowWanted = on;
    this.cb.set(CB_WINDOW, this.windowWanted || this.nmiWindowWanted ? 1 : 0);
  }
  interceptException(vector: number, on: boolean): void {
    const bit = 1 << vector;
    this.events.exceptionBitmap = on ? this.events.exceptionBitmap | bit : this.events.exceptionBitmap & ~bit;
  }
  singleStep(on: boolean): void {
    this.stepFromOutside = on;
  }
  stopAt(addresses: ReadonlySet<number>): void {
    this.fetch.stops = addresses;
    this.cache.flushAll();
  }
  get stopped(): boolean {
    return this.isWatchHit || this.atStop();
  }
  watchFrames(
    frames: ReadonlyMap<number, { readonly reads: boolean }>,
    touched: (frame: Mfn, offset: number, length: number, isWrite: boolean) => boolean,
  ): void {
    for (const frame of this.watched) this.cache.setWatched(frame, 0);
    this.watched.clear();
    for (const [frame, { reads }] of frames) {
      this.watched.add(frame);
      this.cache.setWatched(frame, reads ? WATCHED_WRITES | WATCHED_READS : WATCHED_WRITES);
      this.mmu.protectCode(frame);
      if (reads) this.mmu.protectReads(frame);
    }
    this.cache.watch =
      frames.size === 0
        ? undefined
        : (frame, offset, length, isWrite) => {
            if (!touched(frame as Mfn, offset, length, isWrite)) return;
            this.isWatchHit = true;
            // Generated code looks at the kick word at the end of its block.
            Atomics.store(this.cb.i32, this.kickWord >> 2, 1);
          };
  }
  private atStop(): boolean {
    const { stops } = this.fetch;
    return stops.size > 0 && stops.has(this.mode.bits === 64 ? this.core.rip : (this.mode.csBase + this.cb.get(CB_RIP)) >>> 0);
  }
  countExactly(on: boolean): void {
    this.exactBudget = on;
  }

  // Completion

  setTscOffset(lo: number, hi: number): void {
    this.tsc.setOffset(lo, hi);
  }

  completeAccess(lo: number, hi: number): void {
    this.core.complete(lo, hi);
  }
  get instructionInProgress(): boolean {
    return this.core.hasCompleted;
  }

  completeReps(n: number): void {
    const { core } = this;
    core.begin(core.record);
    const length = core.exit.instructionLength;
    if (this.strings.completeReps(n, core.exit.size, core.exit.string)) {
      core.exit.instructionLength = length;
      this.skipInstruction();
    }
  }

  skipInstruction(): void {
    const { core, cb } = this;
    const rip = linearFromBigInt(core.exit.rip) + core.exit.instructionLength;
    core.setRipLinear(this.mode.bits === 64 ? rip : rip >>> 0);
    core.clearShadow();
    core.forgetCompleted();
    this.retired++;
    cb.set(CB_RFLAGS, cb.get(CB_RFLAGS) & ~Flag.rf);
    const traced = (cb.get(CB_RFLAGS) & Flag.tf) !== 0;
    if ((traced || this.heldHits) && !this.events.pending) {
      cb.set(CB_DR6, cb.get(CB_DR6) | this.heldHits | (traced ? Dr6.bs : 0));
      this.heldHits = 0;
      this.events.pending = { type: EventType.hardwareException, vector: Vector.db, errorCode: -1, instructionLength: 0 };
    }
  }

  // Registers on behalf of the hypervisor

  writeCr(register: number, value: bigint): boolean {
    return this.control.write(register, value);
  }
  readMsr(index: number): bigint | undefined {
    return readMsr(this.cb, index >>> 0);
  }
  writeMsr(index: number, value: bigint): boolean {
    return writeMsr(this.cb, index >>> 0, value, () => this.registersChanged());
  }

  translate(address: Gva, access: 'read' | 'write' | 'fetch', privilege: 'current' | 'supervisor'): LinearTranslation {
    const { mmu, translation, cb } = this;
    const lin = this.mode.bits === 64 || this.core.longMode ? linearFromBigInt(address) : Number(address & 0xffffffffn);
    translation.gpa = 0 as Gpa;
    translation.errorCode = 0;
    if (Number.isNaN(lin)) {
      translation.outcome = 'fault';
      return translation;
    }
    mmu.implicit = privilege === 'supervisor';
    const outcome = mmu.walk(lin, Access[access], privilege === 'current' && cb.get(CB_CPL) === 3);
    mmu.implicit = false;
    if (outcome === PAGE_FAULT) {
      translation.outcome = 'fault';
      translation.errorCode = mmu.errorCode;
    } else if (outcome < 0) {
      translation.outcome = 'nested';
      translation.gpa = mmu.gpa as Gpa;
    } else {
      translation.outcome = 'ok';
      translation.gpa = (mmu.gpa + (lin & 0xfff)) as Gpa;
    }
    return translation;
  }

  invalidateNested(gfn?: Gfn): void {
    this.mmu.invalidateNested(gfn);
    this.cache.flushJumpCaches();
  }
  invalidateCode(frame: Mfn): void {
    this.cache.invalidate(frame);
  }

  // State

  reset(): void {
    const { cb, core } = this;
    cb.u8.fill(0, cb.base, cb.base + CB_KICK);
    cb.set64(CB_ZERO, 0n);
    cb.set(CB_CPL, 0);
    cb.set(CB_CR0, Cr0.et | Cr0.nw | Cr0.cd);
    cb.set(CB_RFLAGS, Flag.one);
    cb.set(CB_STATUS, 0);
    cb.set(CB_LF_KIND, LazyKind.explicit);
    cb.setGpr(2, 0x106ca, 0);
    for (const seg of [Seg.es, Seg.ss, Seg.ds, Seg.fs, Seg.gs]) core.setSegment(seg, 0, 0, 0, 0xffff, 0x93);
    core.setSegment(Seg.cs, 0xf000, 0xffff0000, 0, 0xffff, 0x9b);
    core.setSegment(Seg.ldtr, 0, 0, 0, 0xffff, 0x82);
    core.setSegment(Seg.tr, 0, 0, 0, 0xffff, 0x8b);
    core.setRip(0xfff0, 0);
    resetMsrs(cb);
    this.control.reset();
    this.events.pending = null;
    this.events.nmiBlocked = false;
    core.forgetCompleted();
    this.fpu.reset();
    this.registersChanged();
  }

  /** The lazy flags are worked out, which changes no flag. */
  save(): VcpuState {
    const { cb, core, events, mmu } = this;
    core.setStatus(core.statusFlags());
    const random = this.general.randomState;
    return {
      controlBlock: cb.u8.slice(cb.base, cb.base + CB_SIZE),
      pending: events.pending === null ? null : { ...events.pending },
      nmiBlocked: events.nmiBlocked,
      windowWanted: this.windowWanted,
      nmiWindowWanted: this.nmiWindowWanted,
      heldHits: this.heldHits,
      retired: this.retired,
      random: Uint32Array.of(Number(random & 0xffff_ffffn), Number(random >> 32n)),
      completed: core.saveCompleted(),
      tlb: mmu.saveTlb(),
    };
  }

  /** What was decoded is decoded anew: nothing of it can be seen. */
  restore(state: VcpuState): void {
    if (state.controlBlock.length !== CB_SIZE) throw new UserError('saved state: the control block has another size');
    const { cb, core, events } = this;
    cb.u8.set(state.controlBlock, cb.base);
    events.pending = state.pending === null ? null : { ...state.pending };
    events.nmiBlocked = state.nmiBlocked;
    this.heldHits = state.heldHits;
    this.retired = state.retired;
    this.inFlight = 0;
    this.general.randomState = (BigInt(state.random[1] ?? 0) << 32n) | BigInt(state.random[0] ?? 0);
    core.restoreCompleted(state.completed);
    cb.set(CB_KICK, 0);
    this.cache.flushAll();
    this.registersChanged();
    this.mmu.restoreTlb(state.tlb);
    this.requestInterruptWindow(state.windowWanted);
    this.requestNmiWindow(state.nmiWindowWanted);
    this.leave(ExitReason.budget);
  }

  dump(): string {
    return `${dumpRegisters(this.registers)}\n${dumpFpu(this.registers.fpuRegs)}`;
  }

  codeBytes(address: Gva, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      const t = this.translate(gva(address + BigInt(i)), 'fetch', 'current');
      if (t.outcome !== 'ok') return out.subarray(0, i);
      const entry = this.options.nestedPaging.lookup(Math.floor(t.gpa / PAGE_SIZE) as Gfn);
      if (!entry) return out.subarray(0, i);
      out[i] = this.cb.u8[(entry >>> NPT_MFN_SHIFT) * PAGE_SIZE + (t.gpa & 0xfff)]!;
    }
    return out;
  }
}
