/** What GDB asks of a machine: one packet in, one out. Runs are done in slices, so that an interrupt is seen. */
import { UserError } from '../../base/errors.ts';
import type { Debugger } from '../commands.ts';
import { Inspector } from '../inspect.ts';
import type { Position } from '../../machine/state/machine-state.ts';
import { type Timeline, touches, type WatchedAccess, type WatchedRange, type WatchKind } from '../timeline.ts';
import { fromHex, PACKET_SIZE, toHex } from './packets.ts';
import { gdbRegisters, linearRip, targetDescription } from './registers.ts';

const SIGINT = 'T02thread:1;';
const SIGTRAP = 'T05thread:1;';
/** Longest stretch of a run between two looks for an interrupt, in milliseconds. */
const SLICE_MS = 100;
const MOST_STOPS = 256;

interface Watchpoint {
  readonly address: bigint;
  readonly length: number;
  readonly kind: WatchKind;
}

/** Kinds by the number in a Z packet, and the name in the answer that says where the run stopped. */
const WATCH_KINDS: readonly (WatchKind | undefined)[] = [undefined, undefined, 'write', 'read', 'access'];
const WATCH_NAMES: Readonly<Record<WatchKind, string>> = { write: 'watch', read: 'rwatch', access: 'awatch' };

export class GdbSession {
  /** The client wants no more acknowledgements. */
  noAck = false;
  private readonly debug: Debugger;
  private readonly timeline: Timeline;
  private readonly inspector: Inspector;
  private readonly breakpoints = new Set<bigint>();
  private readonly watchpoints: Watchpoint[] = [];
  private interrupted = false;

  constructor(debug: Debugger) {
    this.debug = debug;
    this.timeline = debug.timeline;
    this.inspector = new Inspector(debug.timeline.machine);
  }

  /** Stop what runs. */
  interrupt(): void {
    this.interrupted = true;
  }

  /** The answer to a packet; undefined: the session is over. `breathe` lets the thread see what has come meanwhile. */
  async answer(data: string, breathe: () => Promise<void>): Promise<string | undefined> {
    const rest = data.slice(1);
    switch (data[0]) {
      case '?':
        return SIGTRAP;
      case 'g':
        return gdbRegisters.map((register) => toHex(register.read(this.registers))).join('');
      case 'G':
        return this.writeAll(rest);
      case 'p': {
        const register = gdbRegisters[Number.parseInt(rest, 16)];
        return register === undefined ? 'E01' : toHex(register.read(this.registers));
      }
      case 'P':
        return this.writeOne(rest);
      case 'm':
        return this.readMemory(rest);
      case 'M':
        return this.writeMemory(rest);
      case 'Z':
      case 'z':
        return this.changeStop(data[0] === 'Z', rest);
      case 'c':
        return this.resume(breathe);
      case 's':
        return this.stepForward();
      case 'b':
        return rest === 's' ? this.stepBack() : rest === 'c' ? this.resumeBackwards() : '';
      case 'v':
        return this.verbose(data, breathe);
      case 'q':
      case 'Q':
        return this.query(data);
      case 'H':
      case 'T':
        return 'OK';
      case 'D':
        return 'OK';
      case 'k':
        return undefined;
      default:
        return '';
    }
  }

  private get registers() {
    return this.timeline.machine.hvm.engine.registers;
  }

  private async verbose(data: string, breathe: () => Promise<void>): Promise<string> {
    if (data === 'vCont?') return 'vCont;c;C;s;S';
    const action = /^vCont;([cCsS])/.exec(data)?.[1];
    if (action === undefined) return '';
    return action === 'c' || action === 'C' ? this.resume(breathe) : this.stepForward();
  }

