/** A guest's driver points the RTL8139 at everything that is not its memory: rings, descriptors and buffers of both modes. */
import { describe, expect, it } from 'vitest';
import type { Gfn, Mfn } from '../../src/base/address.ts';
import { P2mType } from '../../src/hypervisor/mm/p2m.ts';
import { BAR, ioreqFramesInP2m, RAM_END, runHostile } from './machine.ts';
import {
  addToPhysmap,
  attack,
  decrease,
  descriptor,
  doorbell,
  everyRole,
  FRAME,
  fullRing,
  own,
  OWN_FIRST_LAST,
  repeated,
  RING,
  rings,
  RX_OWN,
  RX_RING,
  startCplus,
} from './nic-guest.ts';

describe('RTL8139 rings, descriptors and buffers', () => {
  it.each<[string, readonly [number, number]]>([
    ['outside RAM', [0x70000000, 0]],
    ['straddling the end of RAM', [RAM_END - 8, 0]],
    ['one byte before the end of RAM', [RAM_END - 1, 0]],
    ['at the MMIO hole', [0xf8000000, 0]],
    ['at the NIC itself', [BAR, 0]],
    ['at the NIC itself, so that a written-back descriptor lies on TxPoll', [BAR + 0xd9 - 9, 0]],
    ['at the NIC itself, so that a received frame lies on its doorbell', [BAR + 0xd9 - 14, 0]],
    ['at the local APIC', [0xfee00000, 0]],
    ['at the IO-APIC', [0xfec00000, 0]],
    ['at the HPET', [0xfed00000, 0]],
    ['in the VGA hole', [0xb8000, 0]],
    ['from conventional memory into the VGA hole', [0x9fff8, 0]],
    ['at the top of the 32-bit space', [0xfffffff8, 0]],
    ['above 4 GiB', [0, 1]],
    ['beyond 52 bits', [0, 0x00100000]],
    ['at the top of the 64-bit space', [0xfffffff0, 0xffffffff]],
  ])('%s: nothing but the guest suffers, and the chip still works', (_name, bad) => {
    const run = runHostile(attack(everyRole(bad)));
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
  });

  it('in a hole that decrease_reservation made while the page was in the map cache', () => {
    const run = runHostile(
      attack(`
      ${startCplus()}
      ${rings(own(RING), own(RX_RING))}
      ${descriptor(RING, OWN_FIRST_LAST + 64, own(0x300000))}
      ${doorbell}
      ${decrease(0x300)}
      ${everyRole([0x300000, 0])}
      ${everyRole([0x2ffff8, 0])}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(run.machine.p2m.getMfn(0x300 as Gfn)).toBe(-1);
    expect(run.deviceModelLog).toMatch(/type=8/);
  });

  const types: [string, number, boolean][] = [
    ['read-only memory', P2mType.ramRo, false],
    ['an ioreq_server page', P2mType.ioreqServer, false],
    ['a page mapped for writing from a grant', P2mType.grantMapRw, false],
    ['a read-only grant', P2mType.grantMapRo, false],
    ['a page paged out', P2mType.pagingOut, false],
    ['a shared page', P2mType.shared, false],
    ['a broken page', P2mType.broken, false],
    ['log-dirty memory, which is RAM and gets it', P2mType.ramLogdirty, true],
  ];
  it.each(types)('in %s', (_name, type, written) => {
    let before = new Uint8Array(0);
    let frameOf = 0;
    const run = runHostile(attack(everyRole([0x300000, 0])), {
      prepare: (machine) => {
        frameOf = machine.p2m.getMfn(0x300 as Gfn);
        machine.memory.frame(frameOf as Mfn).fill(0x77);
        before = machine.memory.frame(frameOf as Mfn).slice();
        machine.p2m.setEntry(0x300 as Gfn, frameOf as Mfn, type as P2mType);
      },
    });
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(Buffer.compare(run.machine.memory.frame(frameOf as Mfn), before) !== 0).toBe(written);
  });

  it("in a grant of another domain's frame: dom0's memory is neither read nor written", () => {
    let dom0: Uint8Array = new Uint8Array(0);
    const run = runHostile(attack(everyRole([0x300000, 0])), {
      prepare: (machine) => {
        const frame = machine.domain.pcpu.pages.alloc(0)!;
        dom0 = machine.memory.frame(frame).fill(0xc3);
        // Even where the p2m says RAM: a foreign mapping asks who owns the frame.
        machine.p2m.setEntry(0x300 as Gfn, frame, P2mType.ramRw);
      },
    });
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(dom0.every((byte) => byte === 0xc3)).toBe(true);
    expect(Buffer.from(run.wire).includes(Buffer.alloc(16, 0xc3))).toBe(false);
  });

  it("in shared_info and the grant table, which are the guest's own: it breaks its event channels, nothing else", () => {
    const run = runHostile(
      attack(`
      ${addToPhysmap(0, 0, 0x300)}
      ${everyRole([0x300000, 0])}
      ${everyRole([0x300800, 0])}
      ${addToPhysmap(1, 0, 0x300)}
      ${everyRole([0x300000, 0])}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
  });

  it('in the special pages below the top of memory, which hold no ioreq page', () => {
    const special = [...Array(16).keys()].map((i) => 0xfeff0000 + i * 0x1000);
    const run = runHostile(
      attack(
        special
          .map(
            (at) => `
      ${startCplus()}
      ${rings(own(RING), own(RX_RING))}
      ${descriptor(RX_RING, RX_OWN, own(at))}
      ${descriptor(RING, OWN_FIRST_LAST + 64, own(FRAME))}
      ${doorbell}
    `,
          )
          .join(''),
      ),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
    expect(ioreqFramesInP2m(run.machine)).toEqual([]);
  });

  it('descriptor chains that never end: 64 descriptors, each owned by the chip, none the last', () => {
    const run = runHostile(
      attack(`
      ${startCplus(false)}
      ${rings(own(RING), own(RX_RING))}
      ${fullRing(256, 0xa000ffff, FRAME)}
      ${repeated(200, doorbell)}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
  });

  it('a ring whose descriptors give themselves back: the ring is its own buffer', () => {
    const run = runHostile(
      attack(`
      ${startCplus()}
      ${rings(own(RING), own(RING))}
      ${fullRing(64, 0xb0000600, RING)}
      mov dword [${RING}], 0xffffffff
      ${repeated(50, doorbell)}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
  });

  it('a large send of single bytes, again and again', () => {
    const run = runHostile(
      attack(`
      ${startCplus()}
      ${rings(own(RING), own(RX_RING))}
      mov dword [${FRAME + 12}], 0x00450008
      mov dword [${FRAME + 16}], 0x0000ff05
      mov dword [${FRAME + 20}], 0x06400000
      mov byte [${FRAME + 46}], 0x50
      ${repeated(4, `${fullRing(64, 0xb801ffff, FRAME)}${doorbell}`)}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
  });

  it('memory decoding and bus mastering taken away between descriptor and doorbell, BARs moved onto everything', () => {
    const config = (register: number, value: number): string => `
      mov edx, 0xcf8
      mov eax, ${0x80001800 + register}
      out dx, eax
      mov edx, 0xcfc
      mov eax, ${value}
      out dx, eax
    `;
    const places = [0, 0xa0000, 0x100000, RAM_END, 0xfec00000, 0xfed00000, 0xfee00000, 0xffffff00, 0xfc000000];
    const run = runHostile(
      attack(`
      ${startCplus()}
      ${rings(own(RING), own(RX_RING))}
      ${descriptor(RING, OWN_FIRST_LAST + 64, own(FRAME))}
      ${config(4, 3)}
      ${doorbell}
      ${config(4, 0)}
      ${doorbell}
      ${places.map((at) => `${config(4, 0)}${config(0x14, at)}${config(0x10, (at & 0xffff) | 1)}${config(4, 7)}mov eax, [${at}]\n`).join('')}
      ${config(4, 0)}
      ${config(0x14, BAR)}
      ${config(0x10, 0xc001)}
      ${config(4, 7)}
    `),
    );
    expect([run.outcome, run.console]).toEqual(['poweroff', 'alive\n']);
  });
});
