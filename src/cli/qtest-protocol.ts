/**
 * The qtest line protocol: one request a line, answered `OK …`, `FAIL …` or `ERR …`; `IRQ raise N` and `IRQ lower N` in
 * between once interrupts are intercepted. Source: QEMU docs/devel/qtest.rst.
 */
import { hex } from '../base/hex.ts';
import type { QtestMachine } from './qtest-machine.ts';

/** Longest memory range one request may name. */
const RANGE_LIMIT = 64 * 1024 * 1024;
const WIDTHS: Readonly<Record<string, number>> = { b: 1, w: 2, l: 4, q: 8 };

/** A request that cannot be served: the text after ERR or FAIL. */
class Refusal extends Error {
  readonly kind: 'ERR' | 'FAIL';

  constructor(kind: 'ERR' | 'FAIL', message: string) {
    super(message);
    this.kind = kind;
  }
}

/** A number as strtoul(text, 0) reads it: decimal, 0x hexadecimal or 0 octal. */
function parseNumber(text: string | undefined, what: string): bigint {
  if (text === undefined) throw new Refusal('ERR', `${what} is missing`);
  if (/^0x[0-9a-f]+$/i.test(text) || /^(0|[1-9]\d*)$/.test(text)) return BigInt(text);
  if (/^0[0-7]+$/.test(text)) return BigInt(`0o${text.slice(1)}`);
  throw new Refusal('ERR', `${what} '${text}' is not a number`);
}

export class QtestProtocol {
  private readonly machine: QtestMachine;
  private readonly send: (line: string) => void;
  private intercepted: string | undefined;

  /** @param send takes one line without its end */
  constructor(machine: QtestMachine, send: (line: string) => void) {
    this.machine = machine;
    this.send = send;
    machine.irqs.add(({ pin, level }) => {
      if (this.intercepted !== undefined) send(`IRQ ${level ? 'raise' : 'lower'} ${pin}`);
    });
  }

  /** Serve one request. */
  request(line: string): void {
    const words = line
      .trim()
      .split(' ')
      .filter((word) => word !== '');
    if (words.length === 0) return;
    let answer: string;
    try {
      answer = this.serve(words[0]!, words.slice(1));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      answer = `${error.kind} ${error.message}`;
    }
    this.send(answer);
  }

  private serve(command: string, args: readonly string[]): string {
    const access = /^(in|out|read|write)([bwlq])$/.exec(command);
    if (access && !(access[2] === 'q' && (access[1] === 'in' || access[1] === 'out')))
      return this.access(access[1]!, WIDTHS[access[2]!]!, args);
    switch (command) {
      case 'endianness':
        return 'OK little';
      case 'read':
        return `OK 0x${Buffer.from(this.read(args)).toString('hex')}`;
      case 'b64read':
        return `OK ${Buffer.from(this.read(args)).toString('base64')}`;
      case 'write':
        return this.write(args, this.hexBytes(args[2]));
      case 'b64write':
        return this.write(args, Buffer.from(args[2] ?? '', 'base64'));
      case 'memset': {
        const length = this.length(args, 0);
        const address = this.address(args[0]);
        this.machine.writeBytes(address, new Uint8Array(length).fill(Number(parseNumber(args[2], 'value') & 0xffn)));
        return 'OK';
      }
      case 'clock_step': {
        const { clock } = this.machine;
        const next = Number.isFinite(clock.nextNs) ? clock.nextNs : clock.nowNs();
        clock.advance(args.length > 0 ? clock.nowNs() + Number(parseNumber(args[0], 'time')) : next);
        return `OK ${clock.nowNs()}`;
      }
      case 'clock_set': {
        this.machine.clock.advance(Number(parseNumber(args[0], 'time')));
        return `OK ${this.machine.clock.nowNs()}`;
      }
      case 'irq_intercept_in':
      case 'irq_intercept_out':
        return this.intercept(command, args[0]);
      case 'set_irq_in': {
        if (args[0] !== 'ioapic' && !args[0]?.endsWith('/ioapic')) throw new Refusal('FAIL', 'Unknown device');
        this.machine.setPin(Number(parseNumber(args[2], 'line')), parseNumber(args[3], 'level') !== 0n);
        return 'OK';
      }
      case 'module_load':
        throw new Refusal('FAIL', 'modules are not supported');
      default:
        throw new Refusal('FAIL', `Unknown command '${command}'`);
    }
  }

  private access(direction: string, size: number, args: readonly string[]): string {
    if (direction === 'in' || direction === 'out') {
      const port = Number(parseNumber(args[0], 'port'));
      if (port > 0xffff) throw new Refusal('ERR', `port 0x${hex(port, 4)} is past 0xffff`);
      if (direction === 'in') return `OK 0x${hex(this.machine.ports.read(port, size), 4)}`;
      this.machine.ports.write(port, size, Number(BigInt.asUintN(size * 8, parseNumber(args[1], 'value'))));
      return 'OK';
    }
    const address = this.address(args[0]);
    if (direction === 'read') return `OK 0x${hex(this.machine.readMemory(address, size), 16)}`;
    this.machine.writeMemory(address, size, parseNumber(args[1], 'value'));
    return 'OK';
  }

  private address(text: string | undefined): number {
    const address = parseNumber(text, 'address');
    if (address >= 1n << 52n) throw new Refusal('ERR', `address 0x${hex(address, 1)} is past 52 bits`);
    return Number(address);
  }

  private length(args: readonly string[], least: number): number {
    const length = Number(parseNumber(args[1], 'length'));
    if (length < least || length > RANGE_LIMIT) throw new Refusal('ERR', `length ${length}: expected ${least} to ${RANGE_LIMIT}`);
    return length;
  }

  private read(args: readonly string[]): Uint8Array {
    return this.machine.readBytes(this.address(args[0]), this.length(args, 1));
  }

  /** Data shorter than the range is filled up with zeros; longer data is cut. */
  private write(args: readonly string[], data: Uint8Array): string {
    const bytes = new Uint8Array(this.length(args, 1));
    bytes.set(data.subarray(0, bytes.length));
    this.machine.writeBytes(this.address(args[0]), bytes);
    return 'OK';
  }

  private hexBytes(text: string | undefined): Uint8Array {
    if (text === undefined || !/^0x([0-9a-f]{2})*$/i.test(text))
      throw new Refusal('ERR', 'data: expected 0x and hexadecimal bytes');
    return Buffer.from(text.slice(2), 'hex');
  }

  /** One device for the whole run, as QEMU has it; its inputs are the I/O APIC's. */
  private intercept(command: string, path: string | undefined): string {
    if (path === undefined || (path !== 'ioapic' && !path.endsWith('/ioapic')) || command === 'irq_intercept_out')
      throw new Refusal('FAIL', 'Unknown device');
    if (this.intercepted !== undefined && this.intercepted !== path) throw new Refusal('FAIL', 'IRQ intercept already enabled');
    this.intercepted = path;
    return 'OK';
  }
}
