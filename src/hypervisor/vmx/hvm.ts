/** One vCPU of an HVM domain on its pCPU's thread: engine, exits, emulator, hypercalls and interrupts put together. */
import { IOREQ_WRITE, IoreqType, newIoreq } from '../../abi/ioreq.ts';
import { ShutdownReason } from '../../abi/sched.ts';
import { type Gfn, gva } from '../../base/address.ts';
import type { Snapshot } from '../../base/snapshot.ts';
import { Seg, type Vcpu, type VcpuState as EngineState } from '../../cpu/interface.ts';
import { TRC_HVM_HLT, TRC_SCHED_BLOCK } from '../../trace/events.ts';
import { VirtualClock } from '../time/clock.ts';
import { defaultCpuidPolicy } from './cpuid.ts';
import type { CpuidPolicy } from './cpuid.ts';
import { VPF_BLOCKED } from '../domain/domain.ts';
import { HvmParam } from '../domain/hvm-params.ts';
import type { Domain, Pcpu, VcpuState } from '../domain/domain.ts';
import { Emulator, TRAP_ud } from '../io/emulate.ts';
import type { EventChannels, Notifier } from '../events/event-channel.ts';
import { VIRQ_TIMER } from '../events/event-channel.ts';
import { upcallPending } from '../events/event-2l.ts';
import { PvConsole } from '../events/pv-console.ts';
import { GuestMemory } from '../mm/guest-access.ts';
import type { E820Entry, HypercallHost } from '../hypercall/context.ts';
import { Hypercalls } from '../hypercall/hypercall.ts';
import { Emul } from '../io/intercept.ts';
import type { IoHandlers } from '../io/intercept.ts';
import { InterruptAssist } from './intr.ts';
import type { IoreqServers, XenWait } from '../io/ioreq.ts';
import type { HvmIrq, InterruptControllers } from '../chips/irq.ts';
import { Msrs } from './msr.ts';
import type { P2m } from '../mm/p2m.ts';
import type { Shootdown } from '../mm/shootdown.ts';
import { updateRunstateArea } from '../domain/time.ts';
import type { TimerQueue } from '../time/timer.ts';
import { codeBitness, stackLines, waitLines } from './inspect.ts';
import { SilentLoop } from './silent-loop.ts';
import { VmxExits } from './vmx.ts';

const RFLAGS_IF = 0x200;

export interface HvmVcpuOptions {
  readonly pcpu: Pcpu;
  readonly domain: Domain;
  /** Number of the vCPU in its domain. */
  readonly id: number;
  readonly engine: Vcpu;
  readonly p2m: P2m;
  readonly events: EventChannels;
  readonly notifier: Notifier;
  readonly servers: IoreqServers;
  readonly irq: HvmIrq;
  readonly controllers: InterruptControllers;
  readonly handlers: IoHandlers;
  readonly timers: TimerQueue;
  /** The vCPU's, with its engine. */
  readonly shootdown: Shootdown;
  readonly wait: XenWait;
  readonly cpuid?: CpuidPolicy;
  /** What XENMEM_memory_map tells. */
  readonly memoryMap?: readonly E820Entry[];
  /** console_io and port 0xe9. */
  readonly consoleWrite?: (bytes: Uint8Array) => void;
  /** Instructions around the one at `at` in code bytes read from `address`, a line each, for a dump. */
  readonly disassemble?: (code: Uint8Array, address: bigint, at: bigint, bitness: 16 | 32 | 64) => string[];
  /** `hvm_fep`: UD2 with "xen" behind it marks the next instruction for the hypervisor's emulator. */
  readonly fep?: boolean;
  /** Budgets end at the instruction that uses them up, not behind its block (Vcpu.countExactly). */
  readonly exactBudgets?: boolean;
  /** Called after every step while single-stepping. */
  readonly onMonitorTrap?: () => void;
}

/** Code bytes shown in a dump before and from RIP on. */
const CODE_BEFORE = 48;
const CODE_BEHIND = 32;

