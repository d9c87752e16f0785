import { describe, expect, it } from 'vitest';
import { platformMachine } from '../testing/platform.ts';

/** Command words (8259A data sheet): edge-triggered, cascaded, ICW4 to come. */
const ICW1 = 0x11;
const ICW4_8086 = 0x01;
const ICW4_AUTO_EOI = 0x02;
const EOI = 0x20;
const specificEoi = (line: number): number => 0x60 | line;
const ROTATE_ON_EOI = 0xa0;
const setLowest = (line: number): number => 0xc0 | line;
const READ_ISR = 0x0b;
const POLL = 0x0c;
const SPECIAL_MASK_MODE = 0x68;

/** As Linux sets them up: vectors 0x30 and 0x38, all lines open. */
const machine = (icw4 = ICW4_8086) => {
  const m = platformMachine();
  const { read, write } = m.ports;
  const initialise = (chip: 'MASTER' | 'SLAVE', vector: number, cascade: number): void => {
    write(`PIC_${chip}_CMD`, ICW1);
    for (const icw of [vector, cascade, icw4]) write(`PIC_${chip}_IMR`, icw);
  };
  initialise('MASTER', 0x30, 1 << 2);
  initialise('SLAVE', 0x38, 2);
  m.enableLapic();
  m.lapic.write('APIC_LVT0', { mode: 'ExtINT' });
  const pic = m.controllers.vpic;
  return { ...m, read, write, pic, intack: () => m.controllers.vpicAckPendingIrq(0) };
};

describe('8259A pair', () => {
  it('reaches a vCPU only through an open ExtINT LINT0, or a local APIC that is off', () => {
    const m = machine();
    m.pic.irqPositiveEdge(0);
    expect(m.kicks.length).toBe(1);
    expect(m.controllers.vpicIntOutput()).toBe(true);
    expect(m.controllers.vlapicAcceptPicIntr(0)).toBe(true);
    m.lapic.write('APIC_LVT0', { mode: 'ExtINT', masked: 1 });
    expect(m.controllers.vlapicAcceptPicIntr(0)).toBe(false);
    expect(m.intack()).toBe(-1);
    m.controllers.writeMsr(0, 0x1b, 0xfee00100n);
    expect(m.controllers.vlapicAcceptPicIntr(0)).toBe(true);
    expect(m.intack()).toBe(0x30);
  });

  it('serves lines by priority, the slave through line 2', () => {
    const m = machine();
    m.pic.irqPositiveEdge(11);
    m.pic.irqPositiveEdge(4);
    m.pic.irqPositiveEdge(1);
    expect(m.intack()).toBe(0x31);
    expect(m.controllers.vpicIntOutput()).toBe(false); // lower ones wait for its end
    m.write('PIC_MASTER_CMD', EOI);
    expect(m.intack()).toBe(0x3b);
    m.write('PIC_SLAVE_CMD', READ_ISR);
    m.write('PIC_MASTER_CMD', READ_ISR);
    expect(m.read('PIC_SLAVE_CMD')).toBe(0x08);
    expect(m.read('PIC_MASTER_CMD')).toBe(0x04); // in service
    m.write('PIC_SLAVE_CMD', EOI);
    m.write('PIC_MASTER_CMD', specificEoi(2));
    expect(m.intack()).toBe(0x34);
    m.write('PIC_MASTER_CMD', EOI);
    expect(m.intack()).toBe(-1);
  });

  it('masks, and gives the mask back', () => {
    const m = machine();
    m.write('PIC_MASTER_IMR', ~(1 << 0) & 0xff);
    m.pic.irqPositiveEdge(4);
    expect(m.read('PIC_MASTER_IMR')).toBe(0xfe);
    expect(m.intack()).toBe(-1);
    expect(m.read('PIC_MASTER_CMD')).toBe(0x10);
    m.write('PIC_MASTER_IMR', 0);
    expect(m.intack()).toBe(0x34);
  });

  it('forgets an edge that is withdrawn; a level line asks again after its end', () => {
    const m = machine();
    m.write('PIC_ELCR1', 0xff);
    expect(m.read('PIC_ELCR1')).toBe(0xf8);
    expect(m.read('PIC_ELCR2')).toBe(0);
    m.pic.irqPositiveEdge(1);
    m.pic.irqNegativeEdge(1);
    expect(m.intack()).toBe(-1);
    m.pic.irqPositiveEdge(5);
    expect(m.intack()).toBe(0x35);
    m.write('PIC_MASTER_CMD', EOI);
    expect(m.intack()).toBe(0x35);
    m.pic.irqNegativeEdge(5);
    m.write('PIC_MASTER_CMD', EOI);
    expect(m.intack()).toBe(-1);
  });

  it('ends interrupts by itself when told to', () => {
    const m = machine(ICW4_8086 | ICW4_AUTO_EOI);
    m.pic.irqPositiveEdge(3);
    m.pic.irqPositiveEdge(6);
    expect(m.intack()).toBe(0x33);
    expect(m.intack()).toBe(0x36);
    expect(m.intack()).toBe(-1);
  });

  it('rotates priorities', () => {
    const m = machine();
    m.pic.irqPositiveEdge(3);
    m.intack();
    m.write('PIC_MASTER_CMD', ROTATE_ON_EOI); // line 3 is now lowest
    m.pic.irqPositiveEdge(3);
    m.pic.irqPositiveEdge(4);
    expect(m.intack()).toBe(0x34);
    m.write('PIC_MASTER_CMD', EOI);
    m.write('PIC_MASTER_CMD', setLowest(2)); // so line 3 is highest
    expect(m.intack()).toBe(0x33);
  });

  it('answers a poll as an acknowledge', () => {
    const m = machine();
    m.write('PIC_MASTER_CMD', POLL);
    expect(m.read('PIC_MASTER_CMD')).toBe(0);
    m.pic.irqPositiveEdge(7);
    m.write('PIC_MASTER_CMD', POLL);
    expect(m.read('PIC_MASTER_CMD')).toBe(0x87);
    expect(m.intack()).toBe(-1);
  });

  it('lets masked lines in service stand aside in special mask mode', () => {
    const m = machine();
    m.pic.irqPositiveEdge(2 + 1);
    m.intack();
    m.write('PIC_MASTER_IMR', 1 << 3);
    m.pic.irqPositiveEdge(6);
    expect(m.intack()).toBe(-1);
    m.write('PIC_MASTER_CMD', SPECIAL_MASK_MODE);
    expect(m.intack()).toBe(0x36);
  });

  it('takes a word at two ports as two bytes, and is silent until initialised', () => {
    const m = machine();
    m.outb(0x20, (0x5a << 8) | READ_ISR, 2);
    expect(m.read('PIC_MASTER_IMR')).toBe(0x5a);
    m.write('PIC_MASTER_CMD', ICW1);
    m.pic.irqPositiveEdge(0);
    expect(m.controllers.vpicIntOutput()).toBe(false);
  });
});