  private query(data: string): string {
    if (data.startsWith('qSupported'))
      return `PacketSize=${PACKET_SIZE.toString(16)};qXfer:features:read+;ReverseStep+;ReverseContinue+;QStartNoAckMode+;swbreak+;hwbreak+;vContSupported+`;
    if (data === 'QStartNoAckMode') {
      this.noAck = true;
      return 'OK';
    }
    if (data === 'qC') return 'QC1';
    if (data === 'qfThreadInfo') return 'm1';
    if (data === 'qsThreadInfo') return 'l';
    if (data.startsWith('qAttached')) return '1';
    if (data.startsWith('qThreadExtraInfo')) return toHex(new TextEncoder().encode('vCPU 0'));
    const part = /^qXfer:features:read:target\.xml:([0-9a-f]+),([0-9a-f]+)$/.exec(data);
    if (part !== null) {
      const at = Number.parseInt(part[1]!, 16);
      const length = Math.min(Number.parseInt(part[2]!, 16), PACKET_SIZE / 2);
      const piece = targetDescription.slice(at, at + length);
      return `${at + length < targetDescription.length ? 'm' : 'l'}${piece}`;
    }
    if (data.startsWith('qRcmd,')) return this.monitor(data.slice('qRcmd,'.length));
    return '';
  }

  /** `monitor`: the debugger's own commands. */
  private monitor(hexText: string): string {
    const bytes = fromHex(hexText);
    if (bytes === undefined) return 'E01';
    let text: string;
    try {
      text = this.debug.execute(new TextDecoder().decode(bytes)).text;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      text = error.message;
    }
    this.arm();
    return toHex(new TextEncoder().encode(`${text}\n`.slice(0, PACKET_SIZE / 2 - 1)));
  }

  private writeAll(text: string): string {
    const bytes = fromHex(text);
    if (bytes === undefined) return 'E01';
    let at = 0;
    for (const register of gdbRegisters) {
      const part = bytes.subarray(at, at + register.bits / 8);
      at += register.bits / 8;
      if (part.length * 8 === register.bits) register.write?.(this.registers, part);
    }
    this.timeline.beginHere();
    return 'OK';
  }

  private writeOne(text: string): string {
    const [number, value] = text.split('=');
    const register = gdbRegisters[Number.parseInt(number ?? '', 16)];
    const bytes = fromHex(value ?? '');
    if (register?.write === undefined || bytes === undefined || bytes.length * 8 !== register.bits) return 'E01';
    register.write(this.registers, bytes);
    this.timeline.beginHere();
    return 'OK';
  }

  private readMemory(text: string): string {
    const found = /^([0-9a-f]{1,16}),([0-9a-f]{1,8})$/i.exec(text);
    if (found === null) return 'E01';
    const bytes = this.inspector.linear(BigInt(`0x${found[1]}`), Math.min(Number.parseInt(found[2]!, 16), PACKET_SIZE / 2 - 4));
    return bytes.length === 0 ? 'E14' : toHex(bytes);
  }

  private writeMemory(text: string): string {
    const found = /^([0-9a-f]{1,16}),([0-9a-f]{1,8}):([0-9a-f]*)$/i.exec(text);
    const bytes = fromHex(found?.[3] ?? 'x');
    if (found === null || bytes === undefined || bytes.length !== Number.parseInt(found[2]!, 16)) return 'E01';
    if (this.inspector.writeLinear(BigInt(`0x${found[1]}`), bytes) !== bytes.length) return 'E14';
    this.timeline.beginHere();
    return 'OK';
  }

  private changeStop(isOn: boolean, text: string): string {
    const found = /^([0-4]),([0-9a-f]{1,16}),([0-9a-f]{1,8})/i.exec(text);
    if (found === null) return 'E01';
    const type = Number(found[1]);
    const kind = WATCH_KINDS[type];
    const address = BigInt(`0x${found[2]}`);
    const length = Number.parseInt(found[3]!, 16);
    if (kind === undefined) {
      if (isOn && this.breakpoints.size >= MOST_STOPS) return 'E0c';
      if (isOn) this.breakpoints.add(address);
      else this.breakpoints.delete(address);
    } else {
      const at = this.watchpoints.findIndex((w) => w.address === address && w.length === length && w.kind === kind);
      if (!isOn && at >= 0) this.watchpoints.splice(at, 1);
      if (isOn && at < 0) {
        if (this.watchpoints.length >= MOST_STOPS || length < 1 || length > 4096) return 'E0c';
        this.watchpoints.push({ address, length, kind });
      }
    }
    this.arm();
    return 'OK';
  }

  /** Guest-physical places of the watchpoints, as the page tables are now. */
  private ranges(): (WatchedRange & { readonly watchpoint: Watchpoint })[] {
    return this.watchpoints.flatMap((watchpoint) => {
      const { gpa } = this.inspector.walk(watchpoint.address);
      return gpa === undefined ? [] : [{ gpa, length: watchpoint.length, kind: watchpoint.kind, watchpoint }];
    });
  }