/** Bytes a line to port 0xe9 may have before it is handed on. */
const DEBUG_LINE = 128;

/** A vCPU on its thread, as far as it does not lie in machine memory. */
export interface HvmVcpuSaved {
  readonly engine: EngineState;
  /** VM exits so far. */
  readonly exits: number;
  /** An interrupt window was asked for. */
  readonly windowOpen: boolean;
  readonly dumped: boolean;
  /** What port 0xe9 has of a line. */
  readonly debugLine: readonly number[];
  /** Device pages and their guest-linear pages. */
  readonly mmioGfns: Float64Array;
  readonly mmioLinear: BigUint64Array;
}

export class HvmVcpu implements Snapshot<HvmVcpuSaved> {
  readonly kind = 'HVM vCPU';
  readonly version = 1;
  readonly domain: Domain;
  readonly state: VcpuState;
  readonly engine: Vcpu;
  readonly guest: GuestMemory;
  readonly emulator: Emulator;
  readonly interrupts: InterruptAssist;
  readonly vmx: VmxExits;
  readonly shootdown: Shootdown;
  /** Its end is in the log. */
  private hasDumped = false;
  private readonly options: HvmVcpuOptions;
  private readonly msrs: Msrs;
  private readonly debugLine: number[] = [];
  private readonly silentLoop = new SilentLoop();

  constructor(options: HvmVcpuOptions) {
    const { domain, engine, p2m, pcpu, irq, controllers, handlers, servers, wait } = options;
    const state = domain.vcpus[options.id];
    if (state === undefined) throw new Error(`domain ${domain.domid} has no vCPU ${options.id}`);
    this.options = options;
    this.domain = domain;
    this.state = state;
    this.engine = engine;
    state.kickWord = engine.kickWord;
    this.shootdown = options.shootdown;
    const tripleFault = (): void => this.tripleFault();
    this.guest = new GuestMemory(pcpu.memory, p2m, engine);
    this.emulator = new Emulator({
      domain,
      state,
      engine,
      guest: this.guest,
      handlers,
      servers,
      wait,
      tripleFault,
    });
    this.interrupts = new InterruptAssist(domain, state, engine, irq, controllers);
    const msrs = new Msrs(domain, state, engine, this.guest, controllers);
    this.msrs = msrs;
    this.vmx = new VmxExits({
      domain,
      state,
      engine,
      p2m,
      guest: this.guest,
      emulator: this.emulator,
      hypercalls: new Hypercalls(this.hypercallHost()),
      msrs,
      cpuid: options.cpuid ?? defaultCpuidPolicy,
      controllers,
      hlt: () => this.hlt(),
      monitorTrap: () => options.onMonitorTrap?.(),
      tripleFault,
      fep: options.fep ?? false,
    });
    if (options.fep) engine.interceptException(TRAP_ud, true);
    // hvm_access_cf8: latch, and let the device model see it too.
    handlers.registerPortioHandler('cf8', 0xcf8, 4, (access) => {
      if (access.isWrite && access.size === 4) domain.pciCf8 = access.lo;
      return Emul.unhandleable;
    });
    handlers.registerPortioHandler('debug port', 0xe9, 1, (access) => {
      if (access.isWrite) this.printDebugByte(access.lo & 0xff);
      return Emul.okay;
    });
    if (pcpu.clock instanceof VirtualClock) pcpu.clock.count(() => engine.instructions);
    engine.countExactly(options.exactBudgets ?? false);
  }

  /** Is its end in the log? */
  get dumped(): boolean {
    return this.hasDumped;
  }

  save(): HvmVcpuSaved {
    const { engine, vmx, interrupts } = this;
    return {
      engine: engine.save(),
      exits: vmx.exits,
      windowOpen: interrupts.windowOpen,
      dumped: this.hasDumped,
      debugLine: [...this.debugLine],
      mmioGfns: Float64Array.from(vmx.mmioLinear.keys()),
      mmioLinear: BigUint64Array.from(vmx.mmioLinear.values()),
    };
  }

