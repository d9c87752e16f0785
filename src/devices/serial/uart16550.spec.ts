import { describe, expect, it } from 'vitest';
import { uartRegisters } from './registers.ts';
import { Uart16550 } from './uart16550.ts';

function setUp() {
  const out: number[] = [];
  const irq: boolean[] = [];
  const uart = new Uart16550({ transmit: (byte) => out.push(byte), setIrq: (level) => irq.push(level) });
  const write = (offset: number, value: number): void => uart.write(offset, 1, value);
  return { uart, out, irq, write };
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('16550A', () => {
  it('sends what is written, and is always ready for more', () => {
    const { uart, out, write } = setUp();
    write(0, 0x41);
    write(0, 0x42);
    expect(out).toEqual([0x41, 0x42]);
    expect(uart.read(5)).toBe(0x60);
  });

  it("shows every register's reset value", () => {
    const { uart } = setUp();
    for (const register of uartRegisters)
      if ('reset' in register) expect(uart.read(register.offset), register.name).toBe(register.reset);
  });

  it('keeps the divisor behind DLAB and does not send it', () => {
    const { uart, out, write } = setUp();
    write(3, 0x83);
    write(0, 0x01);
    write(1, 0x02);
    expect([uart.read(0), uart.read(1)]).toEqual([1, 2]);
    write(3, 0x03);
    expect(uart.read(1)).toBe(0);
    expect(out).toEqual([]);
  });

  it('identifies as 16550A: FIFO bits in IIR, scratch register, IER keeps four bits', () => {
    const { uart, write } = setUp();
    write(2, 1);
    expect(uart.read(2)).toBe(0xc1);
    write(7, 0xa5);
    expect(uart.read(7)).toBe(0xa5);
    write(1, 0xff);
    expect(uart.read(1)).toBe(0x0f);
  });

  it('interrupts when the transmitter is empty, until IIR is read', () => {
    const { uart, irq, write } = setUp();
    write(1, 2);
    expect(irq).toEqual([true]);
    expect(uart.read(2)).toBe(2);
    expect(irq).toEqual([true, false]);
    expect(uart.read(2)).toBe(1);
    write(0, 0x41);
    expect(irq).toEqual([true, false, true]);
    write(1, 0);
    expect(irq).toEqual([true, false, true, false]);
  });

  it('receives through the FIFO: data at the trigger level, timeout below, the rest waits', () => {
    const { uart, irq, write } = setUp();
    write(2, 0x81); // FIFO on, trigger 8
    write(1, 1);
    uart.receive(bytes('abc'));
    expect(irq).toEqual([true]);
    expect(uart.read(2)).toBe(0xcc);
    uart.receive(bytes('defghijklmnopqrstuvw'));
    expect(uart.read(2)).toBe(0xc4);
    let text = '';
    while (uart.read(5) & 1) text += String.fromCharCode(uart.read(0));
    expect(text).toBe('abcdefghijklmnopqrstuvw');
    expect(irq).toEqual([true, false]);
    expect(uart.read(0)).toBe(0);
  });

  it('takes one character at a time with the FIFO off and loses none', () => {
    const { uart } = setUp();
    uart.receive(bytes('xyz'));
    expect([uart.read(0), uart.read(0), uart.read(0)]).toEqual([0x78, 0x79, 0x7a]);
  });

  it('loops back in loop mode: characters and modem lines', () => {
    const { uart, out, write } = setUp();
    expect(uart.read(6)).toBe(0xb0);
    write(4, 0x1a); // LOOP, RTS, OUT2: what Linux probes with
    expect(uart.read(6) & 0xf0).toBe(0x90);
    write(0, 0x55);
    write(0, 0x66);
    expect(out).toEqual([]);
    expect(uart.read(5)).toBe(0x63);
    expect(uart.read(0)).toBe(0x55);
    expect(uart.read(5)).toBe(0x60);
  });

  it('notes changes of modem lines once', () => {
    const { uart, irq, write } = setUp();
    write(1, 8);
    write(4, 0x10);
    expect(irq).toEqual([true]);
    expect(uart.read(2)).toBe(0);
    expect(uart.read(6)).toBe(0x0b);
    expect(uart.read(6)).toBe(0);
    expect(irq).toEqual([true, false]);
  });

  it('continues from a saved state', () => {
    const a = setUp();
    a.write(2, 1);
    a.write(1, 3);
    a.write(7, 9);
    a.uart.receive(bytes('the quick brown fox jumps'));
    a.uart.read(0);
    const b = setUp();
    b.uart.restore(structuredClone(a.uart.save()));
    const rest = (u: Uart16550): number[] => Array.from({ length: 30 }, () => [u.read(5), u.read(2), u.read(0)]).flat();
    expect(rest(b.uart)).toEqual(rest(a.uart));
    expect(b.irq[0]).toBe(true);
  });

  it('bounds what waits for a guest that never reads', () => {
    const { uart } = setUp();
    for (let i = 0; i < 3; i++) uart.receive(new Uint8Array(60_000));
    expect(uart.save().backlog.length).toBeLessThanOrEqual(65_536);
  });
});