  private arm(): void {
    this.timeline.setStops([...this.breakpoints].map((address) => Number(BigInt.asIntN(64, address))));
  }

  private async resume(breathe: () => Promise<void>): Promise<string> {
    this.interrupted = false;
    const from = this.timeline.position;
    const ranges = this.ranges();
    let hit: WatchedAccess | undefined;
    this.arm();
    if (ranges.length > 0)
      this.timeline.setWatch({
        ranges,
        hit: (access) => {
          hit ??= access;
          return true;
        },
      });
    try {
      for (;;) {
        const until = performance.now() + SLICE_MS;
        const { instructions } = this.timeline.position;
        const end = this.timeline.forwardToStop({ when: () => performance.now() > until });
        if (end !== 'paused') return 'W00';
        if (hit !== undefined) break;
        if (this.timeline.position.instructions !== instructions && this.isAtBreakpoint()) return SIGTRAP;
        await breathe();
        if (this.interrupted) return SIGINT;
      }
    } finally {
      this.timeline.setWatch(undefined);
    }
    if (hit.by === 'guest') {
      // The run stands behind the block that wrote: the place is right behind the instruction.
      this.timeline.setStops([]);
      const instruction = this.timeline.pinpoint(1, from, ranges);
      this.timeline.goTo({ instructions: instruction + 1 });
      this.arm();
    }
    return this.watchStop(hit, ranges);
  }

  private watchStop(access: WatchedAccess, ranges: ReturnType<GdbSession['ranges']>): string {
    const { kind, address } = ranges.find((range) => touches(access, range))!.watchpoint;
    return `T05thread:1;${WATCH_NAMES[kind]}:${address.toString(16)};`;
  }

  private isAtBreakpoint(): boolean {
    return this.breakpoints.has(linearRip(this.registers));
  }

  private stepForward(): string {
    const { instructions } = this.timeline.position;
    return this.timeline.goTo({ instructions: instructions + 1 }) === 'paused' ? SIGTRAP : 'W00';
  }

  private stepBack(): string {
    const { timeline } = this;
    const { instructions } = timeline.position;
    const first = timeline.kept.positions[0]!.instructions;
    if (instructions <= first) return 'T05thread:1;replaylog:begin;';
    timeline.goTo({ instructions: instructions - 1 });
    return SIGTRAP;
  }

  /**
   * To the last place before a device touched memory. That came within an exit, or while the guest slept; behind it GDB would find the
   * value that it knows, and go back once more.
   */
  private goBefore({ instructions, exits, ns }: Position): void {
    for (const target of [{ instructions, exits: exits - 1 }, { instructions }, { instructions: instructions - 1 }]) {
      this.timeline.goTo(target);
      if (this.timeline.position.ns < ns) return;
    }
  }

  private resumeBackwards(): string {
    const { timeline } = this;
    const here = timeline.position;
    const ranges = this.ranges();
    type Found = {
      readonly position: Position;
      readonly watch?: { readonly access: WatchedAccess; readonly hits: number; readonly from: Position };
    };
    const found = timeline.search<Found>(here, () => {
      const from = timeline.position;
      let last: Found | undefined;
      let hits = 0;
      if (ranges.length > 0)
        timeline.setWatch({
          ranges,
          hit: (access) => {
            if (access.by === 'guest') hits++;
            last = { position: timeline.position, watch: { access, hits, from } };
            return false;
          },
        });
      const stop = timeline.observe(() => {
        const { position } = timeline;
        if (this.isAtBreakpoint() && position.instructions < here.instructions) last = { position };
      });
      return () => {
        stop();
        timeline.setWatch(undefined);
        return last;
      };
    });
    if (found === undefined) {
      timeline.goTo(timeline.kept.positions[0]!);
      return 'T05thread:1;replaylog:begin;';
    }
    if (found.watch?.access.by === 'guest') {
      timeline.setStops([]);
      timeline.goTo({ instructions: timeline.pinpoint(found.watch.hits, found.watch.from, ranges) });
      this.arm();
    } else if (found.watch !== undefined) this.goBefore(found.position);
    else timeline.goTo(found.position);
    return found.watch === undefined ? SIGTRAP : this.watchStop(found.watch.access, ranges);
  }
}