  /** Machine memory must be restored before. */
  restore(state: HvmVcpuSaved): void {
    const { engine, vmx, interrupts } = this;
    engine.restore(state.engine);
    this.msrs.loadTscOffset();
    vmx.exits = state.exits;
    interrupts.windowOpen = state.windowOpen;
    this.hasDumped = state.dumped;
    this.debugLine.splice(0, this.debugLine.length, ...state.debugLine.slice(0, DEBUG_LINE));
    vmx.mmioLinear.clear();
    state.mmioGfns.forEach((page, i) => vmx.mmioLinear.set(page as Gfn, state.mmioLinear[i] ?? 0n));
  }

  /** Called when this vCPU begins to run on the pCPU. */
  switchIn(): void {
    updateRunstateArea(this.domain, this.state, this.guest);
  }

  /** hvm_maybe_deassert_evtchn_irq: the callback line falls once the guest has taken its events. */
  maybeDeassertCallback(): void {
    const { irq } = this.options;
    if (this.state.id === 0 && irq.callbackViaAsserted && !upcallPending(this.domain, this.state)) irq.setCallbackIrqLevel(false);
  }

  /** Block until an event comes; nothing happens when one is there already. */
  block(): void {
    this.state.setPauseFlag(VPF_BLOCKED);
    if (this.interrupts.needsDelivery()) this.state.clearPauseFlag(VPF_BLOCKED);
    else this.domain.pcpu.trace.recordTsc(TRC_SCHED_BLOCK, 2, this.domain.domid, this.state.id);
  }

  /** The guest ran to the end of its budget, without an exit. */
  ranOn(): void {
    const { engine, state } = this;
    const loops = this.silentLoop.ran(engine.exit.rip, engine.registers.rflags, engine.instructions);
    if (loops !== undefined) this.options.pcpu.log.warn(`d${state.domid}v${state.id} ${loops}`);
  }

  /** The guest left for something of its own. */
  leftOfItself(): void {
    this.silentLoop.exited();
  }

  /** A vCPU that lives, in the log: registers, code, stack, and what it may be waiting for. */
  inspect(why: string): void {
    const { domain, state, engine, guest, options } = this;
    const { controllers, servers, pcpu } = options;
    const lines = [
      `d${domain.domid}v${state.id}: ${why}`,
      `----[ Xenolith  x86_64  ${domain.name} ]----\nCPU:    ${pcpu.number}\n${engine.dump()}`,
    ];
    const code = this.dumpCode();
    if (code.length > 0) lines.push(`Code around RIP:\n${code.join('\n')}`);
    lines.push(`Stack:\n${stackLines({ engine, guest }).join('\n')}`);
    lines.push(waitLines({ domain, state, engine, guest, controllers, servers, recent: this.vmx.recent }).join('\n'));
    for (const line of lines) pcpu.log.warn(line);
  }

  /** The domain in the log, in Xen's layout. */
  dump(why: string): void {
    this.hasDumped = true;
    const { log, number } = this.options.pcpu;
    log.warn(why);
    log.warn(`Domain ${this.domain.domid} (vcpu#${this.state.id}) crashed on cpu#${number}:`);
    log.warn(`----[ Xenolith  x86_64  ${this.domain.name} ]----\nCPU:    ${number}\n${this.engine.dump()}`);
    const code = this.dumpCode();
    if (code.length > 0) log.warn(`Code around RIP:\n${code.join('\n')}`);
  }

  /** Instructions around RIP; what lies before it is not on every page. */
  private dumpCode(): string[] {
    const { engine, options } = this;
    const { registers } = engine;
    const cs = registers.getSegment(Seg.cs);
    const bitness = codeBitness(engine);
    const at = bitness === 64 ? (registers.rip as bigint) : (cs.base + registers.rip) & 0xffff_ffffn;
    const behind = engine.codeBytes(gva(at), CODE_BEHIND);
    const before = at < BigInt(CODE_BEFORE) ? new Uint8Array(0) : engine.codeBytes(gva(at - BigInt(CODE_BEFORE)), CODE_BEFORE);
    const whole = before.length === CODE_BEFORE;
    return (
      options.disassemble?.(
        whole ? Uint8Array.of(...before, ...behind) : behind,
        whole ? at - BigInt(CODE_BEFORE) : at,
        at,
        bitness,
      ) ?? []
    );
  }

