/** The debugger's commands: one line in, an answer out, as text and as data. */
import { UserError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { ExitReason } from '../cpu/interface.ts';
import type { Position } from '../machine/state/machine-state.ts';
import { Inspector, registerNames } from './inspect.ts';
import type { Happening, HappeningKind, Timeline } from './timeline.ts';
import { whoWroteMemory, whoWroteRegister } from './who.ts';

export interface Answer {
  /** Lines for a person. */
  readonly text: string;
  /** The same as data. */
  readonly data: unknown;
  /** The session is over. */
  readonly quit?: boolean;
}

type Disassemble = (code: Uint8Array, address: bigint, at: bigint, bitness: 16 | 32 | 64) => string[];

interface Command {
  readonly usage: string;
  readonly doc: string;
  run(words: readonly string[]): Answer;
}

const STEPS: readonly (HappeningKind | 'instruction')[] = ['instruction', 'exit', 'doorbell', 'interrupt', 'dma'];

/** A whole number, decimal or 0x…; throws UserError for anything else. */
function parseNumber(text: string | undefined, what: string): number {
  const value = text === undefined || text === '' ? Number.NaN : Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new UserError(`${what}: expected a whole number, decimal or 0x…`);
  return value;
}

function parseAddress(text: string | undefined): bigint {
  if (text === undefined || !/^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(text))
    throw new UserError('expected a linear address: 0x… or decimal');
  return BigInt.asUintN(64, BigInt(text));
}

const place = ({ instructions, exits, ns }: Position): string =>
  `instruction ${instructions}, exit ${exits}, ${(ns / 1e9).toFixed(9)} s`;

const rows = (data: Record<string, unknown>): string =>
  Object.entries(data)
    .map(([name, value]) => `${name.padEnd(16)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
    .join('\n');

const reasonName = (reason: number): string =>
  Object.entries(ExitReason).find(([, number]) => number === reason)?.[0] ?? String(reason);

function happeningText(happening: Happening): string {
  switch (happening.kind) {
    case 'exit':
      return `exit: ${reasonName(happening.reason)}`;
    case 'doorbell':
      return `write of ${happening.write.nic} ${happening.write.register} = 0x${hex(happening.write.value)} ${happening.write.text}`;
    case 'interrupt':
      return `interrupt: vector 0x${hex(happening.vector, 2)}`;
    case 'dma':
      return `DMA: ${happening.length} bytes to gpa 0x${hex(happening.gpa)}`;
  }
}

export class Debugger {
  readonly timeline: Timeline;
  private readonly inspector: Inspector;
  private readonly disassemble: Disassemble | undefined;
  private readonly commands: Record<string, Command>;

  constructor(timeline: Timeline, disassemble?: Disassemble) {
    this.timeline = timeline;
    this.inspector = new Inspector(timeline.machine);
    this.disassemble = disassemble;
    this.commands = this.table();
  }

  /** Names of all commands, for completion. */
  get names(): readonly string[] {
    return Object.keys(this.commands);
  }

  /** Do what a line says. Throws UserError for what cannot be. */
  execute(line: string): Answer {
    const words = line.trim().split(/\s+/);
    const name = words[0]!;
    if (name === '' || name.startsWith('#')) return { text: '', data: null };
    const command = Object.hasOwn(this.commands, name) ? this.commands[name] : undefined;
    if (command === undefined) throw new UserError(`'${name}' is not a command; help lists them`);
    return command.run(words.slice(1));
  }

  /** Where the run stands, with the next instruction. */
  private where(before = ''): Answer {
    const { position, end } = this.timeline;
    const { bytes, address, at, bitness } = this.inspector.code();
    const next = this.disassemble?.(bytes, address, at, bitness).find((text) => text.startsWith('>')) ?? `  ${at.toString(16)}`;
    const state = end === undefined ? '' : ` (the run has ended: ${end})`;
    return {
      text: `${before === '' ? '' : `${before}\n`}at ${place(position)}${state}\n${next}`,
      data: {
        ...position,
        rip: `0x${at.toString(16)}`,
        next: next.trim(),
        ...(end === undefined ? {} : { end }),
        ...(before === '' ? {} : { happening: before }),
      },
    };
  }

  private table(): Record<string, Command> {
    const { timeline, inspector } = this;
    const rowsOf = (data: Record<string, unknown>): Answer => ({ text: rows(data), data });
    const listOf = (data: Record<string, unknown>[]): Answer => ({
      text:
        data.length === 0
          ? 'nothing'
          : data
              .map((row) =>
                Object.entries(row)
                  .map(([k, v]) => `${k} ${String(v)}`)
                  .join('  '),
              )
              .join('\n'),
      data,
    });
    return {
      help: {
        usage: 'help',
        doc: 'list the commands',
        run: () => {
          const all = Object.values(this.commands).map(({ usage, doc }) => ({ usage, doc }));
          return { text: all.map(({ usage, doc }) => `${usage.padEnd(46)} ${doc}`).join('\n'), data: all };
        },
      },
      where: { usage: 'where', doc: 'show the current position of the run', run: () => this.where() },
      goto: {
        usage: 'goto instruction|exit N | time SECONDS | start',
        doc: 'go there, forwards or backwards',
        run: ([kind, value]) => {
          if (kind === 'start') timeline.goTo(timeline.kept.positions[0]!);
          else if (kind === 'instruction') timeline.goTo({ instructions: parseNumber(value, 'goto instruction') });
          else if (kind === 'exit') timeline.goTo({ exits: parseNumber(value, 'goto exit') });
          else if (kind === 'time' && Number(value) >= 0) timeline.goTo({ ns: Math.round(Number(value) * 1e9) });
          else throw new UserError('goto: expected instruction N, exit N, time SECONDS or start');
          return this.where();
        },
      },
      run: {
        usage: 'run [rip ADDRESS | console TEXT | reg NAME VALUE | exit REASON | interrupt VECTOR | doorbell NAME]',
        doc: 'go on to the end, or until that is so',
        run: (words) => this.runTo(words),
      },
      step: { usage: `step [${STEPS.join('|')}] [COUNT]`, doc: 'go on by one', run: (words) => this.step(words, true) },
      back: { usage: `back [${STEPS.join('|')}] [COUNT]`, doc: 'go back by one', run: (words) => this.step(words, false) },
      'who-wrote': {
        usage: 'who-wrote GPA [LENGTH] | REGISTER [NIC]',
        doc: 'the last write of guest memory or of a NIC register before here',
        run: ([what, more]) => {
          if (what === undefined)
            throw new UserError('who-wrote: expected a guest-physical address or the name of a NIC register');
          const isAddress = /^(0x[0-9a-f]+|\d+)$/i.test(what);
          const writer = isAddress
            ? whoWroteMemory(
                timeline,
                parseNumber(what, 'who-wrote'),
                more === undefined ? 1 : Math.max(1, Math.min(4096, parseNumber(more, 'who-wrote'))),
              )
            : whoWroteRegister(timeline, more === undefined ? 0 : parseNumber(more, 'who-wrote'), what);
          if (writer === undefined)
            throw new UserError(`who-wrote ${what}: no NIC has a register of this name; info nic lists them`);
          return { text: `${writer.by}: ${writer.text}\nat ${place(writer.position)}`, data: writer };
        },
      },
      x: {
        usage: 'x ADDRESS [BYTES]',
        doc: 'memory at a linear address',
        run: ([address, count]) => {
          const at = parseAddress(address);
          return this.dump(at, this.inspector.linear(at, Math.min(4096, count === undefined ? 64 : parseNumber(count, 'x'))));
        },
      },
      xp: {
        usage: 'xp GPA [BYTES]',
        doc: 'memory at a guest-physical address',
        run: ([address, count]) => {
          const at = parseNumber(address, 'xp');
          const bytes = inspector.physical(at, Math.min(4096, count === undefined ? 64 : parseNumber(count, 'xp')));
          if (bytes === undefined) throw new UserError(`xp ${address}: the guest has no RAM there`);
          return this.dump(BigInt(at), bytes);
        },
      },
      walk: {
        usage: 'walk ADDRESS',
        doc: "the guest's page walk of a linear address, on to the machine frame",
        run: ([address]) => {
          const walk = inspector.walk(parseAddress(address));
          const steps = walk.steps.map((s) => `${s.entry.padEnd(6)} gpa 0x${hex(s.gpa)}  0x${s.value.toString(16)}  ${s.flags}`);
          const p2m = walk.gpa === undefined ? undefined : inspector.p2m(inspector.gfn(walk.gpa));
          const end = walk.gpa === undefined ? 'not mapped' : `gpa 0x${hex(walk.gpa)} → mfn ${p2m?.mfn} (${p2m?.type})`;
          const data = { steps: walk.steps.map((s) => ({ ...s, value: `0x${s.value.toString(16)}` })), gpa: walk.gpa, p2m };
          return { text: [...steps, end].join('\n'), data };
        },
      },
      p2m: {
        usage: 'p2m GFN',
        doc: "a guest frame's entry in the p2m",
        run: ([gfn]) => rowsOf(inspector.p2m(parseNumber(gfn, 'p2m'))),
      },
      ring: {
        usage: 'ring transmit|receive GPA [COUNT]',
        doc: "descriptors of the first NIC's ring",
        run: ([direction, base, count]) => {
          if (direction !== 'transmit' && direction !== 'receive')
            throw new UserError('ring: expected transmit or receive, then its gpa');
          return listOf(
            inspector.ring(
              0,
              direction,
              parseNumber(base, 'ring'),
              Math.min(256, count === undefined ? 8 : parseNumber(count, 'ring')),
            ),
          );
        },
      },
      disassemble: {
        usage: 'disassemble',
        doc: 'code around the next instruction',
        run: () => {
          const { bytes, address, at, bitness } = inspector.code();
          const lines = this.disassemble?.(bytes, address, at, bitness) ?? [];
          return { text: lines.join('\n'), data: lines };
        },
      },
      info: {
        usage: 'info registers|ioreq|events|interrupts|nic [N]|mapcache|timers|log [LINES]|console|states',
        doc: 'list the commands',
        run: ([what, more]) => {
          switch (what) {
            case 'registers':
              return rowsOf(inspector.registers());
            case 'ioreq':
              return rowsOf(inspector.ioreq());
            case 'events':
              return listOf(inspector.eventChannels());
            case 'interrupts':
              return rowsOf(inspector.interrupts());
            case 'nic': {
              const nic = inspector.nic(more === undefined ? 0 : parseNumber(more, 'info nic'));
              if (nic === undefined) throw new UserError('info nic: the machine has no such NIC');
              return rowsOf(nic);
            }
            case 'mapcache':
              return rowsOf(inspector.mapCache());
            case 'timers':
              return rowsOf(inspector.timers());
            case 'log': {
              timeline.machine.deviceModel.flush();
              const lines = timeline.logTail.slice(-(more === undefined ? 20 : parseNumber(more, 'info log')));
              return { text: lines.join('\n'), data: lines };
            }
            case 'console':
              return { text: timeline.consoleTail, data: timeline.consoleTail };
            case 'states':
              return {
                text: `${timeline.kept.positions.length} states, ${(timeline.kept.bytes / 2 ** 20).toFixed(1)} MiB of pages`,
                data: timeline.kept,
              };
            default:
              throw new UserError(`info ${what ?? ''}: expected ${this.commands['info']!.usage.slice('info '.length)}`);
          }
        },
      },
      quit: { usage: 'quit', doc: 'end the session', run: () => ({ text: '', data: null, quit: true }) },
    };
  }

  private dump(at: bigint, bytes: Uint8Array): Answer {
    if (bytes.length === 0) throw new UserError(`0x${at.toString(16)}: nothing is mapped there`);
    const lines: string[] = [];
    for (let i = 0; i < bytes.length; i += 16) {
      const line = bytes.subarray(i, i + 16);
      const text = String.fromCharCode(...line).replace(/[^\x20-\x7e]/g, '.');
      lines.push(
        `${(at + BigInt(i)).toString(16).padStart(16, '0')}  ${[...line]
          .map((b) => hex(b, 2))
          .join(' ')
          .padEnd(47)}  ${text}`,
      );
    }
    return { text: lines.join('\n'), data: [...bytes].map((b) => hex(b, 2)).join('') };
  }

  private step([first = 'instruction', second]: readonly string[], forwards: boolean): Answer {
    const isCount = /^\d+$/.test(first);
    const kind = isCount ? 'instruction' : first;
    if (!(STEPS as readonly string[]).includes(kind))
      throw new UserError(`${forwards ? 'step' : 'back'}: expected ${STEPS.join(', ')} or a count`);
    const countText = isCount ? first : second;
    const count = countText === undefined ? 1 : parseNumber(countText, 'count');
    const { timeline } = this;
    const { instructions, exits } = timeline.position;
    if (kind === 'instruction') {
      timeline.goTo({ instructions: Math.max(0, instructions + (forwards ? count : -count)) });
      return this.where();
    }
    if (kind === 'exit') {
      timeline.goTo({ exits: Math.max(0, exits + (forwards ? count : -count)) });
      return this.where();
    }
    let text = '';
    for (let i = 0; i < count; i++) {
      const happening = forwards ? timeline.next((h) => h.kind === kind) : timeline.previous((h) => h.kind === kind)?.happening;
      if (happening === undefined) return this.where(`no ${kind} ${forwards ? 'comes' : 'came before'}`);
      text = happeningText(happening);
    }
    return this.where(text);
  }

  private runTo([what, ...rest]: readonly string[]): Answer {
    const { timeline } = this;
    const { engine } = timeline.machine.hvm;
    switch (what) {
      case undefined:
        timeline.forward({});
        return this.where();
      case 'rip': {
        timeline.setStops([Number(BigInt.asIntN(64, parseAddress(rest[0])))]);
        timeline.forwardToStop();
        timeline.setStops([]);
        return this.where();
      }
      case 'console': {
        const wanted = rest.join(' ');
        timeline.consoleTail = '';
        timeline.forward({ when: () => timeline.consoleTail.includes(wanted) });
        return this.where();
      }
      case 'reg': {
        const index = registerNames.indexOf(rest[0] as (typeof registerNames)[number]);
        const value = parseAddress(rest[1]);
        if (index < 0) throw new UserError(`run reg: expected one of ${registerNames.join(', ')}`);
        // Looked at between instructions, one by one: no write of a register is missed.
        while (timeline.end === undefined && engine.registers.getGpr(index) !== value)
          timeline.forward({ instructions: timeline.position.instructions + 1 });
        return this.where();
      }
      case 'exit': {
        const found = timeline.next(
          (h) => h.kind === 'exit' && (reasonName(h.reason) === rest[0] || String(h.reason) === rest[0]),
        );
        return this.where(found === undefined ? 'no such exit comes' : happeningText(found));
      }
      case 'interrupt': {
        const vector = parseNumber(rest[0], 'run interrupt');
        const found = timeline.next((h) => h.kind === 'interrupt' && h.vector === vector);
        return this.where(found === undefined ? 'no such interrupt comes' : happeningText(found));
      }
      case 'doorbell': {
        const found = timeline.next((h) => h.kind === 'doorbell' && h.write.register === rest[0]);
        return this.where(found === undefined ? 'no such write comes' : happeningText(found));
      }
      default:
        throw new UserError(`run ${what}: expected ${this.commands['run']!.usage.slice('run '.length)}`);
    }
  }
}
