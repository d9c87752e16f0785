import { describe, expect, it } from 'vitest';
import { platformMachine } from '../testing/platform.ts';

/** As Linux sets them up: vectors 0x30 and 0x38, all lines open. */
const machine = (icw4 = 0x01) => {
  const m = platformMachine();
  const initialise = (base: number, vector: number, cascade: number): void =>
    [0x11, vector, cascade, icw4].forEach((value, i) => m.outb(base + (i ? 1 : 0), value));
  initialise(0x20, 0x30, 4);
  initialise(0xa0, 0x38, 2);
  m.mmioWrite(0xfee000f0, 0x1ff);
  m.mmioWrite(0xfee00350, 0x700); // LINT0: ExtINT
  const pic = m.controllers.vpic;
  return { ...m, pic, intack: () => m.controllers.vpicAckPendingIrq(0) };
};

describe('8259A pair', () => {
  it('reaches a vCPU only through an open ExtINT LINT0, or a local APIC that is off', () => {
    const m = machine();
    m.pic.irqPositiveEdge(0);
    expect(m.kicks.length).toBe(1);
    expect(m.controllers.vpicIntOutput()).toBe(true);
    expect(m.controllers.vlapicAcceptPicIntr(0)).toBe(true);
    m.mmioWrite(0xfee00350, 0x10700);
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
    m.outb(0x20, 0x20);
    expect(m.intack()).toBe(0x3b);
    m.outb(0xa0, 0x0b);
    m.outb(0x20, 0x0b);
    expect(m.inb(0xa0)).toBe(0x08);
    expect(m.inb(0x20)).toBe(0x04); // in service
    m.outb(0xa0, 0x20);
    m.outb(0x20, 0x62);
    expect(m.intack()).toBe(0x34);
    m.outb(0x20, 0x20);
    expect(m.intack()).toBe(-1);
  });

  it('masks, and gives the mask back', () => {
    const m = machine();
    m.outb(0x21, 0xfe);
    m.pic.irqPositiveEdge(4);
    expect(m.inb(0x21)).toBe(0xfe);
    expect(m.intack()).toBe(-1);
    expect(m.inb(0x20)).toBe(0x10);
    m.outb(0x21, 0);
    expect(m.intack()).toBe(0x34);
  });

  it('forgets an edge that is withdrawn; a level line asks again after its end', () => {
    const m = machine();
    m.outb(0x4d0, 0xff);
    expect(m.inb(0x4d0)).toBe(0xf8);
    expect(m.inb(0x4d1)).toBe(0);
    m.pic.irqPositiveEdge(1);
    m.pic.irqNegativeEdge(1);
    expect(m.intack()).toBe(-1);
    m.pic.irqPositiveEdge(5);
    expect(m.intack()).toBe(0x35);
    m.outb(0x20, 0x20);
    expect(m.intack()).toBe(0x35);
    m.pic.irqNegativeEdge(5);
    m.outb(0x20, 0x20);
    expect(m.intack()).toBe(-1);
  });

  it('ends interrupts by itself when told to', () => {
    const m = machine(0x03);
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
    m.outb(0x20, 0xa0); // rotate on end: line 3 is now lowest
    m.pic.irqPositiveEdge(3);
    m.pic.irqPositiveEdge(4);
    expect(m.intack()).toBe(0x34);
    m.outb(0x20, 0x20);
    m.outb(0x20, 0xc2); // line 2 lowest, so line 3 highest
    expect(m.intack()).toBe(0x33);
  });

  it('answers a poll as an acknowledge', () => {
    const m = machine();
    m.outb(0x20, 0x0c);
    expect(m.inb(0x20)).toBe(0);
    m.pic.irqPositiveEdge(7);
    m.outb(0x20, 0x0c);
    expect(m.inb(0x20)).toBe(0x87);
    expect(m.intack()).toBe(-1);
  });

  it('lets masked lines in service stand aside in special mask mode', () => {
    const m = machine();
    m.pic.irqPositiveEdge(2 + 1);
    m.intack();
    m.outb(0x21, 0x08);
    m.pic.irqPositiveEdge(6);
    expect(m.intack()).toBe(-1);
    m.outb(0x20, 0x68);
    expect(m.intack()).toBe(0x36);
  });

  it('takes a word at two ports as two bytes, and is silent until initialised', () => {
    const m = machine();
    m.outb(0x20, 0x5a0b, 2);
    expect(m.inb(0x21)).toBe(0x5a);
    m.outb(0x20, 0x11);
    m.pic.irqPositiveEdge(0);
    expect(m.controllers.vpicIntOutput()).toBe(false);
  });
});