  /** hvm_triple_fault: the toolstack said by a parameter what it means; default: reboot. */
  private tripleFault(): void {
    const { domain, state } = this;
    const reason = domain.paramLo(HvmParam.tripleFaultReason) || ShutdownReason.reboot;
    this.dump(`d${domain.domid}v${state.id} Triple fault - invoking HVM shutdown action ${reason}`);
    domain.shutdown(reason);
  }

  /** hvm_hlt: with interrupts off nothing but an NMI could wake it, so the domain is down. */
  private hlt(): void {
    const { domain, state, engine } = this;
    if (engine.injectionPending) return;
    if (!(engine.registers.rflags & RFLAGS_IF) && !state.nmiPending) {
      domain.pcpu.trace.record(TRC_HVM_HLT, 1, 0);
      domain.shutdown(ShutdownReason.halted);
      return;
    }
    this.block();
    domain.pcpu.trace.record(TRC_HVM_HLT, 1, state.hasPauseFlag(VPF_BLOCKED) ? 0 : 1);
  }

  private hypercallHost(): HypercallHost {
    const { options, domain, state } = this;
    const { timers, events, pcpu } = options;
    const name = (what: string): string => `d${domain.domid}v${state.id} ${what}`;
    const singleshotTimer = timers.create(name('singleshot'), () => events.sendVirq(domain, state.id, VIRQ_TIMER));
    const periodicTimer = timers.create(name('periodic'), (now) => {
      events.sendVirq(domain, state.id, VIRQ_TIMER);
      if (state.periodNs > 0) periodicTimer.set(now + state.periodNs);
    });
    // Only while it still polls: an event may have ended that before.
    const pollTimer = timers.create(name('poll'), () => {
      if (state.poll !== 0) options.notifier.wakePoller(domain, state);
    });
    const pvConsole = new PvConsole({ domain, events, p2m: options.p2m, write: (bytes) => options.consoleWrite?.(bytes) });
    return {
      pcpu,
      domain,
      state,
      p2m: options.p2m,
      engine: options.engine,
      guest: this.guest,
      events,
      irq: options.irq,
      singleshotTimer,
      periodicTimer,
      pollTimer,
      memoryMap: options.memoryMap ?? [],
      consoleWrite: (bytes) => options.consoleWrite?.(bytes),
      portNotified: (port) => pvConsole.notified(port),
      mapcacheInvalidate: () => this.mapcacheInvalidate(),
      block: () => this.block(),
      reassertUpcalls: () => {
        for (const vcpu of domain.vcpus) {
          if (upcallPending(domain, vcpu)) options.notifier.notify(domain, vcpu);
        }
      },
    };
  }

  /** ioreq_signal_mapcache_invalidate. */
  private mapcacheInvalidate(): void {
    const p = newIoreq();
    p.type = IoreqType.invalidate;
    p.size = 4;
    p.dir = IOREQ_WRITE;
    p.dataLo = p.dataHi = 0xffff_ffff;
    const { servers, wait, pcpu } = this.options;
    if (servers.broadcast(this.state, p, wait) > 0) pcpu.log.warn('Unsuccessful map-cache invalidate');
  }

  /** hvm_print_line: printable bytes, tab and newline, handed on by the line. */
  private printDebugByte(byte: number): void {
    const line = this.debugLine;
    if ((byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x09) line.push(byte);
    if (byte !== 0x0a && line.length < DEBUG_LINE) return;
    if (line[line.length - 1] !== 0x0a) line.push(0x0a);
    this.options.consoleWrite?.(Uint8Array.from(line));
    line.length = 0;
  }
}
