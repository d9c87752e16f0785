import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  BUFIOREQ_SLOT_NUM,
  bufferedSlots,
  IOREQ_READ,
  IOREQ_WRITE,
  type Ioreq,
  IoreqState,
  ioreqState,
  IoreqType,
  newIoreq,
  readBuffered,
  readSlot,
  slotAt,
  stateAt,
  withState,
  writeBuffered,
  writeSlot,
} from './ioreq.ts';

const PAGE = 0x1000;
const pages = (): { words: Int32Array; bytes: (at: number, length: number) => number[] } => {
  const buffer = new SharedArrayBuffer(3 * PAGE);
  return { words: new Int32Array(buffer), bytes: (at, length) => [...new Uint8Array(buffer, at, length)] };
};

const u32 = fc.nat(0xffff_ffff);
const request: fc.Arbitrary<Ioreq> = fc.record({
  type: fc.nat(255),
  addr: fc.maxSafeNat(),
  dataLo: u32,
  dataHi: u32,
  count: u32,
  size: u32,
  dir: fc.constantFrom(IOREQ_READ, IOREQ_WRITE),
  df: fc.boolean(),
  dataIsPtr: fc.boolean(),
});

describe('a slot of the synchronous page', () => {
  it("is struct ioreq of Xen's public header, byte by byte", () => {
    const { words, bytes } = pages();
    const slot = slotAt(PAGE, 3);
    words[slot + 6] = 0x1234;
    writeSlot(words, slot, {
      type: IoreqType.copy,
      addr: 0x18_f205_1020,
      dataLo: 0x44332211,
      dataHi: 0x88776655,
      count: 5,
      size: 8,
      dir: IOREQ_READ,
      df: true,
      dataIsPtr: true,
    });
    const at = PAGE + 3 * 32;
    expect(bytes(at, 8), 'addr').toEqual([0x20, 0x10, 0x05, 0xf2, 0x18, 0, 0, 0]);
    expect(bytes(at + 8, 8), 'data').toEqual([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    expect(bytes(at + 16, 4), 'count').toEqual([5, 0, 0, 0]);
    expect(bytes(at + 20, 4), 'size').toEqual([8, 0, 0, 0]);
    expect(bytes(at + 24, 4), 'vp_eport stays').toEqual([0x34, 0x12, 0, 0]);
    expect(bytes(at + 28, 4), 'padding, state and flags, type').toEqual([0, 0, 0x71, 1]);
  });

  it('gives back what was put in', () => {
    const { words } = pages();
    fc.assert(
      fc.property(request, fc.nat(127), (sent, vcpu) => {
        const slot = slotAt(PAGE, vcpu);
        writeSlot(words, slot, sent);
        const word = words[stateAt(slot)]!;
        expect(ioreqState(word)).toBe(IoreqState.ready);
        const taken = newIoreq();
        readSlot(words, slot, word, taken);
        expect(taken).toEqual(sent);
      }),
    );
  });

  it('changes its state and nothing else of the word', () => {
    for (const state of Object.values(IoreqState)) {
      const word = withState(0x1e3f_abcd, state);
      expect(ioreqState(word)).toBe(state);
      expect(word & ~(0xf << 16)).toBe(0x1e30_abcd);
    }
  });
});

describe('a slot of the buffered page', () => {
  const buffered = fc.record({
    type: fc.constantFrom(IoreqType.copy, IoreqType.timeOffset),
    addr: fc.nat(0xfffff),
    dataLo: u32,
    dataHi: u32,
    size: fc.constantFrom(1, 2, 4, 8),
    dir: fc.constantFrom(IOREQ_READ, IOREQ_WRITE),
  });

  it('gives back what was put in, at every place of the ring', () => {
    const { words } = pages();
    fc.assert(
      fc.property(buffered, u32, (fields, pointer) => {
        const sent: Ioreq = { ...newIoreq(), ...fields, count: 1, dataHi: fields.size === 8 ? fields.dataHi : 0 };
        writeBuffered(words, PAGE, pointer, sent);
        const taken = newIoreq();
        expect(readBuffered(words, PAGE, pointer, taken)).toBe(bufferedSlots(sent));
        expect(taken).toEqual(sent);
      }),
    );
    expect(words.slice(0, PAGE / 4).every((word) => word === 0)).toBe(true);
    expect(words.slice((2 * PAGE) / 4).every((word) => word === 0)).toBe(true);
    expect(words.slice(PAGE / 4, PAGE / 4 + 2)).toEqual(Int32Array.of(0, 0));
  });

  it('goes on in the first slot behind the last', () => {
    const { words } = pages();
    writeBuffered(words, PAGE, BUFIOREQ_SLOT_NUM - 1, { ...newIoreq(), size: 8, count: 1, dataLo: 1, dataHi: 2 });
    expect(words[(2 * PAGE) / 4 - 1], 'low half, last slot').toBe(1);
    expect(words[PAGE / 4 + 3], 'high half, first slot').toBe(2);
  });

  it('takes no address above 20 bits, no pointer, no repetition, no other size', () => {
    const fits: Ioreq = { ...newIoreq(), type: IoreqType.copy, addr: 0xfffff, size: 4, count: 1 };
    expect(bufferedSlots(fits)).toBe(1);
    expect(bufferedSlots({ ...fits, size: 8 })).toBe(2);
    expect(bufferedSlots({ ...fits, addr: 0x100000 }), 'address').toBe(0);
    expect(bufferedSlots({ ...fits, dataIsPtr: true }), 'pointer').toBe(0);
    expect(bufferedSlots({ ...fits, count: 2 }), 'repetition').toBe(0);
    for (const size of [0, 3, 5, 16]) expect(bufferedSlots({ ...fits, size }), `size ${size}`).toBe(0);
  });
});
